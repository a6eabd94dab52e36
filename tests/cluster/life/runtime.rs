//! A kubelet and a container runtime that die and start again, and a node that is drained.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{AGNHOST, Space};
use sotto_tests::lab::Lab;
use sotto_tests::traffic::{self, Connection, Stream};
use sotto_tests::wait;

use super::{LIMIT, crowd, pod};
use crate::shared;

/// Pods that are attached while the runtime dies.
const SOME: usize = 10;
/// Pods of a drained node.
const MANY: usize = 60;
/// A node is without pods within this.
const DRAINED: Duration = Duration::from_secs(120);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_restart_of_kubelet_and_runtime_interrupts_no_traffic,
        cn23_i4_a_runtime_killed_during_adds_loses_no_address,
        nl19_i4_a_drained_node_has_no_address_left,
    ]
}

fn a_restart_of_kubelet_and_runtime_interrupts_no_traffic(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let space = trio.cluster.space("runtime")?;
        let client = pod(trio, &space, "client", "alice")?;
        let server = pod(trio, &space, "server", "bob")?;
        let connection = Connection::open(&client, &server)?;
        let stream = Stream::start(&client, &server, server.ipv6()?)?;
        for service in ["containerd", "kubelet"] {
            trio.alice.kill_service(service)?;
            connection.carries(256 << 10)?;
        }
        // The node works: a pod can be made and deleted.
        pod(trio, &space, "another", "alice")?;
        space.kubectl(&["delete", "pod", "another"])?;
        let counted = stream.stop()?;
        ensure!(counted.lost + counted.twice == 0, "{counted:?}");
        traffic::exchange_all(&client, &server, &Canary::new()?)?;
        trio.is_at_rest()
    })
}

fn cn23_i4_a_runtime_killed_during_adds_loses_no_address(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let space = trio.cluster.space("cn23")?;
        space.shell_pod("client", "bob")?;
        crowd::create(&space, "alice", SOME)?;
        for _ in 0..3 {
            let before = trio.alice.pod_links()?.len();
            // All may be attached before it has died for the third time.
            wait::until("an ADD", LIMIT, || {
                trio.alice
                    .pod_links()
                    .is_ok_and(|now| now.len() != before || now.len() == SOME)
            })?;
            trio.alice.kill_service("containerd")?;
        }
        crowd::answers(&space, "client", SOME)?;
        crowd::is_ready(&space)?;
        trio.is_at_rest()?;
        crowd::delete(&space)?;
        trio.is_at_rest()
    })
}

fn nl19_i4_a_drained_node_has_no_address_left(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let space = trio.cluster.space("nl19")?;
        populate(&space)?;
        let before = trio.bob.pod_links()?.len();
        ensure!(before >= MANY, "only {before} pods have links");
        let started = Instant::now();
        let api = &trio.cluster.api;
        let drain = ["drain", "bob", "--ignore-daemonsets", "--timeout=85s"];
        let drained = api.kubectl(&drain);
        let empty = drained.and_then(|_| {
            wait::until("bob to have no pod's link", DRAINED, || {
                trio.bob.pod_links().is_ok_and(|now| now.is_empty())
            })
        });
        let taken = started.elapsed();
        println!("    drain: {before} pods gone after {taken:?}");
        api.kubectl(&["uncordon", "bob"])?;
        empty?;
        ensure!(taken < DRAINED, "it took {taken:?}");
        space.kubectl(&["delete", "deployment", "many"])?;
        trio.cluster.has_dns()?;
        trio.is_at_rest()
    })
}

/// Pods of a Deployment that can be on Bob alone.
fn populate(space: &Space<'_>) -> Result<()> {
    let labels = json!({"app": "many"});
    let many = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
        "spec": {
            "replicas": MANY,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": "bob"},
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "main", "image": AGNHOST, "args": ["pause"]}],
                },
            },
        },
    });
    space.create(&many.to_string())?;
    let status = ["rollout", "status", "deployment/many", "--timeout=85s"];
    space.kubectl(&status).map(drop)
}
