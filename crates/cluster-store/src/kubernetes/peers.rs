//! `Peer`: what people see of a node. The controller writes `spec`, the node's daemon `status`;
//! neither reads any of it back, but to write only what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_api::{IdentityState, Peer, PeerSpec, PeerStatus};
use cluster_client::Lenient;
use futures_util::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use node_identity::{NodeName, NodeUid};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, info};

use super::faults::{failed, is_absent};
use super::nodes::is_gone;
use super::objects::remove;
use super::roots::time;
use super::status::cut;
use super::watches::PAGE;
use crate::error::StoreError;
use crate::view::{IdentityView, NodeView};

/// Who writes `spec`, as server-side apply wants to know.
const WRITER: &str = "sotto-controller";
/// How many writes are under way at a time.
const AT_ONCE: usize = 8;
/// Most Peers of nodes that nobody knows that are removed at a time; the rest the next time.
const MOST_REMOVED: usize = 256;
/// How often all Peers are read to mend what others wrote or removed (a guess: nothing of ours
/// relies on it).
const MEND_EVERY: Duration = Duration::from_secs(60);
/// And so much later for each node: eight read in a second, however many there are.
const MEND_PER_NODE: Duration = Duration::from_millis(120);
/// Longest reason, as the schema has it.
const MAX_REASON: usize = 1_024;
/// Most pod ranges, as the schema has it.
const MAX_RANGES: usize = 16;

type GuardedPeer = Lenient<Peer>;

/// What the Peers are known to say.
#[derive(Debug, Default)]
pub(super) struct Shown {
    specs: BTreeMap<String, PeerSpec>,
    read: Option<Instant>,
}

/// Makes the Peers say what `nodes` say, and removes those of nodes that are gone.
pub(super) async fn show_nodes(
    client: &kube::Client,
    shown: &mut Shown,
    nodes: &[NodeView],
) -> Result<(), StoreError> {
    let api: Api<GuardedPeer> = Api::all(client.clone());
    let mend_every = MEND_EVERY.max(MEND_PER_NODE * u32::try_from(nodes.len()).unwrap_or(u32::MAX));
    if shown.read.is_none_or(|read| read.elapsed() >= mend_every) {
        shown.specs = read(client, &api, nodes).await?;
        shown.read = Some(Instant::now());
    }
    let names: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    shown.specs.retain(|name, _| names.contains(name.as_str()));
    let differing: Vec<(String, PeerSpec)> = nodes
        .iter()
        .map(|node| (node.name.to_string(), spec(node)))
        .filter(|(name, spec)| shown.specs.get(name) != Some(spec))
        .collect();
    let mut written = stream::iter(differing)
        .map(|(name, spec)| {
            let api = &api;
            async move {
                let written = write(api, &name, &spec).await;
                (name, written.map(|()| spec))
            }
        })
        .buffer_unordered(AT_ONCE);
    let mut failure = None;
    while let Some((name, written)) = written.next().await {
        match written {
            Ok(spec) => drop(shown.specs.insert(name, spec)),
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn write(api: &Api<GuardedPeer>, name: &str, spec: &PeerSpec) -> Result<(), StoreError> {
    let parameters = PatchParams::apply(WRITER).force();
    let object = Peer::new(name, spec.clone());
    api.patch(name, &parameters, &Patch::Apply(&object))
        .await
        .map(drop)
        .map_err(failed("patch", format!("peers {name}")))
}

/// Reads what the Peers of these nodes say. On the way it removes those that belong neither to one of
/// them nor to any Node that is there; nothing of them is kept.
async fn read(
    client: &kube::Client,
    api: &Api<GuardedPeer>,
    nodes: &[NodeView],
) -> Result<BTreeMap<String, PeerSpec>, StoreError> {
    let known: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let (mut specs, mut removed, mut stay) = (BTreeMap::new(), 0, 0);
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = api
            .list(&parameters)
            .await
            .map_err(failed("list", "peers"))?;
        for peer in page.items {
            let name = peer.name_any();
            if known.contains(name.as_str()) {
                specs.extend(peer.0.ok().map(|peer| (name, peer.spec)));
            } else if removed < MOST_REMOVED && !has_node(client, &peer).await? {
                removed += 1;
                match remove(api, &peer).await {
                    Err(error) if error.is_of_one_object() => stay += 1,
                    outcome => outcome?,
                }
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => break,
        }
    }
    if removed > 0 {
        info!(
            removed,
            stay, "Peers of no node removed, but for those that refuse"
        );
    }
    Ok(specs)
}

async fn has_node(client: &kube::Client, peer: &GuardedPeer) -> Result<bool, StoreError> {
    match (peer.name_any().parse::<NodeName>(), uid(peer)) {
        (Ok(name), Some(uid)) => Ok(!is_gone(client, &uid, &name).await?),
        (Ok(_), None) | (Err(_), _) => Ok(false),
    }
}

fn uid(peer: &GuardedPeer) -> Option<NodeUid> {
    peer.0.as_ref().ok()?.spec.node_uid.parse().ok()
}

/// Removes the Peer of a node that is gone.
pub(super) async fn remove_peer(
    client: &kube::Client,
    uid: &NodeUid,
    name: &NodeName,
) -> Result<(), StoreError> {
    let api: Api<GuardedPeer> = Api::all(client.clone());
    let found = api
        .get_opt(name.as_str())
        .await
        .map_err(failed("get", format!("peers {name}")))?;
    match found {
        Some(peer) if self::uid(&peer).as_ref() == Some(uid) => remove(&api, &peer).await,
        Some(_) | None => Ok(()),
    }
}

fn spec(node: &NodeView) -> PeerSpec {
    let (serial, not_after) = node.certificate.unzip();
    let ranges = node.pod_ranges.iter().take(MAX_RANGES);
    PeerSpec {
        node_uid: node.uid.to_string(),
        identity: match node.identity {
            IdentityView::Pending => IdentityState::Pending,
            IdentityView::Verified => IdentityState::Verified,
            IdentityView::Expired => IdentityState::Expired,
            IdentityView::Revoked => IdentityState::Revoked,
        },
        reason: cut(&node.reason, MAX_REASON),
        pod_ranges: ranges.map(ToString::to_string).collect(),
        certificate_serial: serial.map(|serial| i64::try_from(serial.0).unwrap_or(i64::MAX)),
        not_after: not_after.and_then(time),
    }
}

/// Writes the status of the node's own Peer; tells whether there is one.
pub(super) async fn write_status(
    client: &kube::Client,
    name: &NodeName,
    status: &PeerStatus,
) -> Result<bool, StoreError> {
    Ok(patch_status(client, name, &status_patch(status))
        .await?
        .is_some())
}

/// The conditions that stand in the node's own Peer. A patch of nothing answers with the object:
/// daemons may patch their Peer's status, and not read it.
pub(super) async fn standing_conditions(
    client: &kube::Client,
    name: &NodeName,
) -> Result<Option<Vec<Condition>>, StoreError> {
    let found = patch_status(client, name, &json!({})).await?;
    let conditions = |peer: GuardedPeer| peer.0.ok()?.status.map(|status| status.conditions);
    Ok(found.map(|peer| conditions(peer).unwrap_or_default()))
}

async fn patch_status(
    client: &kube::Client,
    name: &NodeName,
    patch: &Value,
) -> Result<Option<GuardedPeer>, StoreError> {
    let patched = Api::<GuardedPeer>::all(client.clone())
        .patch_status(name.as_str(), &PatchParams::default(), &Patch::Merge(patch))
        .await;
    match patched {
        Ok(peer) => Ok(Some(peer)),
        Err(error) if is_absent(&error) => {
            debug!(node = %name, "Status not shown, the controller has not made the Peer yet");
            Ok(None)
        }
        Err(error) => Err(failed("patch", format!("peers/status {name}"))(error)),
    }
}

/// A merge patch keeps what it does not name, so what is absent is named as such.
fn status_patch(status: &PeerStatus) -> Value {
    let mut status = json!(status);
    if let Some(fields) = status.as_object_mut() {
        for optional in ["oldestHandshake", "keyMade"] {
            fields.entry(optional).or_insert(Value::Null);
        }
    }
    json!({ "status": status })
}
