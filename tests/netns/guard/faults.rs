//! One layer after the other is taken away while the daemon is frozen: the others hold.
//!
//! A frozen daemon repairs nothing, so what is seen is the kernel's doing alone.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use sotto_tests::capture::{Canary, Capture};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::craft::{self, Forged};
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use super::load::Load;
use super::neighbours::mallory;
use super::pair::{Pair, REPAIR_LIMIT};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        routes_moved_or_gone_leak_nothing,
        policy_rules_gone_leak_nothing,
        masquerade_and_accept_of_others_leak_nothing,
        tables_flushed_leak_nothing,
        tables_flushed_and_routes_gone_leak_nothing,
        a_service_that_nobody_translates_leaks_nothing,
        conntrack_flushed_again_and_again_leaks_nothing,
        i2_without_tables_pod_sources_come_only_from_where_they_live,
        both_kernel_layers_gone_leak_and_are_counted_and_repaired,
    ]
}

/// What is done to Alice, in steps, and how the test undoes what no repair is meant to undo.
struct Fault {
    name: &'static str,
    steps: &'static [&'static str],
    mend: &'static str,
}

const fn fault(name: &'static str, steps: &'static [&'static str], mend: &'static str) -> Fault {
    Fault { name, steps, mend }
}

const RULES_GONE: &str = "for p in 90 91 92 93 100 101 102; do
    while ip -4 rule del pref $p 2>/dev/null; do :; done
    while ip -6 rule del pref $p 2>/dev/null; do :; done
  done\n";
const TABLE_GONE: &str = "ip -4 route flush table 5077; ip -6 route flush table 5077\n";
const POD_ROUTES_GONE: &str =
    "ip -4 route flush 10.244.0.0/16; ip -6 route flush fd00:10:244::/56\n";
/// Pods' own routes are the plugin's, and put back by the test.
const MAIN_FLUSHED: &str = "ip -4 route show proto 83 | grep ' dev sp' >/run/pods4
  ip -6 route show proto 83 | grep ' dev sp' >/run/pods6
  ip -4 route flush table main; ip -6 route flush table main
  ip -4 route add 198.51.100.0/24 dev eth0; ip -6 route add 2001:db8::/64 dev eth0
  ip -4 route add default via 198.51.100.254; ip -6 route add default via 2001:db8::fe\n";
const PODS_BACK: &str = "while read route; do ip -4 route replace $route; done </run/pods4
  while read route; do ip -6 route replace $route; done </run/pods6\n";
const SECOND_NIC: &str = "ip link add link eth0 name nic2 type macvlan mode bridge
  ip address add 198.51.100.77/24 dev nic2; ip -6 address add 2001:db8::77/64 dev nic2 nodad
  ip link set nic2 up
  for r in default 0.0.0.0/1 128.0.0.0/1; do ip route add $r via 198.51.100.254 dev nic2 metric 1; done
  for r in default ::/1 8000::/1; do ip -6 route add $r via 2001:db8::fe dev nic2 metric 1; done\n";
const SECOND_NIC_GONE: &str = "ip link del nic2";
const LIKE_A_POD: &str = "ip link add link eth0 name sp0123456789abc type macvlan mode bridge
  ip address add 198.51.100.78/24 dev sp0123456789abc; ip link set sp0123456789abc up
  ip -6 address add 2001:db8::78/64 dev sp0123456789abc nodad
  ip route add default via 198.51.100.254 dev sp0123456789abc metric 1
  ip -6 route add default via 2001:db8::fe dev sp0123456789abc metric 1\n";
const LIKE_A_POD_GONE: &str = "ip link del sp0123456789abc";
const ALL_RULES_GONE: &str = "ip -4 rule flush; ip -6 rule flush
  for f in -4 -6; do ip $f rule add pref 32766 lookup main; done
  ip -4 rule add pref 32767 lookup default\n";
const OUR_TABLES_GONE: &str = "nft 'delete table inet sotto_guard; delete table inet sotto_nat'";
const VPN_RULE: &str = "for f in -4 -6; do ip $f rule add pref 50 lookup 77; done
  ip -4 route add default via 198.51.100.254 table 77; ip -6 route add default via 2001:db8::fe table 77\n";
const VPN_GONE: &str =
    "for f in -4 -6; do ip $f rule del pref 50; ip $f route flush table 77; done\n";
const MASQUERADE_ALL: &str = "nft 'table inet spoiler {
    chain post { type nat hook postrouting priority 90; masquerade; }; }'\n";
const ACCEPT_ALL: &str = "nft 'table inet spoiler {
    chain a { type filter hook prerouting priority -350; accept; }
    chain b { type filter hook forward priority -10; accept; }
    chain c { type filter hook postrouting priority 305; accept; }
    chain d { type filter hook postrouting priority 320; accept; }; }'\n";
const SPOILER_GONE: &str = "nft delete table inet spoiler\n";

/// Whether somebody does on Alice what kube-proxy does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Translated,
    Untranslated,
}

/// Freezes Alice, does the fault under load, and wants no canary on the switch. Then lets her go
/// on and wants the load to arrive again.
fn hold(lab: &Lab, faults: &[Fault], service: Service) -> Result<()> {
    let pair = Pair::new(lab)?;
    if service == Service::Translated {
        pair.translate_service()?;
    }
    let load = Load::start(&pair)?;
    for fault in faults {
        let leaked = load.leaked(lab, || {
            pair.freeze_alice()?;
            pair.alice.shell(&fault.steps.concat())?;
            load.stretch()?;
            pair.alice.shell(fault.mend)?;
            pair.thaw_alice()
        });
        let leaked = leaked.with_context(|| fault.name)?;
        ensure!(
            leaked == 0,
            "{}: the canary was seen {leaked} times",
            fault.name
        );
        load.wait_for_arrivals()
            .with_context(|| format!("after: {}", fault.name))?;
    }
    let alarm = pair
        .alice
        .metric("sotto_plaintext_leak_packets_total", "")?;
    ensure!(alarm == 0.0, "the leak counter says {alarm}");
    Ok(())
}

fn routes_moved_or_gone_leak_nothing(lab: &Lab) -> Result<()> {
    let faults = [
        fault("tun down", &["ip link set sotto0 down"], ""),
        fault(
            "tun without addresses",
            &["ip address flush dev sotto0"],
            "",
        ),
        fault("pod routes deleted", &[POD_ROUTES_GONE], ""),
        fault("main flushed, default back", &[MAIN_FLUSHED], PODS_BACK),
        fault(
            "better defaults by a second NIC",
            &[SECOND_NIC],
            SECOND_NIC_GONE,
        ),
        fault("a VPN's rule at 50", &[VPN_RULE], VPN_GONE),
        fault(
            "everything by an uplink that is named like a pod's link",
            &[LIKE_A_POD, RULES_GONE, POD_ROUTES_GONE],
            LIKE_A_POD_GONE,
        ),
    ];
    hold(lab, &faults, Service::Translated)
}

fn policy_rules_gone_leak_nothing(lab: &Lab) -> Result<()> {
    let faults = [
        fault("rules gone", &[RULES_GONE], ""),
        fault("table T gone", &[TABLE_GONE], ""),
        fault("every rule gone, main's put back", &[ALL_RULES_GONE], ""),
    ];
    hold(lab, &faults, Service::Translated)
}

fn masquerade_and_accept_of_others_leak_nothing(lab: &Lab) -> Result<()> {
    let faults = [
        fault("masquerade-all", &[MASQUERADE_ALL], SPOILER_GONE),
        fault("accept-all", &[ACCEPT_ALL], SPOILER_GONE),
        fault(
            "masquerade-all, T gone",
            &[MASQUERADE_ALL, TABLE_GONE],
            SPOILER_GONE,
        ),
        fault(
            "masquerade-all, routes and T gone",
            &[MASQUERADE_ALL, POD_ROUTES_GONE, TABLE_GONE],
            SPOILER_GONE,
        ),
        fault(
            "masquerade-all, routes, T and rules gone",
            &[MASQUERADE_ALL, POD_ROUTES_GONE, TABLE_GONE, RULES_GONE],
            SPOILER_GONE,
        ),
        fault(
            "accept-all, routes, T and rules gone",
            &[ACCEPT_ALL, POD_ROUTES_GONE, TABLE_GONE, RULES_GONE],
            SPOILER_GONE,
        ),
    ];
    hold(lab, &faults, Service::Translated)
}

fn tables_flushed_leak_nothing(lab: &Lab) -> Result<()> {
    let faults = [
        fault(
            "guard table deleted",
            &["nft delete table inet sotto_guard"],
            "",
        ),
        fault("both tables deleted", &[OUR_TABLES_GONE], ""),
        fault("ruleset flushed", &["nft flush ruleset"], ""),
        fault(
            "ruleset flushed, tun down",
            &["nft flush ruleset; ip link set sotto0 down"],
            "",
        ),
    ];
    hold(lab, &faults, Service::Untranslated)
}

fn tables_flushed_and_routes_gone_leak_nothing(lab: &Lab) -> Result<()> {
    let faults = [
        fault(
            "ruleset flushed, pod routes gone",
            &["nft flush ruleset\n", POD_ROUTES_GONE],
            "",
        ),
        fault(
            "ruleset and main flushed",
            &["nft flush ruleset\n", MAIN_FLUSHED],
            PODS_BACK,
        ),
        fault(
            "ruleset flushed, better defaults by a second NIC",
            &["nft flush ruleset\n", SECOND_NIC],
            SECOND_NIC_GONE,
        ),
    ];
    hold(lab, &faults, Service::Untranslated)
}

fn a_service_that_nobody_translates_leaks_nothing(lab: &Lab) -> Result<()> {
    let faults = [
        fault("nothing else", &[""], ""),
        fault("rules gone", &[RULES_GONE], ""),
        fault("table T gone", &[TABLE_GONE], ""),
        fault(
            "masquerade-all, rules gone",
            &[MASQUERADE_ALL, RULES_GONE],
            SPOILER_GONE,
        ),
        fault("ruleset flushed", &["nft flush ruleset"], ""),
    ];
    hold(lab, &faults, Service::Untranslated)
}

fn conntrack_flushed_again_and_again_leaks_nothing(lab: &Lab) -> Result<()> {
    const FLUSH: &str = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do conntrack -F; done";
    hold(
        lab,
        &[fault("conntrack flushed", &[FLUSH], "")],
        Service::Translated,
    )
}

/// Policy rules hold sources where nobody filters: IPv6 has no reverse path filter, and here
/// IPv4's is off.
fn i2_without_tables_pod_sources_come_only_from_where_they_live(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let mallory = mallory(&pair)?;
    let canary = Canary::new()?;
    let payload = canary.repeated(200);
    let forged = |source: IpAddr, target: IpAddr| -> Result<Vec<u8>> {
        let (source, destination) = (SocketAddr::new(source, 4242), SocketAddr::new(target, 4242));
        Forged {
            source,
            destination,
            payload: &payload,
        }
        .packet()
    };
    let tap = Capture::start(lab, &pair.neighbour, "eth0")?;
    pair.freeze_alice()?;
    pair.alice.shell(
        "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done\nnft flush ruleset",
    )?;

    for (remote, target) in pair
        .server
        .addresses()
        .iter()
        .zip(pair.neighbour.addresses())
    {
        let packets = [forged(*remote, *target)?];
        craft::send_raw(&pair.client, *target, &packets)?;
        craft::send_raw(&mallory, *target, &packets)?;
    }
    let honest = [forged(pair.client.ipv4()?, pair.neighbour.ipv4()?)?];
    craft::send_raw(&pair.client, pair.neighbour.ipv4()?, &honest)?;

    let heard = tap.stop()?;
    let sources: Vec<_> = heard
        .packets()?
        .iter()
        .filter_map(|p| Some(p.datagram()?.source))
        .collect();
    ensure!(
        sources == [pair.client.ipv4()?],
        "the neighbour heard {sources:?}"
    );
    pair.thaw_alice()
}

/// The stated limit, and the proof that load and capture would notice a leak.
fn both_kernel_layers_gone_leak_and_are_counted_and_repaired(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let load = Load::start(&pair)?;

    let leaked = load.leaked(lab, || {
        pair.freeze_alice()?;
        pair.alice
            .shell(&["nft flush ruleset\n", POD_ROUTES_GONE, RULES_GONE].concat())?;
        load.stretch()
    })?;
    ensure!(
        leaked > 0,
        "a node without guard leaked nothing: the detector is blind"
    );
    pair.thaw_alice()?;
    load.wait_for_arrivals()?;

    wait::until("the leak counter to tell", REPAIR_LIMIT * 3, || {
        let alarm = pair.alice.metric("sotto_plaintext_leak_packets_total", "");
        alarm.is_ok_and(|alarm| alarm > 0.0)
    })?;
    let leaked = load.leaked(lab, || Ok(()))?;
    ensure!(
        leaked == 0,
        "after the repair the canary was seen {leaked} times"
    );
    Ok(())
}
