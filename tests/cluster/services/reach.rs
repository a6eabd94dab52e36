//! Services: how their pods are reached, by whom, and which of them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{AGNHOST, Space, Trio, url};
use sotto_tests::lab::{Lab, Place};
use sotto_tests::wait;

use crate::outside::fetch;
use crate::shared;

/// From a Service's creation to kube-proxies that know of it.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_service_is_reached_from_every_node_in_both_families,
        a_node_port_is_reached_from_outside_by_both_policies,
        session_affinity_keeps_a_client_at_one_pod,
    ]
}

fn a_service_is_reached_from_every_node_in_both_families(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("cluster-ip")?;
        space.web("web", "bob")?;
        space.web("client", "alice")?;
        space.service("web", "web", &json!({}))?;
        cluster_ip(trio, &space)?;
        through_itself(&space)
    })
}

/// The Service `web`, from a pod on the other node, one on its own, and from nodes.
pub(super) fn cluster_ip(trio: &Trio, space: &Space<'_>) -> Result<()> {
    space.web("near", "bob")?;
    for ipv6 in [false, true] {
        let asked = url(&space.service_address("web", ipv6)?, 80, "/page");
        for client in ["client", "near"] {
            let said = space.fetch(client, &asked)?;
            let should = format!("{} /page", space.address(client, ipv6)?);
            ensure!(said.trim() == should, "{client} is seen as {said}");
        }
        for node in ["control", "alice", "bob"] {
            let said = fetch(trio.host(node)?.place()?.as_ref(), &asked)?;
            ensure!(said.ends_with("/page\n"), "{node} was answered {said}");
        }
    }
    Ok(())
}

/// The pod `web`, through its own Service: the answer must come back translated.
pub(super) fn through_itself(space: &Space<'_>) -> Result<()> {
    for ipv6 in [false, true] {
        let asked = url(&space.service_address("web", ipv6)?, 80, "/itself");
        let said = space.fetch("web", &asked)?;
        ensure!(said.ends_with("/itself\n"), "it was answered {said}");
    }
    Ok(())
}

fn a_node_port_is_reached_from_outside_by_both_policies(_: &Lab) -> Result<()> {
    shared::with(|lab, trio| {
        let space = trio.cluster.space("node-port")?;
        space.web("web", "bob")?;
        let outside = lab.station("node-port-client", 211)?;
        node_ports(trio, &space, &outside, 211)
    })
}

/// The pod `web` on Bob, by Services of both policies, from a station outside.
pub(super) fn node_ports(
    trio: &Trio,
    space: &Space<'_>,
    outside: &Place,
    number: u8,
) -> Result<()> {
    space.service("all", "web", &json!({"type": "NodePort"}))?;
    let local = json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
    space.service("local", "web", &local)?;
    let (all, local) = (space.node_port("all", 0)?, space.node_port("local", 0)?);
    for ipv6 in [false, true] {
        let at = |node: &str, port| -> Result<String> {
            Ok(url(&trio.host(node)?.address(ipv6), port, "/port"))
        };
        for node in ["control", "alice", "bob"] {
            let said = eventually(outside, &at(node, all)?)?;
            ensure!(said.ends_with("/port\n"), "{node} answered {said}");
        }
        let client = if ipv6 {
            format!("2001:db8::{number:x}")
        } else {
            format!("198.51.100.{number}")
        };
        let said = eventually(outside, &at("bob", local)?)?;
        ensure!(
            said == format!("{client} /port\n"),
            "the client's address is lost: {said}"
        );
        for node in ["control", "alice"] {
            let said = fetch(outside, &at(node, local)?);
            ensure!(
                said.is_err(),
                "{node} has no such pod and answered {said:?}"
            );
        }
    }
    Ok(())
}

/// What a machine gets, once kube-proxy knows.
pub(super) fn eventually(from: &Place, url: &str) -> Result<String> {
    wait::until_some(&format!("{} to fetch {url}", from.name()), LIMIT, || {
        fetch(from, url).ok()
    })
}

fn session_affinity_keeps_a_client_at_one_pod(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("affinity")?;
        for (name, node) in [("one", "alice"), ("two", "bob")] {
            let container = json!({
                "image": AGNHOST, "args": ["netexec"],
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            });
            space.pod(name, node, &container, &json!({}))?;
            space.kubectl(&["label", "pod", name, "--overwrite", "app=both"])?;
        }
        space.shell_pod("client", "alice")?;
        space.service("any", "both", &json!({}))?;
        space.service("same", "both", &json!({"sessionAffinity": "ClientIP"}))?;

        for ipv6 in [false, true] {
            wait::until("both pods to answer", LIMIT, || {
                answers(&space, "any", ipv6).is_ok_and(|names| names.len() == 2)
            })?;
            let names = answers(&space, "same", ipv6)?;
            ensure!(names.len() == 1, "one client was sent to {names:?}");
        }
        Ok(())
    })
}

/// Who answers a client that asks a Service sixteen times.
fn answers(space: &Space<'_>, service: &str, ipv6: bool) -> Result<BTreeSet<String>> {
    let asked = url(&space.service_address(service, ipv6)?, 80, "/hostname");
    let line = format!("for i in {{1..16}}; do curl -sSgf --max-time 5 '{asked}'; echo; done");
    let said = space.shell("client", &line).context("ask sixteen times")?;
    Ok(said.split_whitespace().map(str::to_owned).collect())
}
