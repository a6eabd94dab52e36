//! Checks of nodes and their peers.

use std::collections::BTreeSet;

use cluster_api::{IdentityState, Peer};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use super::{named, unseen};
use crate::cluster::{Listed, Seen};
use crate::doctor::{Check, Outcome};
use crate::health::{self, Living};
use crate::settings::controller::RangesFrom;

/// Nodes without pod ranges, without a peer, and peers that are not well.
pub(super) fn all(
    nodes: &Seen<Listed<Node>>,
    peers: &Seen<Listed<Peer>>,
    living: &Living,
    ranges_from: RangesFrom,
) -> Vec<Check> {
    let mut checks = match nodes {
        Ok(nodes) => with_ranges(nodes, ranges_from),
        Err(error) => vec![unseen("every node has a pod range", error)],
    };
    match (nodes, peers) {
        (Ok(nodes), Ok(peers)) => checks.push(with_peers(&nodes.objects, &peers.objects)),
        (Err(error), _) | (_, Err(error)) => {
            checks.push(unseen("every node is known to Sotto", error));
        }
    }
    match peers {
        Ok(peers) => checks.extend(well(peers, living)),
        Err(error) => checks.push(unseen("every known node is well", error)),
    }
    checks
}

fn with_ranges(nodes: &Listed<Node>, ranges_from: RangesFrom) -> Vec<Check> {
    let unread = nodes.malformed.iter().map(|(name, reason)| {
        let what = format!("Node {name} can be read");
        Check::new(&what, Outcome::Warn, &format!("not checked: {reason}"))
    });
    let own = match ranges_from {
        RangesFrom::Node => Some(all_with_ranges(&nodes.objects)),
        RangesFrom::Controller => None,
    };
    unread.chain(own).collect()
}

fn all_with_ranges(nodes: &[Node]) -> Check {
    let what = "every node has a pod range";
    let lacks = |node: &&Node| {
        let spec = node.spec.as_ref();
        spec.and_then(|spec| spec.pod_cidrs.as_deref())
            .unwrap_or_default()
            .is_empty()
    };
    let missing: Vec<String> = nodes
        .iter()
        .filter(lacks)
        .map(ResourceExt::name_any)
        .collect();
    if missing.is_empty() {
        return Check::new(what, Outcome::Ok, "");
    }
    Check::new(
        what,
        Outcome::Fail,
        &format!(
            "{} have none: does kube-controller-manager run with --allocate-node-cidrs? or should \
             Sotto give them out (`sotto install --pod-ranges-from`, `podRangesFrom` of the chart)?",
            named(&missing)
        ),
    )
}

fn with_peers(nodes: &[Node], peers: &[Peer]) -> Check {
    let what = "every node is known to Sotto";
    let known: BTreeSet<String> = peers.iter().map(ResourceExt::name_any).collect();
    let names = nodes.iter().map(ResourceExt::name_any);
    let missing: Vec<String> = names.filter(|name| !known.contains(name)).collect();
    if missing.is_empty() {
        return Check::new(what, Outcome::Ok, &format!("{} nodes", nodes.len()));
    }
    Check::new(
        what,
        Outcome::Fail,
        &format!(
            "{} never asked for a certificate: does a daemon run there?",
            named(&missing)
        ),
    )
}

fn well(peers: &Listed<Peer>, living: &Living) -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, reason) in &peers.malformed {
        let what = format!("peer {name} is of its form");
        let found = format!("{reason}; not Sotto's: find out who wrote it and delete it");
        checks.push(Check::new(&what, Outcome::Fail, &found));
    }
    for peer in &peers.objects {
        let what = format!("node {} is well", peer.name_any());
        if let Some(reason) = health::ailment(peer, living) {
            checks.push(Check::new(&what, Outcome::Fail, &reason));
        } else if peer.spec.identity != IdentityState::Revoked && living.lacks(peer) {
            let found = "its Node is gone: the controller takes its Peer away in time";
            checks.push(Check::new(&what, Outcome::Warn, found));
        } else if let Some(care) = care(peer) {
            checks.push(Check::new(&what, Outcome::Warn, care));
        }
    }
    if checks.is_empty() {
        let revoked = |peer: &&Peer| peer.spec.identity == IdentityState::Revoked;
        let revoked = peers.objects.iter().filter(revoked).count();
        let found = format!("{} nodes, {revoked} of them revoked", peers.objects.len());
        checks.push(Check::new("every known node is well", Outcome::Ok, &found));
    }
    checks
}

/// What about a node that is well should be looked after.
fn care(peer: &Peer) -> Option<&'static str> {
    let conditions = &peer.status.as_ref()?.conditions;
    let has = |type_: &str, reason: &str| {
        conditions
            .iter()
            .any(|one| one.type_ == type_ && one.reason == reason)
    };
    if has("RootPin", "TOFU") {
        return Some("it trusts the first root that it saw: give its daemon a --pin");
    }
    has("CertificateValid", "RenewalOverdue")
        .then_some("its certificate is not renewed in time: does the controller run?")
}
