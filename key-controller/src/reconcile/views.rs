//! What people are shown of each node. Pure.

use std::collections::BTreeMap;

use cluster_store::{IdentityView, NodeView, PendingReason, Requester, StoredRequest};
use node_identity::{NodeName, NodeUid, PodRanges, UnixTime};

use super::Decided;
use crate::decide::Decision;
use crate::ledger::{Ledger, NodeRecord};

/// One view a node: those of the ledger, and those that wait to get into it. Objects are named after
/// nodes, so of two with one name the one that is not revoked is shown.
pub(super) fn views(ledger: &Ledger, answers: &[Decided<'_>], now: UnixTime) -> Vec<NodeView> {
    let mut views: BTreeMap<NodeName, NodeView> = BTreeMap::new();
    let waiting: BTreeMap<NodeUid, (NodeName, PendingReason)> =
        answers.iter().filter_map(waiting_node).collect();
    let (revoked, others): (Vec<_>, Vec<_>) = ledger
        .nodes
        .iter()
        .partition(|(_, node)| node.revoked_until.is_some());
    for (uid, node) in revoked.into_iter().chain(others) {
        let waits = waiting.get(uid).map(|(_, reason)| *reason);
        views.insert(node.name.clone(), known(uid, node, waits, now));
    }
    for (uid, (name, reason)) in waiting {
        let is_shown = |view: &NodeView| view.identity != IdentityView::Revoked;
        if ledger.nodes.contains_key(&uid) || views.get(&name).is_some_and(is_shown) {
            continue;
        }
        let view = NodeView {
            uid,
            name: name.clone(),
            identity: IdentityView::Pending,
            reason: reason.to_string(),
            pod_ranges: PodRanges::default(),
            certificate: None,
        };
        views.insert(name, view);
    }
    views.into_values().collect()
}

fn known(
    uid: &NodeUid,
    node: &NodeRecord,
    waits: Option<PendingReason>,
    now: UnixTime,
) -> NodeView {
    let (identity, reason) = if node.revoked_until.is_some() {
        let reason = match node.departed {
            Some(_) => "its Node was deleted",
            None => "by order of an operator",
        };
        (IdentityView::Revoked, reason.to_owned())
    } else if now > node.not_after {
        let reason = "its certificate has ended: does its daemon run?";
        (
            IdentityView::Expired,
            waits.map_or(reason.to_owned(), |one| one.to_string()),
        )
    } else if node.departed.is_some_and(|departure| departure.held) {
        let reason = "its Node is gone, as are many others: revoke it by name if it is to go";
        (IdentityView::Verified, reason.to_owned())
    } else {
        let reason = waits.map(|one| one.to_string());
        (IdentityView::Verified, reason.unwrap_or_default())
    };
    NodeView {
        uid: *uid,
        name: node.name.clone(),
        identity,
        reason,
        pod_ranges: node.pod_ranges.clone(),
        certificate: Some((node.serial, node.not_after)),
    }
}

/// The node of a pending request: what was decided shows that its stamps are good.
fn waiting_node(decided: &Decided<'_>) -> Option<(NodeUid, (NodeName, PendingReason))> {
    let reason = match &decided.decision {
        Decision::Pending(reason) => *reason,
        Decision::AwaitApproval { .. } => PendingReason::AwaitsApproval,
        Decision::Issue(_) | Decision::Again(_) | Decision::Refused(_) => return None,
    };
    let (uid, name) = stamped_node(decided.request)?;
    Some((uid, (name, reason)))
}

/// The Node that the API server stamped into a request, if it is there.
pub(super) fn stamped_node(request: &StoredRequest) -> Option<(NodeUid, NodeName)> {
    let Requester::Stamped(stamp) = &request.requester else {
        return None;
    };
    let ([name], [uid]) = (stamp.node_name.as_slice(), stamp.node_uid.as_slice()) else {
        return None;
    };
    let is_there = stamp.node.as_ref().is_some_and(|node| node.uid == *uid);
    is_there.then_some((uid.parse().ok()?, name.parse().ok()?))
}
