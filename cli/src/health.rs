//! What makes a node or the controller count as not well, for every verb alike.

use std::collections::BTreeSet;

use cluster_api::{IdentityState, Peer};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::ApiResource;
use node_identity::UnixTime;

use crate::cluster::{Cluster, Seen, seen};
use crate::table::span;
use crate::times::unix;

/// How many lease durations without renewal count as dead: the holder's clock is another one, and
/// a few seconds of difference are usual.
const DEAD_AFTER: u64 = 4;
/// What Kubernetes' own components lease for, where the object does not say.
const USUAL_DURATION: u64 = 15;

/// The UIDs of the Nodes that there are.
pub(crate) struct Living(pub(crate) Seen<BTreeSet<String>>);

impl Living {
    /// Whether the Node of a peer is known to be gone.
    pub(crate) fn lacks(&self, peer: &Peer) -> bool {
        let there = self.0.as_ref();
        there.is_ok_and(|uids| !uids.contains(&peer.spec.node_uid))
    }
}

/// Looks which Nodes there are. Asked for after the peers: a new Node is not to look gone.
pub(crate) async fn living(cluster: &Cluster) -> Living {
    let nodes = ApiResource::erase::<Node>(&());
    Living(seen(cluster.uids(&nodes).await))
}

/// Why a node is not well. One that is out, revoked or gone before it was certified, is not ill.
pub(crate) fn ailment(peer: &Peer, living: &Living) -> Option<String> {
    let explained = |state: &str| {
        if peer.spec.reason.is_empty() {
            format!("identity is {state}")
        } else {
            format!("identity is {state}: {}", peer.spec.reason)
        }
    };
    match peer.spec.identity {
        IdentityState::Revoked => return None,
        IdentityState::Pending | IdentityState::Expired if living.lacks(peer) => return None,
        IdentityState::Pending => return Some(explained("pending")),
        IdentityState::Expired => return Some(explained("expired")),
        IdentityState::Verified if living.lacks(peer) => {
            let held =
                "its Node is gone: is it revoked within a minute? else see the controller's log";
            return Some(match peer.spec.reason.as_str() {
                "" => held.to_owned(),
                reason => reason.to_owned(),
            });
        }
        IdentityState::Verified => {}
    }
    let Some(status) = &peer.status else {
        return Some("its daemon has reported nothing yet".to_owned());
    };
    let Some(ready) = status.conditions.iter().find(|one| one.type_ == "Ready") else {
        return Some("its daemon has not said whether it is ready".to_owned());
    };
    let bad = status
        .conditions
        .iter()
        .filter(|one| one.type_ != "Ready" && one.status == "False");
    let faults: Vec<String> = (ready.status != "True")
        .then_some(ready)
        .into_iter()
        .chain(bad)
        .map(words)
        .collect();
    if !faults.is_empty() {
        return Some(faults.join("; "));
    }
    if status.unhealthy_total > 0 {
        let named: Vec<String> = status
            .unhealthy_peers
            .iter()
            .take(3)
            .map(|one| format!("{}: {}", one.node, one.reason))
            .collect();
        return Some(format!(
            "{} of its peers are not well ({})",
            status.unhealthy_total,
            named.join("; ")
        ));
    }
    None
}

fn words(condition: &Condition) -> String {
    let why = if condition.message.is_empty() {
        &condition.reason
    } else {
        &condition.message
    };
    format!("{}={}: {why}", condition.type_, condition.status)
}

/// Who is the controller that signs, or what is wrong with it.
pub(crate) fn lease(lease: &Seen<Option<Lease>>, now: UnixTime) -> Result<String, String> {
    let lease = match lease {
        Ok(Some(lease)) => lease,
        Ok(None) => return Err("no controller ever led: is it running?".to_owned()),
        Err(error) => return Err(format!("the controller's lease is not known: {error}")),
    };
    let spec = lease.spec.as_ref();
    let holder = spec
        .and_then(|spec| spec.holder_identity.as_deref())
        .filter(|holder| !holder.is_empty())
        .ok_or("no controller leads: is it running?")?;
    let duration = spec
        .and_then(|spec| spec.lease_duration_seconds)
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(USUAL_DURATION);
    let renewed = spec
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|time| unix(&Time(time.0)))
        .ok_or("the controller's lease was never renewed: is it running?")?;
    let age = now.duration_since(renewed).as_secs();
    if age > duration.saturating_mul(DEAD_AFTER) {
        return Err(format!(
            "the controller {holder} has not renewed its lease for {}: is it running, and are the \
             clocks right?",
            span(age)
        ));
    }
    Ok(format!("{holder} leads, renewed {} ago", span(age)))
}
