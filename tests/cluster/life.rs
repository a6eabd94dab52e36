//! The life of a node: power, restarts of what runs on it, updates, little of a resource.
//!
//! Each test leaves the shared cluster as it found it, and at rest: reservations, links and pods agree (I4).

mod crowd;
mod daemon;
mod members;
mod power;
mod runtime;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sotto_tests::case::Case;
use sotto_tests::kubernetes::whole::{Space, Trio};
use sotto_tests::kubernetes::{NAMESPACE, text};
use sotto_tests::lab::{Host, Pod};

/// How long a cluster of busy hosts may take for something that has no budget of its own.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    let all = [
        power::cases(),
        daemon::cases(),
        runtime::cases(),
        members::cases(),
    ];
    all.into_iter().flatten().collect()
}

/// A pod on a node of the trio whose sockets are the test's.
fn pod(trio: &Trio, space: &Space<'_>, name: &str, node: &str) -> Result<Pod> {
    pod_on(trio.host(node)?, space, name)
}

/// A pod on a host whose sockets are the test's.
fn pod_on(host: &Host, space: &Space<'_>, name: &str) -> Result<Pod> {
    space.shell_pod(name, host.name())?;
    let addresses = [false, true].map(|ipv6| Ok(space.address(name, ipv6)?.parse()?));
    let addresses: Result<Vec<IpAddr>> = addresses.into_iter().collect();
    host.pod(name, addresses?)
}

/// A value of a node's daemon's pod, by a path below it.
fn of_daemon(trio: &Trio, node: &str, path: &str) -> Result<Value> {
    let pod = trio.cluster.daemon(node)?;
    let value = pod.pointer(path).cloned();
    value.with_context(|| format!("{node}'s daemon has no {path}"))
}

/// Deletes a node's daemon's pod and waits until it is gone; another one takes its place.
fn delete_daemon(trio: &Trio, node: &str) -> Result<()> {
    let daemon = trio.cluster.daemon(node)?;
    let name = text(&daemon, "/metadata/name")?;
    let delete = ["delete", "pod", name, "--namespace", NAMESPACE];
    trio.cluster.api.kubectl(&delete).map(drop)
}
