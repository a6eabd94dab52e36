//! What is refused at the start, and what is gone at the end.

use anyhow::{Context, Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::{DaemonSettings, Lab, Node};

use super::pair::{Pair, enrol};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        uninstall_removes_everything_ours_and_nothing_else,
        a_stopped_daemon_leaves_the_guard_and_uninstall_still_works,
        bi08_an_interface_of_our_name_that_is_no_tun_is_refused,
        nl15_a_node_without_nft_is_refused_untouched,
        nl15_a_node_without_tun_is_refused_untouched,
        nl15_a_daemon_without_the_capability_is_refused_untouched,
    ]
}

/// Everything of the kernel that the guard could have touched. The link-local address is the
/// kernel's own, and comes when it likes, with its multicast route.
const STATE: &str = "nft list ruleset; ip -4 rule; ip -6 rule; ip -4 route show table all
    ip -6 route show table all | grep -v -e fe80 -e ff00; ip -o link | cut -d: -f2
    cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding
    cat /proc/sys/net/ipv6/conf/eth0/accept_ra /proc/sys/net/ipv4/conf/eth0/rp_filter";

fn state(node: &Node) -> Result<String> {
    node.shell(STATE)
}

fn prepared(lab: &Lab) -> Result<Node> {
    let controller = lab.controller()?;
    let _running = controller.start()?;
    let alice = lab.node("alice")?;
    enrol(&alice, &controller)?;
    Ok(alice)
}

fn uninstall_removes_everything_ours_and_nothing_else(lab: &Lab) -> Result<()> {
    let controller = lab.controller()?;
    let _running = controller.start()?;
    let alice = lab.node("alice")?;
    enrol(&alice, &controller)?;
    alice.shell(
        "sysctl -qw net.ipv6.conf.eth0.accept_ra=1
        nft 'table ip other { chain c { tcp dport 1 drop; }; }'
        ip rule add pref 95 from 203.0.113.0/24 lookup 95
        ip route add 203.0.113.0/24 via 198.51.100.254 proto static
        ip tuntap add dev vpn0 mode tun",
    )?;
    let before = state(&alice)?;
    let daemon = alice.start(&DaemonSettings::default())?;
    let during = state(&alice)?;
    ensure!(during != before, "the daemon changed nothing");
    daemon.stop()?;

    alice.daemon_command("uninstall")?;
    let after = state(&alice)?;
    ensure!(after == before, "before:\n{before}\nafter:\n{after}");

    alice
        .daemon_command("uninstall")
        .context("uninstall again")?;
    ensure!(
        state(&alice)? == before,
        "the second uninstall changed something"
    );
    Ok(())
}

fn a_stopped_daemon_leaves_the_guard_and_uninstall_still_works(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    pair.alices_daemon.stop()?;
    pair.alice.shell(
        "nft list table inet sotto_guard; nft list table inet sotto_nat
        ip link show sotto0; test $(ip rule | grep -c 'proto 83') = 7
        ip route show table 5077 | grep -q unreachable; ip -o link | grep -q ': sp'",
    )?;

    pair.alice.daemon_command("uninstall")?;

    let left = pair
        .alice
        .shell("nft list ruleset; ip rule show; ip route; ip link show sotto0 2>&1 || true")?;
    ensure!(!left.contains("sotto_"), "tables are left: {left}");
    ensure!(!left.contains("proto 83"), "rules are left: {left}");
    ensure!(!left.contains("unreachable"), "routes are left: {left}");
    ensure!(
        left.contains("does not exist"),
        "the device is left: {left}"
    );
    Ok(())
}

/// Starts the daemon, which has to end and to say why; the kernel has to be as it was.
fn refused(alice: &Node, settings: &DaemonSettings, reason: &str) -> Result<()> {
    let before = state(alice);
    let daemon = alice.launch(settings)?;
    let status = daemon.wait()?;
    ensure!(!status.success(), "the daemon ended well");
    let log = daemon.log();
    ensure!(
        log.contains(reason),
        "the daemon did not say {reason:?}: {log}"
    );
    if let Ok(before) = before {
        let after = state(alice)?;
        ensure!(after == before, "before:\n{before}\nafter:\n{after}");
    }
    ensure!(!alice.has("/run/sotto/node.json"), "a guard was claimed");
    Ok(())
}

fn bi08_an_interface_of_our_name_that_is_no_tun_is_refused(lab: &Lab) -> Result<()> {
    let alice = prepared(lab)?;
    alice.shell("ip link add sotto0 type veth peer name other")?;

    refused(&alice, &DaemonSettings::default(), "sotto0")
}

fn nl15_a_node_without_nft_is_refused_untouched(lab: &Lab) -> Result<()> {
    let alice = prepared(lab)?;
    let state = alice.shell("ip rule; ip route")?;
    alice.shell("mount --bind /dev/null /usr/sbin/nft")?;

    refused(&alice, &DaemonSettings::default(), "nft")?;

    ensure!(
        alice.shell("ip rule; ip route")? == state,
        "the kernel was touched"
    );
    Ok(())
}

fn nl15_a_node_without_tun_is_refused_untouched(lab: &Lab) -> Result<()> {
    let alice = prepared(lab)?;
    alice.shell("mkdir -p /run/empty; mount --bind /run/empty /dev/net")?;

    refused(&alice, &DaemonSettings::default(), "/dev/net/tun")
}

fn nl15_a_daemon_without_the_capability_is_refused_untouched(lab: &Lab) -> Result<()> {
    let alice = prepared(lab)?;
    let daemon = sotto_tests::lab::program("sotto-node")?;
    alice.write(
        "/run/powerless",
        format!("#!/bin/sh\nexec setpriv --bounding-set=-net_admin --inh-caps=-net_admin {daemon} \"$@\"\n"),
    )?;
    alice.shell("chmod 755 /run/powerless")?;
    let settings = DaemonSettings {
        program: Some("/run/powerless".into()),
        ..DaemonSettings::default()
    };

    refused(&alice, &settings, "CAP_NET_ADMIN")
}
