//! Configurations and machines that a daemon refuses: in one line with key and cure, kernel and
//! directories untouched.

use std::net::UdpSocket;

use anyhow::{Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::{DaemonSettings, Lab, Node};

const CONFIG: &str = "/etc/sotto/node.toml";

/// Everything of the kernel that a daemon touches. Link-local and multicast routes are the kernel's
/// own, and come when it likes.
const STATE: &str = "nft list ruleset; ip rule; ip -6 rule; ip -4 route show table all
    ip -6 route show table all | grep -v -e fe80 -e multicast | sort; ip -o link | cut -d: -f2
    cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";

pub(crate) fn cases() -> Vec<Case> {
    cases![
        bi01_pod_ranges_that_the_host_uses_are_refused_untouched,
        bi01_ranges_that_overlap_each_other_are_refused_untouched,
        bi02_ranges_that_are_no_ranges_are_refused_untouched,
        bi03_a_port_that_is_taken_is_refused_untouched,
        bi05_what_is_no_configuration_is_refused_untouched,
    ]
}

fn prepared(lab: &Lab) -> Result<Node> {
    let controller = lab.controller()?;
    let alice = lab.node("alice")?;
    alice.enrol(&controller, &DaemonSettings::default())?;
    alice.shell(&format!("cp {CONFIG} {CONFIG}.good"))?;
    Ok(alice)
}

/// Edits the good configuration with `sed`; the daemon has to end and to say why in its last line.
fn refused(alice: &Node, edit: &str, words: &[&str]) -> Result<()> {
    alice.shell(&format!("sed '{edit}' {CONFIG}.good > {CONFIG}"))?;
    let before = alice.shell(STATE)?;

    let daemon = alice.launch(&DaemonSettings::default())?;
    let status = daemon.wait()?;

    let log = daemon.log();
    ensure!(!status.success(), "{edit}: the daemon ended well: {log}");
    let last = log.lines().last().unwrap_or_default();
    for word in words {
        ensure!(last.contains(word), "{edit}: {word:?} is not in {last:?}");
    }
    let after = alice.shell(STATE)?;
    ensure!(
        after == before,
        "{edit}: before:\n{before}\nafter:\n{after}"
    );
    for made in ["/run/sotto", "/var/lib/sotto"] {
        ensure!(!alice.has(made), "{edit}: {made} was made");
    }
    Ok(())
}

fn bi01_pod_ranges_that_the_host_uses_are_refused_untouched(lab: &Lab) -> Result<()> {
    let alice = prepared(lab)?;

    alice.shell("ip link add docker0 type bridge; ip addr add 10.244.0.1/20 dev docker0")?;
    refused(
        &alice,
        "",
        &["cluster_pod_ranges", "docker0", "10.244.0.1/20"],
    )?;
    alice.shell("ip link del docker0; ip route add 10.244.64.0/20 via 198.51.100.254")?;
    refused(
        &alice,
        "",
        &["cluster_pod_ranges", "route to 10.244.64.0/20"],
    )?;
    alice.shell("ip route del 10.244.64.0/20")?;

    let no_such = "s/198.51.100.1\"/198.51.100.77\"/";
    refused(
        &alice,
        no_such,
        &["endpoints", "198.51.100.77", "no link of this host"],
    )
}

fn bi01_ranges_that_overlap_each_other_are_refused_untouched(lab: &Lab) -> Result<()> {
    let alice = prepared(lab)?;

    let services = "s#^service_ranges.*#service_ranges = [\"10.244.8.0/24\"]#";
    refused(
        &alice,
        services,
        &["service_ranges", "10.244.8.0/24", "10.244.0.0/16"],
    )?;
    let underlay = "s#^underlay_ranges.*#underlay_ranges = [\"10.0.0.0/8\"]#";
    refused(
        &alice,
        underlay,
        &["underlay_ranges", "10.0.0.0/8", "10.244.0.0/16"],
    )
}

fn bi02_ranges_that_are_no_ranges_are_refused_untouched(lab: &Lab) -> Result<()> {
    let alice = prepared(lab)?;

    for range in [
        "10.244.1.0/16",
        "0.0.0.0/0",
        "10.244.0.0",
        "10.244.0.1/32",
        "fd00::/128",
    ] {
        let edit = format!("s#^cluster_pod_ranges.*#cluster_pod_ranges = [\"{range}\"]#");
        refused(&alice, &edit, &["cluster_pod_ranges", range])?;
    }
    Ok(())
}

fn bi03_a_port_that_is_taken_is_refused_untouched(lab: &Lab) -> Result<()> {
    let alice = prepared(lab)?;
    let taken = alice.inside(|| Ok(UdpSocket::bind("0.0.0.0:51820")?))?;

    refused(
        &alice,
        "",
        &["port = 51820", "another program has UDP port 51820"],
    )?;
    drop(taken);
    for port in ["0", "65536", "30000"] {
        refused(
            &alice,
            &format!("s/^port.*/port = {port}/"),
            &["port", port],
        )?;
    }
    Ok(())
}

fn bi05_what_is_no_configuration_is_refused_untouched(lab: &Lab) -> Result<()> {
    let alice = prepared(lab)?;

    refused(&alice, "$ a colour = 1", &["colour", "unknown field"])?;
    refused(&alice, "$ a port = 51821", &["port", "duplicate key"])?;
    refused(&alice, "s/^port.*/port = true/", &["port", "invalid type"])?;
    refused(&alice, "1 s/^/\\xef\\xbb\\xbf/", &["byte-order mark"])?;
    refused(&alice, "1 s/^/\\xff/", &["UTF-8"])
}
