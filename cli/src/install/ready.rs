//! Waits for what was installed to work: until every node is ready.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::names::NODE;
use crate::output::{Answer, Verdict};
use crate::printable::printable;
use crate::say;

/// A node takes seconds once its images are there; those may take minutes.
const READY_WITHIN: Duration = Duration::from_secs(300);
const PAUSE: Duration = if cfg!(test) {
    Duration::from_millis(5)
} else {
    Duration::from_secs(1)
};

/// Waits, and adds to the answer what is not ready.
///
/// # Errors
/// When the API server does not answer or refuses.
pub(super) async fn wait(cluster: &Cluster, answer: Answer) -> Result<Answer> {
    wait_for(cluster, answer, READY_WITHIN).await
}

async fn wait_for(cluster: &Cluster, answer: Answer, limit: Duration) -> Result<Answer> {
    let until = Instant::now() + limit;
    let mut said = String::new();
    loop {
        let Some(missing) = missing(cluster).await? else {
            say("All nodes are ready.")?;
            return Ok(answer);
        };
        if Instant::now() >= until {
            return Ok(Answer {
                text: format!(
                    "{}\nAfter {} s: {missing} `sotto doctor` says why.",
                    answer.text,
                    limit.as_secs()
                ),
                verdict: Verdict::Wrong,
            });
        }
        if missing != said {
            say(&missing)?;
            said = missing;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is not ready, in words.
async fn missing(cluster: &Cluster) -> Result<Option<String>> {
    let namespace = Some(cluster.namespace.as_str());
    let daemons = cluster.find::<DaemonSet>(namespace, NODE).await?;
    let status = daemons.as_ref().and_then(|daemons| daemons.status.as_ref());
    let generation = daemons.as_ref().and_then(|one| one.metadata.generation);
    let missing = match status {
        Some(status) if status.observed_generation >= generation => {
            let (ready, wanted) = (status.number_ready, status.desired_number_scheduled);
            let updated = status.updated_number_scheduled.unwrap_or_default();
            let all = ready >= wanted && updated >= wanted;
            (!all).then(|| format!("{} of {wanted} daemons are ready.", ready.min(updated)))
        }
        Some(_) | None => Some("The daemons are not scheduled yet.".to_owned()),
    };
    if missing.is_some() {
        return Ok(missing);
    }
    let nodes = cluster.list::<Node>(ListParams::default()).await?.objects;
    let unready: Vec<String> = nodes
        .iter()
        .filter(|node| !is_ready(node))
        .map(|node| printable(&node.name_any()))
        .collect();
    Ok(unready.first().map(|first| {
        let all = nodes.len();
        let ready = all - unready.len();
        format!("{ready} of {all} nodes are ready, {first} is not.")
    }))
}

fn is_ready(node: &Node) -> bool {
    let status = node.status.as_ref();
    let mut conditions = status
        .iter()
        .flat_map(|one| one.conditions.iter().flatten());
    conditions.any(|one| one.type_ == "Ready" && one.status == "True")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Answer, Verdict, wait_for};
    use crate::fake::{Fake, wait};

    fn put(fake: &Fake, ready: &str, daemons: u32) {
        fake.put(
            "/api/v1/nodes/alice",
            &format!(
                r#"{{"metadata": {{"name": "alice"}}, "status": {{"conditions": [
                    {{"type": "Ready", "status": "{ready}"}}]}}}}"#
            ),
        );
        fake.put(
            "/apis/apps/v1/namespaces/sotto-system/daemonsets/sotto-node",
            &format!(
                r#"{{"metadata": {{"name": "sotto-node", "generation": 2}}, "status": {{
                    "observedGeneration": 2, "desiredNumberScheduled": 1, "numberReady": {daemons},
                    "updatedNumberScheduled": 1, "currentNumberScheduled": 1,
                    "numberMisscheduled": 0}}}}"#
            ),
        );
    }

    #[test]
    fn it_is_ready_when_nodes_and_daemons_are_and_not_before() {
        let fake = Fake::default();
        let judged = |fake: &Fake| {
            let limit = Duration::from_millis(20);
            let installed = Answer::fine("Installed.");
            wait(async { wait_for(&fake.cluster(), installed, limit).await }).unwrap()
        };
        for (ready, daemons, told) in [("False", 1, "alice is not"), ("True", 0, "0 of 1 daemons")]
        {
            put(&fake, ready, daemons);
            let answer = judged(&fake);
            assert_eq!(answer.verdict, Verdict::Wrong);
            assert!(answer.text.contains(told), "{}", answer.text);
        }

        put(&fake, "True", 1);
        assert_eq!(judged(&fake).verdict, Verdict::Fine);
    }
}
