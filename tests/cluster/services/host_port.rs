//! Ports of a node that a pod asks for: who is led to the pod by them, and who must not be.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{Space, TOOLS, Trio, WEB_PORT, url};
use sotto_tests::lab::{Lab, Place, Process};
use sotto_tests::wait;

use super::large::{ECHO, FLOW};
use super::reach::eventually;
use crate::outside::{World, fetch};
use crate::shared;

/// The port of a node; a pod elsewhere and a server in the world have the same.
const PORT: u16 = 18_080;
const UDP_PORT: u16 = 18_081;
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        cn24_a_host_port_takes_only_what_is_meant_for_its_node,
        cn24_a_pod_that_takes_over_a_host_port_gets_the_old_one_s_datagrams,
    ]
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
                let node = node.address(ipv6);
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
        let (alice, bob) = (trio.alice.address(ipv6), trio.bob.address(ipv6));
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

fn cn24_a_pod_that_takes_over_a_host_port_gets_the_old_one_s_datagrams(_: &Lab) -> Result<()> {
    shared::with(|lab, trio| {
        let space = trio.cluster.space("host-port-udp")?;
        let outside = lab.station("host-port-udp-client", 213)?;
        // One flow in each family all the while: what is tracked of it never ends by itself.
        let flow = |family: u8, address: &str| {
            let (from, to) = (format!("444{family}"), UDP_PORT.to_string());
            let text = format!("over-{family}");
            let arguments = ["-e", FLOW, &from, address, &to, &text];
            outside.spawn(&format!("flow-{family}"), "perl", &arguments)
        };
        let flows = [flow(4, &trio.alice.ipv4())?, flow(6, &trio.alice.ipv6())?];
        for name in ["first", "second"] {
            udp_pod(&space, name)?;
            wait::until(&format!("datagrams at the {name} pod"), LIMIT, || {
                let log = space.kubectl(&["logs", name]).unwrap_or_default();
                log.contains("over-4") && log.contains("over-6")
            })?;
            space.delete(&["pod", name])?;
        }
        // That they ran to the end: a flow begun anew would prove nothing.
        flows.iter().try_for_each(Process::kill9)
    })
}

fn udp_pod(space: &Space<'_>, name: &str) -> Result<()> {
    let ports = json!([{"containerPort": 8081, "hostPort": UDP_PORT, "protocol": "UDP"}]);
    let command = ["perl", "-e", ECHO, "8081"];
    let container = json!({"image": TOOLS, "command": command, "ports": ports});
    space.pod(name, "alice", &container, &json!({}))
}
