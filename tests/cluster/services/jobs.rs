//! Pods that come and go by the dozen.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::TOOLS;
use sotto_tests::kubernetes::whole::{Space, Trio};
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use crate::shared;

/// Some two pods a second on two cores, and other tests run beside.
const LIMIT: Duration = Duration::from_secs(150);

/// Pods of the storm; a job's completions.
const STORM: usize = 30;
const COMPLETIONS: usize = 50;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        jobs_with_fifty_completions_have_a_network_in_each,
        pd13_after_a_storm_of_short_lived_pods_the_pool_has_all_its_addresses,
    ]
}

fn jobs_with_fifty_completions_have_a_network_in_each(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("jobs")?;
        space.web("web", "bob")?;
        space.service("web", "web", &json!({}))?;
        let line = format!(
            "curl -sSf --retry 9 --retry-delay 1 --retry-all-errors --max-time 5 http://web.{}/done",
            space.name()
        );
        let container = json!({"name": "main", "image": TOOLS, "command": ["bash", "-ec", line]});
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "many"},
            "spec": {
                "completions": COMPLETIONS, "parallelism": 20, "backoffLimit": 0,
                "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
            },
        });
        space.create(&job.to_string())?;
        wait::until("the job to complete", LIMIT, || {
            let job = space.read(&["job", "many"]).unwrap_or_default();
            let succeeded = job.pointer("/status/succeeded").and_then(Value::as_u64);
            succeeded == u64::try_from(COMPLETIONS).ok()
        })?;
        let log = space.kubectl(&["logs", "web"])?;
        let visitors: BTreeSet<_> = log.lines().filter(|line| line.ends_with("/done")).collect();
        ensure!(
            visitors.len() == COMPLETIONS,
            "{} pods had {} addresses: one was used again too soon",
            COMPLETIONS,
            visitors.len()
        );
        Ok(())
    })
}

fn pd13_after_a_storm_of_short_lived_pods_the_pool_has_all_its_addresses(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let hostile = trio.cluster.space("hostile")?;
        let pods: Vec<_> = (0..STORM).map(short_lived).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
        hostile.create(&list.to_string())?;

        // Somebody else's pod on the same node, meanwhile.
        let other = trio.cluster.space("neighbour")?;
        other.web("web", "alice")?;

        // Half of them are deleted as they start.
        let grace = "--grace-period=0";
        let all = ["delete", "pods", "--all", "--force", grace, "--wait=false"];
        hostile.kubectl(&all)?;
        hostile.delete(&["pods", "--all"])?;
        wait::until(
            "each address to be free or of a living pod",
            LIMIT,
            || matches!((held(trio), living(trio)), (Ok(held), Ok(living)) if held == living),
        )?;
        is_reachable(&other)
    })
}

fn short_lived(number: usize) -> Value {
    let container = json!({"name": "main", "image": TOOLS, "command": ["true"]});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("short-{number}")},
        "spec": {
            "nodeName": "alice", "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    })
}

/// IPv4 addresses that Alice's pool has given away.
fn held(trio: &Trio) -> Result<BTreeSet<String>> {
    let said = trio.alice.place()?.shell(
        "grep -ho '\"10[.]244[.][0-9.]*\"' /run/sotto/pool/*/held/*.json | tr -d '\"' || true",
    )?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// IPv4 addresses of the sandboxes' namespaces on Alice, by the routes that the kernel has to them.
fn living(trio: &Trio) -> Result<BTreeSet<String>> {
    let pods = trio.cluster.api.read(&[
        "pods",
        "--all-namespaces",
        "--field-selector=spec.nodeName=alice,spec.hostNetwork=false",
    ])?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let runs = |pod: &&Value| pod["status"]["phase"] == "Running";
    let addresses = pods.iter().filter(runs).map(|pod| &pod["status"]["podIP"]);
    Ok(addresses
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect())
}

fn is_reachable(space: &Space<'_>) -> Result<()> {
    for ipv6 in [false, true] {
        let address = space.address("web", ipv6)?;
        let there = sotto_tests::kubernetes::whole::url(&address, 8080, "/");
        space.fetch("web", &there)?;
    }
    Ok(())
}
