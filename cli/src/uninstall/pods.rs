//! The pods of the pod network, which have to end while their node can still detach them.

use std::net::IpAddr;

use anyhow::Result;
use cluster_client::Lenient;
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Preconditions};

use super::daemon_set::States;
use crate::cluster::{Cluster, explain, in_time};
use crate::say;

/// Pods that have an address of ours, and have not ended. One that runs without any has lost it with its
/// node's power, and its node has still to detach it.
///
/// # Errors
/// When pods cannot be listed.
pub(super) async fn of_network(cluster: &Cluster, ranges: &[IpNetwork]) -> Result<Vec<Pod>> {
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let selected = ListParams::default().fields("spec.hostNetwork=false");
    let all = cluster.list::<Pod>(selected).await?.objects;
    let is_ours = |pod: &Pod| {
        let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let ended = matches!(phase, Some("Succeeded" | "Failed"));
        let within = |address: IpAddr| ranges.iter().any(|range| range.contains(address));
        let is_within = status.is_some_and(|status| addresses(status).any(within));
        let has_lost = phase == Some("Running")
            && status.is_some_and(|status| addresses(status).next().is_none());
        !on_host && !ended && (is_within || has_lost)
    };
    Ok(all.into_iter().filter(is_ours).collect())
}

fn addresses(status: &PodStatus) -> impl Iterator<Item = IpAddr> {
    let more = status.pod_ips.iter().flatten().map(|one| one.ip.as_str());
    let all = status.pod_ip.as_deref().into_iter().chain(more);
    all.filter_map(|text| text.parse().ok())
}

/// What a person calls it.
pub(super) fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Whether something makes another one when it is deleted.
pub(super) fn is_made_anew(pod: &Pod) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    owners
        .into_iter()
        .any(|owner| owner.controller == Some(true))
}

/// Where it is.
pub(super) fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Deletes those on nodes that take no new ones any more: elsewhere they would come again.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn delete(cluster: &Cluster, pods: &[Pod], states: &States) -> Result<()> {
    let due = |pod: &&Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && node(pod).is_some_and(|node| states.is_at_work(node))
    };
    for pod in pods.iter().filter(due) {
        let namespace = pod.namespace().unwrap_or_default();
        let api: Api<Lenient<Pod>> = Api::namespaced(cluster.client(), &namespace);
        let parameters = DeleteParams {
            // One made anew under the same name is another.
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let title = format!("Pod {}", name(pod));
        match in_time(&title, api.delete(&pod.name_any(), &parameters)).await? {
            Ok(_) => say(&format!("{title}: deleted"))?,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(explain(&title, error)),
        }
    }
    Ok(())
}
