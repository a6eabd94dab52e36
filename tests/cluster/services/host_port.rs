//! Ports of a node that a pod asks for: who is led to the pod by them, and who must not be.

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{Space, Trio, WEB_PORT, url};
use sotto_tests::lab::{Host, Lab, Place};

use super::reach::eventually;
use crate::outside::{World, fetch};
use crate::shared;

/// The port of a node; a pod elsewhere and a server in the world have the same.
const PORT: u16 = 18_080;

pub(crate) fn cases() -> Vec<Case> {
    cases![cn24_a_host_port_takes_only_what_is_meant_for_its_node,]
}

fn cn24_a_host_port_takes_only_what_is_meant_for_its_node(_: &Lab) -> Result<()> {
    shared::with(|lab, trio| {
        let space = trio.cluster.space("host-port")?;
        let outside = lab.station("host-port-client", 212)?;
        only_the_nodes_own(trio, &space, &outside)?;
        let world = World::open(lab, PORT)?;
        for ipv6 in [false, true] {
            let there = url(World::address(ipv6), world.port, "/world");
            for pod in ["near", "elsewhere"] {
                let said = space.fetch(pod, &there)?;
                let node = if pod == "near" {
                    &trio.alice
                } else {
                    &trio.bob
                };
                let node = address(node, ipv6);
                ensure!(
                    said == format!("{node} /world\n"),
                    "{pod} was led to {said}"
                );
            }
        }
        Ok(())
    })
}

/// A pod on Alice with a port of hers, beside pods with that very port.
pub(super) fn only_the_nodes_own(trio: &Trio, space: &Space<'_>, outside: &Place) -> Result<()> {
    let ports = json!([{"containerPort": WEB_PORT, "hostPort": PORT}]);
    let published = json!({"ports": ports});
    space.web_with("published", "alice", WEB_PORT, &published, &json!({}))?;
    let none = json!({});
    space.web_with("elsewhere", "bob", PORT, &none, &none)?;
    space.web_with("near", "alice", PORT, &none, &none)?;
    for ipv6 in [false, true] {
        let (alice, bob) = (address(&trio.alice, ipv6), address(&trio.bob, ipv6));
        let said = eventually(outside, &url(&alice, PORT, "/published"))?;
        ensure!(said.ends_with("/published\n"), "Alice answered {said}");
        let said = fetch(outside, &url(&bob, PORT, "/published"));
        ensure!(said.is_err(), "Bob has no such port and answered {said:?}");

        // A pod with the same port, from beside the pod that has the node's, and from its node.
        let there = url(&space.address("elsewhere", ipv6)?, PORT, "/elsewhere");
        space.fetch("near", &there)?;
        fetch(trio.alice.place()?.as_ref(), &there)?;
        let here = url(&space.address("near", ipv6)?, PORT, "/near");
        space.fetch("elsewhere", &here)?;
    }
    let log = space.kubectl(&["logs", "published"])?;
    let strangers = ["/elsewhere", "/near"];
    ensure!(
        log.contains("/published") && !strangers.iter().any(|path| log.contains(path)),
        "what was meant for others came to the pod: {log}"
    );
    Ok(())
}

fn address(host: &Host, ipv6: bool) -> String {
    if ipv6 { host.ipv6() } else { host.ipv4() }
}
