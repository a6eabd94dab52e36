//! A network manager that takes Sotto's links for its own: what it changes is put back, and nothing
//! leaks in between.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use super::load::Load;
use super::pair::{Pair, REPAIR_LIMIT};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp18_links_that_a_network_manager_changes_are_put_right_and_leak_nothing,
        dp18_a_manager_that_clears_everything_again_and_again_leaks_nothing,
    ]
}

/// Two pods of two families, whole: up, MTU, routes, neighbours.
const WHOLE: &str = "ip -o link show sotto0 | grep -q 'mtu 1420 .*,UP\\|,UP.*mtu 1420'
    ip -4 address show dev sotto0 | grep -q 10.244.; ip -6 address show dev sotto0 | grep -q fd00:
    test $(ip -o link show group 21331 | grep -c '<.*,UP.*mtu 1420.*state UP') = 2
    test $(ip -4 route | grep -c 'dev sp') = 2; test $(ip -6 route | grep -c 'dev sp') = 2
    test $(ip -4 neighbour show nud permanent | grep -c 'dev sp') = 2
    test $(ip -6 neighbour show nud permanent | grep -c 'dev sp') = 2";
/// Settings, of the tun and of pods' links.
const SETTINGS: &str = "for v in sotto0 $(ls /sys/class/net | grep ^sp); do
    for s in 4/rp_filter=1 4/forwarding=1 4/accept_redirects=0 6/forwarding=1 6/accept_ra=0; do
      test $(sed -n 1p /proc/sys/net/ipv${s%%/*}/conf/$v/$(echo ${s#*/} | cut -d= -f1)) = ${s#*=}
    done; done";

fn each_link(change: &str) -> String {
    format!("for v in sotto0 $(ls /sys/class/net | grep ^sp); do {change}; done")
}

fn dp18_links_that_a_network_manager_changes_are_put_right_and_leak_nothing(
    lab: &Lab,
) -> Result<()> {
    let pair = Pair::new(lab)?;
    let load = Load::start(&pair)?;
    pair.alice.shell(WHOLE).context("before")?;
    pair.alice.shell(SETTINGS).context("before")?;
    let at_once = [
        "ip link set $v down",
        "ip link set $v down; ip link set $v up",
        "ip link set $v mtu 1300",
        "ip address flush dev $v",
        "ip route flush dev $v; ip -6 route flush dev $v",
        "ip neighbour flush dev $v nud all",
    ];
    let settings = "sysctl -qw net.ipv4.conf.$v.rp_filter=0 net.ipv4.conf.$v.forwarding=0 \
        net.ipv4.conf.$v.accept_redirects=1 net.ipv6.conf.$v.forwarding=0 net.ipv6.conf.$v.accept_ra=2";
    // A look brings a link up, the next one what hangs on it; the third is for two busy cores.
    let damages = at_once.map(|change| (change, WHOLE, REPAIR_LIMIT * 3));
    let slow = (settings, SETTINGS, Duration::from_secs(12));

    for (change, back, limit) in damages.into_iter().chain([slow]) {
        let leaked = load.leaked(lab, || {
            pair.alice.shell(&each_link(change))?;
            wait::until(back, limit, || pair.alice.shell(back).is_ok())?;
            load.stretch()
        });
        let leaked = leaked.with_context(|| change.to_owned())?;
        ensure!(leaked == 0, "{change}: the canary was seen {leaked} times");
        load.wait_for_arrivals()
            .with_context(|| change.to_owned())?;
        pair.wait_for_flow().with_context(|| change.to_owned())?;
    }
    let repairs = pair
        .alice
        .metric("sotto_guard_repairs_total", "\"pod_link\"")?;
    ensure!(repairs > 0.0, "nothing of it was counted");
    Ok(())
}

/// As systemd-networkd at each of its starts: addresses, routes and rules that it did not make go.
fn dp18_a_manager_that_clears_everything_again_and_again_leaks_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let load = Load::start(&pair)?;

    let leaked = load.leaked(lab, || {
        for _ in 0..5 {
            pair.alice.shell(&each_link(
                "ip address flush dev $v; ip route flush dev $v; ip -6 route flush dev $v",
            ))?;
            pair.alice
                .shell("ip -4 rule flush; ip -6 rule flush; for f in -4 -6; do ip $f rule add pref 32766 lookup main; done")?;
            load.stretch()?;
        }
        Ok(())
    })?;

    ensure!(leaked == 0, "the canary was seen {leaked} times");
    wait::until("everything to be back", REPAIR_LIMIT * 2, || {
        pair.alice.shell(WHOLE).is_ok()
    })?;
    load.wait_for_arrivals()
}
