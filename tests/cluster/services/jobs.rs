//! Pods that come and go by the dozen.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::Space;
use sotto_tests::kubernetes::whole::TOOLS;
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

        // They are deleted as they start.
        let grace = "--grace-period=0";
        let all = ["delete", "pods", "--all", "--force", grace, "--wait=false"];
        hostile.kubectl(&all)?;
        hostile.delete(&["pods", "--all"])?;
        trio.cluster.is_at_rest(&[&trio.alice])?;
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

fn is_reachable(space: &Space<'_>) -> Result<()> {
    for ipv6 in [false, true] {
        let address = space.address("web", ipv6)?;
        let there = sotto_tests::kubernetes::whole::url(&address, 8080, "/");
        space.fetch("web", &there)?;
    }
    Ok(())
}
