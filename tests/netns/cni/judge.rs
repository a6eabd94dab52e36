//! CHECK and STATUS: what they notice, and that they need no daemon.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::Pair;
use sotto_tests::lab::{Lab, Uplink};

use super::runtime::{Runtime, node_end};

/// What is broken, by which line (`{}` is the node's end), and what CHECK must say.
const FAULTS: &[(&str, &str)] = &[
    ("ip route del 10.244.1.2/32", "route to 10.244.1.2"),
    (
        "ip -6 route del fd00:10:244:1::2/128",
        "route to fd00:10:244:1::2",
    ),
    ("ip neigh del 10.244.1.2 dev {}", "neighbour 10.244.1.2"),
    (
        "ip neigh replace 10.244.1.2 dev {} lladdr 02:00:00:00:00:09 nud permanent",
        "neighbour 10.244.1.2",
    ),
    (
        "ip neigh change 10.244.1.2 dev {} nud reachable",
        "neighbour 10.244.1.2",
    ),
    ("ip link set {} group 0", "group 0"),
    ("ip link set {} down", "is down"),
    ("ip link del {}", "is gone from the node"),
    (
        "ip -n web address del 10.244.1.2/32 dev eth0",
        "address 10.244.1.2 is gone",
    ),
    (
        "ip -n web address del fd00:10:244:1::2/128 dev eth0",
        "address fd00:10:244:1::2",
    ),
    (
        "ip -n web route del default",
        "default route via 169.254.1.1",
    ),
    (
        "ip -n web -6 route del default",
        "default route via fe80::1",
    ),
    (
        "ip -n web -6 neigh del fe80::1 dev eth0",
        "neighbour fe80::1",
    ),
    (
        "ip -n web link set eth0 address 02:00:00:00:00:01",
        "link-layer address",
    ),
    ("nft delete table inet sotto_guard", "sotto_guard"),
    ("ip link del sotto0", "sotto0"),
    ("rm -r /run/sotto/pool/boot-1/held", "reservation is gone"),
];

pub(super) fn cases() -> Vec<Case> {
    cases![
        cn14_check_names_what_is_not_as_it_was_made,
        cn14_check_accepts_what_later_plugins_add,
        cn12_status_needs_no_daemon_and_no_second,
        cn12_without_store_and_peers_pods_are_attached_all_the_same,
    ]
}

fn cn14_check_names_what_is_not_as_it_was_made(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    for (line, expected) in FAULTS {
        let result = runtime.attach("web")?;
        check(&runtime, &result).with_context(|| format!("before {line}"))?;

        runtime
            .node
            .shell(&line.replace("{}", node_end(&result)?))?;

        let call = runtime.with_previous("CHECK", "web", &result);
        let answer = runtime.execute(&call)?;
        answer
            .failed(101, expected)
            .with_context(|| line.to_owned())?;
        mend(&runtime)?;
    }
    Ok(())
}

fn check(runtime: &Runtime, result: &Value) -> Result<()> {
    let call = runtime.with_previous("CHECK", "web", result);
    runtime.execute(&call)?.success().map(drop)
}

/// Makes the node as it was before the fault.
fn mend(runtime: &Runtime) -> Result<()> {
    runtime.del("web")?;
    runtime.remove_sandbox("web")?;
    runtime.node.shell(
        "nft add table inet sotto_guard
        ip link show sotto0 >/dev/null 2>&1 || ip tuntap add dev sotto0 mode tun
        rm -rf /run/sotto/pool",
    )?;
    Ok(())
}

fn cn14_check_accepts_what_later_plugins_add(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let mut result = runtime.attach("web")?;
    runtime.node.shell(
        "ip -n web link add extra type veth peer name extra2
        ip -n web link set eth0 mtu 1400
        ip -n web address add 192.168.77.1/24 dev extra",
    )?;
    let interfaces = result["interfaces"].as_array_mut().context("no list")?;
    interfaces.push(serde_json::json!({"name": "extra", "sandbox": "/run/netns/web"}));
    let ips = result["ips"].as_array_mut().context("no list")?;
    ips.push(serde_json::json!({"address": "192.168.77.1/24", "interface": 2}));

    check(&runtime, &result)
}

fn cn12_status_needs_no_daemon_and_no_second(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    for number in 0..20 {
        runtime.attach(&format!("pod{number}"))?;
    }

    let started = Instant::now();
    runtime.status()?.success()?;

    let taken = started.elapsed();
    ensure!(taken < Duration::from_secs(1), "STATUS took {taken:?}");
    Ok(())
}

fn cn12_without_store_and_peers_pods_are_attached_all_the_same(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let alice = &pair.alice.node;
    let network = r#"{"cniVersion":"1.1.0","name":"sotto","type":"sotto-cni"}"#;

    alice.take_store()?;
    alice.set_uplink(Uplink::Down)?;
    pair.bob.daemon.kill9()?;
    let started = Instant::now();
    alice.cni("STATUS", "", "", network)?;

    let taken = started.elapsed();
    ensure!(taken < Duration::from_secs(1), "STATUS took {taken:?}");
    let pod = alice.pod("late")?;
    alice.detach(&pod)
}
