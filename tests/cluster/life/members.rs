//! Nodes that join, go, come back under their name, and leave their range to others.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::Trio;
use sotto_tests::lab::{Host, Lab, Pod};
use sotto_tests::traffic::{self, Flood};
use sotto_tests::wait;

use super::{LIMIT, of_daemon, pod, pod_on};
use crate::shared;

/// B2: a new node is usable so long after it asked, its daemon's start.
const JOINED: Duration = Duration::from_secs(10);
/// B3: a removal works.
const REMOVED: Duration = Duration::from_secs(15);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp10_nl04_nl05_a_node_joins_under_traffic_is_deleted_and_comes_back,
        dp11_a_range_moves_on_after_its_old_owner_is_dropped,
    ]
}

fn dp10_nl04_nl05_a_node_joins_under_traffic_is_deleted_and_comes_back(_: &Lab) -> Result<()> {
    shared::alone(|lab, trio| {
        let space = trio.cluster.space("members")?;
        let client = pod(trio, &space, "client", "alice")?;
        let ranges = announce(trio, "carol", None)?;
        let addressed = addresses(&ranges, 2)?;
        let flood = Flood::start(&client, &addressed, &Canary::new()?)?;
        let there = traffic::ping_once(&client, addressed[0], b"early");
        ensure!(
            there.is_err(),
            "somebody answers for a node that is not there"
        );

        let carol = boot(lab, trio, "carol", 3, &ranges)?;
        let hers = pod_on(&carol, &space, "hers")?;
        ensure!(hers.addresses() == addressed, "{:?}", hers.addresses());
        reaches(&client, &hers)?;
        drop(flood);

        let before = trio.alice.peer("carol")?.context("alice knows no carol")?;
        trio.cluster.api.kubectl(&["delete", "node", "carol"])?;
        is_out(trio, &client, &hers, "carol")?;

        carol.kill_service("kubelet")?;
        let after = wait::until_some("alice to know the new carol", LIMIT * 2, || {
            let peer = trio.alice.peer("carol").ok().flatten();
            peer.filter(|peer| peer.identity != before.identity)
        });
        after.with_context(|| trio.cluster.state())?;
        trio.cluster.are_ready(&["carol"])?;
        let again = pod_on(&carol, &space, "again")?;
        reaches(&client, &again)?;
        trio.cluster.is_at_rest(&[&carol])?;
        leave(lab, trio, &carol)
    })
}

fn dp11_a_range_moves_on_after_its_old_owner_is_dropped(_: &Lab) -> Result<()> {
    shared::alone(|lab, trio| {
        let space = trio.cluster.space("moves")?;
        let client = pod(trio, &space, "client", "alice")?;
        let ranges = announce(trio, "dave", None)?;
        let dave = boot(lab, trio, "dave", 4, &ranges)?;
        let his = pod_on(&dave, &space, "his")?;
        reaches(&client, &his)?;
        // Nobody tells him: he goes on with what he has, under the old key.
        dave.place()?.shell(
            "nft add table inet deaf
            nft add chain inet deaf out '{ type filter hook output priority 0; }'
            nft add rule inet deaf out ip daddr 198.51.100.250 tcp dport 6443 drop",
        )?;
        trio.cluster.api.kubectl(&["delete", "node", "dave"])?;
        is_out(trio, &client, &his, "dave")?;

        announce(trio, "erin", Some(&ranges))?;
        let erin = boot(lab, trio, "erin", 5, &ranges)?;
        let hers = pod_on(&erin, &space, "hers")?;
        ensure!(hers.addresses() == his.addresses(), "{hers:?}");
        reaches(&client, &hers)?;
        ensure!(trio.alice.peer("dave")?.is_none(), "alice believes dave");
        ensure!(dave.peer("alice")?.is_some(), "dave was told");
        let old = traffic::ping_once(&his, client.ipv4()?, b"old");
        ensure!(old.is_err(), "the old owner is answered");
        trio.cluster.is_at_rest(&[&erin])?;
        dave.cut_power(lab)?;
        leave(lab, trio, &erin)
    })
}

/// Makes a Node before its host is there; returns its pod ranges.
fn announce(trio: &Trio, name: &str, ranges: Option<&[String]>) -> Result<Vec<String>> {
    let mut node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    if let Some(ranges) = ranges {
        node["spec"] = json!({"podCIDR": ranges.first(), "podCIDRs": ranges});
    }
    trio.cluster.api.create(&node)?;
    wait::until_some("its pod ranges", LIMIT, || {
        let node = trio.cluster.api.read(&["node", name]).ok()?;
        let ranges = node.pointer("/spec/podCIDRs")?.as_array()?;
        let ranges = ranges.iter().filter_map(Value::as_str);
        Some(ranges.map(str::to_owned).collect())
    })
}

/// The addresses of this number in a node's ranges: the tun device has 1, the first pod 2.
fn addresses(ranges: &[String], number: u32) -> Result<Vec<IpAddr>> {
    let of = |range: &String| {
        match range.parse()? {
            IpNetwork::V4(range) => range.nth(number).map(IpAddr::V4),
            IpNetwork::V6(range) => range.nth(number.into()).map(IpAddr::V6),
        }
        .with_context(|| format!("{range} is too small"))
    };
    ranges.iter().map(of).collect()
}

/// Switches a host on, and makes sure that it was usable in time: that its tun device answers through the tunnel.
fn boot(lab: &Lab, trio: &Trio, name: &str, number: u8, ranges: &[String]) -> Result<Host> {
    let host = trio.cluster.announced_node(lab, name, number)?;
    let alice = trio.alice.place()?;
    for tun in addresses(ranges, 1)? {
        let ping = format!("ping -n -c 1 -W 1 {tun}");
        wait::until(&format!("{tun} to answer"), LIMIT, || {
            alice.shell(&ping).is_ok()
        })
        .with_context(|| trio.cluster.state())?;
    }
    let started = of_daemon(
        trio,
        name,
        "/status/containerStatuses/0/state/running/startedAt",
    )?;
    let started: Timestamp = started.as_str().context("no time")?.parse()?;
    let took = Timestamp::now().duration_since(started);
    println!("    joined: usable {took:.1?} after its daemon's start, to the second");
    ensure!(
        took.as_secs() <= JOINED.as_secs() as i64,
        "{name} took {took:?} to join"
    );
    trio.cluster.are_ready(&[name])?;
    Ok(host)
}

fn reaches(from: &Pod, to: &Pod) -> Result<()> {
    for address in to.addresses() {
        wait::until(&format!("{address} to answer"), LIMIT, || {
            traffic::ping_once(from, *address, b"there").is_ok()
        })?;
    }
    Ok(())
}

/// Alice drops a deleted node in time, and what its pods send reaches none of hers.
fn is_out(trio: &Trio, client: &Pod, of_deleted: &Pod, node: &str) -> Result<()> {
    let started = Instant::now();
    wait::until(&format!("{node} to be dropped"), REMOVED, || {
        trio.alice.peer(node).is_ok_and(|peer| peer.is_none())
    })?;
    println!("    deleted: dropped after {:?}", started.elapsed());
    for address in client.addresses() {
        let out = traffic::ping_once(of_deleted, *address, b"out");
        ensure!(out.is_err(), "a deleted node still reaches {address}");
    }
    Ok(())
}

/// Takes a node out of the cluster for good, by the operator's own word: four Nodes that are only deleted within
/// ten minutes would make the controller ask for a person.
fn leave(lab: &Lab, trio: &Trio, host: &Host) -> Result<()> {
    let (code, said) = trio.cluster.sotto(&["revoke", host.name(), "--yes"])?;
    ensure!(code == 0, "sotto revoke: {said}");
    host.cut_power(lab)?;
    let api = &trio.cluster.api;
    api.kubectl(&["delete", "node", host.name()])?;
    wait::until("the trio to be alone", REMOVED, || {
        trio.alice
            .peer(host.name())
            .is_ok_and(|peer| peer.is_none())
    })?;
    trio.is_at_rest()
}
