//! Many pods on one node, each of which says its name when asked.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sotto_tests::kubernetes::text;
use sotto_tests::kubernetes::whole::{AGNHOST, Space};
use sotto_tests::wait;

use super::LIMIT;

const LABEL: &str = "--selector=crowd=yes";

/// Creates pods on a node, and does not wait for them.
pub(super) fn create(space: &Space<'_>, node: &str, count: usize) -> Result<()> {
    let pod = |number: usize| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("crowd-{number}"), "labels": {"crowd": "yes"}},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "main", "image": AGNHOST, "args": ["netexec"]}],
            },
        })
    };
    let pods: Vec<Value> = (0..count).map(pod).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
    space.create(&list.to_string())
}

/// Waits until all are Ready, as the API tells it.
pub(super) fn is_ready(space: &Space<'_>) -> Result<()> {
    let wait = ["wait", "pod", LABEL, "--for=condition=Ready"];
    let limit = "--timeout=85s";
    space.kubectl(&[&wait[..], &[limit]].concat()).map(drop)
}

/// Waits until each answers with its own name at the address that the API tells.
pub(super) fn answers(space: &Space<'_>, client: &str, count: usize) -> Result<()> {
    wait::until("each pod to say its name", LIMIT, || {
        each_says_its_name(space, client, count).is_ok()
    })
    .or_else(|error| each_says_its_name(space, client, count).context(error))
}

fn each_says_its_name(space: &Space<'_>, client: &str, count: usize) -> Result<()> {
    let pods = space.read(&["pods", LABEL])?;
    let pods = pods.pointer("/items").and_then(Value::as_array);
    let mut named = Vec::new();
    for pod in pods.into_iter().flatten() {
        let address: IpAddr = text(pod, "/status/podIP")?.parse()?;
        named.push((text(pod, "/metadata/name")?.to_owned(), address));
    }
    ensure!(named.len() == count, "there are {} pods", named.len());
    let addresses: Vec<String> = named.iter().map(|(_, it)| it.to_string()).collect();
    let said = space.shell(
        client,
        &format!(
            "for address in {}; do curl -s --max-time 1 http://$address:8080/hostname; echo; done",
            addresses.join(" ")
        ),
    )?;
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let said: Vec<&str> = said.lines().collect();
    ensure!(said == names, "{names:?} at {addresses:?} said {said:?}");
    Ok(())
}

/// Deletes them and waits until they are gone.
pub(super) fn delete(space: &Space<'_>) -> Result<()> {
    space
        .kubectl(&["delete", "pod", LABEL, "--timeout=85s"])
        .map(drop)
}
