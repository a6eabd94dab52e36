//! Pods, Nodes and the DaemonSet, asked for live: what decides about a node's identity never comes
//! from a list or a watch, which may be old or empty.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_client::Lenient;
use futures_util::{FutureExt, StreamExt, stream};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::PartialObjectMeta;
use kube::{Api, Resource, ResourceExt};
use node_identity::{NodeName, NodeUid};
use tokio::time::sleep;

use super::ControllerScope;
use super::faults::{failed, readable};
use super::metadata::metadata_only;
use super::requests::Open;
use super::shelf::{Found, Kept};
use super::watches::Watched;
use crate::error::StoreError;
use crate::request::RequestId;
use crate::requester::{Departed, NodeSeen, PodSeen, Stamp};

/// How many questions are under way at a time (a guess: an API server answers so many of one
/// client without queueing them).
const AT_ONCE: usize = 8;
/// How long requests are looked into at a time, so that what is said of the first is not old when the
/// last is done (a guess: a slow question and the next, see `patience.rs`).
const LOOK_LIMIT: Duration = Duration::from_secs(20);
/// How many Nodes may give no answer before the API server as a whole is taken to be away (a guess).
const MOST_UNKNOWN: usize = 8;
/// Most addresses and ranges of a Node that are looked at: kubelet's credentials write them.
const MOST_OF_NODE: usize = 64;

/// The UID of a Node, kept to know which Nodes are worth a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present(String);

impl Present {
    pub(super) fn is(&self, uid: &NodeUid) -> bool {
        self.0 == uid.to_string()
    }
}

impl Kept for Present {
    const KIND: &'static str = "nodes";
    /// Twice the largest cluster planned for. Of those left out each is asked for.
    const MOST: usize = 20_000;
    const MOST_BYTES: usize = 8 << 20;

    fn bytes(&self) -> usize {
        self.0.len() + size_of::<Self>()
    }
}

pub(super) fn read(object: Lenient<PartialObjectMeta<Node>>) -> Found<Present> {
    Found {
        entry: object.uid().map(Present),
        refused: None,
    }
}

/// Which of these are not among the Nodes listed.
pub(super) async fn missing(
    listed: &Watched<Present>,
    nodes: &[(NodeUid, NodeName)],
) -> Result<Vec<NodeUid>, StoreError> {
    let shelf = listed.listed().await?;
    let is_missing = |(uid, name): &&(NodeUid, NodeName)| {
        shelf
            .entry(name.as_str())
            .is_none_or(|present| !present.is(uid))
    };
    let missing = nodes.iter().filter(is_missing);
    Ok(missing.map(|(uid, _)| *uid).collect())
}

/// Which of these are gone, each asked for.
pub(super) async fn departed(
    client: &kube::Client,
    nodes: &[(NodeUid, NodeName)],
) -> Result<Departed, StoreError> {
    let mut answers = stream::iter(nodes.to_vec())
        .map(|(uid, name)| async move { (uid, is_gone(client, &uid, &name).await) })
        .buffer_unordered(AT_ONCE);
    let mut departed = Departed::default();
    while let Some((uid, is_gone)) = answers.next().await {
        match is_gone {
            Ok(true) => departed.gone.push(uid),
            Ok(false) => {}
            Err(error) if departed.unknown.len() >= MOST_UNKNOWN => return Err(error),
            Err(error) => departed.unknown.push((uid, error)),
        }
    }
    Ok(departed)
}

/// Whether there is no Node of that name, or another one.
pub(super) async fn is_gone(
    client: &kube::Client,
    uid: &NodeUid,
    name: &NodeName,
) -> Result<bool, StoreError> {
    let found = Api::<Lenient<PartialObjectMeta<Node>>>::all(metadata_only(client))
        .get_opt(name.as_str())
        .await
        .map_err(failed("get", format!("nodes {name}")))?;
    Ok(found.is_none_or(|found| found.uid().as_deref() != Some(&uid.to_string())))
}

/// Completes what is stamped into requests by what the Pods and Nodes named there are at this
/// moment: of as many as there is time for. A request of which that cannot be said has its error.
pub(super) async fn look_up(
    client: &kube::Client,
    scope: &ControllerScope,
    open: Vec<Open>,
) -> Result<Vec<(RequestId, Result<Open, StoreError>)>, StoreError> {
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let looked_up = Some(Instant::now());
    let name = &scope.daemon_set;
    let api: Api<Lenient<PartialObjectMeta<DaemonSet>>> =
        Api::namespaced(metadata_only(client), &scope.namespace);
    let daemon_set = api
        .get_opt(name)
        .await
        .map_err(failed("get", format!("daemonsets {name}")))?
        .and_then(|found| found.uid());
    let daemon_set: Option<Arc<str>> = daemon_set.map(Into::into);
    let completed = stream::iter(open).map(|mut open| {
        let daemon_set = daemon_set.clone();
        let id = open.id;
        let complete = async move {
            let stamp = &mut open.stamp;
            stamp.looked_up = looked_up;
            stamp.daemon_set_uid = daemon_set.map(|uid| uid.to_string());
            stamp.pod = pod(client, &scope.namespace, stamp).await?;
            stamp.node = node(client, scope.external_addresses, stamp).await?;
            Ok(open)
        };
        complete.map(move |completed| (id, completed))
    });
    // In order, so that the next look goes on behind the last of this one.
    let completed = completed.buffered(AT_ONCE);
    Ok(completed.take_until(sleep(LOOK_LIMIT)).collect().await)
}

/// The one value, if it is one and can be the name of an object: it becomes part of a path.
fn one(values: &[String]) -> Option<NodeName> {
    if let [value] = values {
        value.parse().ok()
    } else {
        None
    }
}

async fn pod(
    client: &kube::Client,
    namespace: &str,
    stamp: &Stamp,
) -> Result<Option<PodSeen>, StoreError> {
    let Some(name) = one(&stamp.pod_name) else {
        return Ok(None);
    };
    let found = Api::<Lenient<Pod>>::namespaced(client.clone(), namespace)
        .get_opt(name.as_str())
        .await
        .map_err(failed("get", format!("pods {name}")))?;
    let found = found.map(readable).transpose()?;
    Ok(found.map(|pod| {
        let owners = pod.owner_references().iter();
        let owner = owners
            .filter(|owner| owner.controller == Some(true) && owner.kind == DaemonSet::kind(&()))
            .find(|owner| owner.api_version == DaemonSet::api_version(&()));
        let daemon_set_uid = owner.map(|owner| owner.uid.clone());
        let uid = pod.uid().unwrap_or_default();
        let spec = pod.spec.unwrap_or_default();
        PodSeen {
            uid,
            service_account: spec.service_account_name.unwrap_or_default(),
            node_name: spec.node_name.unwrap_or_default(),
            daemon_set_uid,
        }
    }))
}

async fn node(
    client: &kube::Client,
    with_external: bool,
    stamp: &Stamp,
) -> Result<Option<NodeSeen>, StoreError> {
    let Some(name) = one(&stamp.node_name) else {
        return Ok(None);
    };
    let found = Api::<Lenient<Node>>::all(client.clone())
        .get_opt(name.as_str())
        .await
        .map_err(failed("get", format!("nodes {name}")))?;
    let found = found.map(readable).transpose()?;
    Ok(found.map(|node| seen(&node, with_external)))
}

fn seen(node: &Node, with_external: bool) -> NodeSeen {
    let is_wanted = |kind: &str| kind == "InternalIP" || with_external && kind == "ExternalIP";
    let addresses = node.status.iter().flat_map(|status| &status.addresses);
    let addresses = addresses
        .flatten()
        .filter(|address| is_wanted(&address.type_))
        .filter_map(|address| address.address.parse::<IpAddr>().ok())
        .take(MOST_OF_NODE)
        .collect();
    let ranges = node.spec.iter().flat_map(|spec| &spec.pod_cidrs).flatten();
    NodeSeen {
        uid: node.uid().unwrap_or_default(),
        being_deleted: node.meta().deletion_timestamp.is_some(),
        addresses,
        pod_ranges: ranges.take(MOST_OF_NODE).cloned().collect(),
    }
}
