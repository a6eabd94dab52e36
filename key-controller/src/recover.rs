//! Brings a ledger forward that is older than what its root has signed, from the certificates that
//! prove it. Pure.
//!
//! For Kubernetes, where the ledger lies in the same etcd as everything else: whoever restores
//! yesterday's etcd restores yesterday's ledger, while nodes hold today's certificates and publish
//! them again. Each is signed by the root, and later than what the ledger has, so it says what the
//! lost ledger said. What it cannot say stays lost: revocations since the backup, unless the Node is
//! gone.

use node_identity::{CERTIFICATE_LIFETIME, NodeCertificateTerms, UnixTime};

use crate::ledger::{Ledger, NodeRecord, RetiredKey};

/// Takes over what a proven certificate says, where it contradicts nobody else. True if it did.
pub(crate) fn take_over(ledger: &mut Ledger, terms: &NodeCertificateTerms) -> bool {
    let uid = terms.identity.uid;
    let contradicts = ledger.nodes.iter().any(|(other, node)| {
        let is_believed = node.revoked_until.is_none();
        let same_name = is_believed && node.name == terms.identity.name;
        let same_ranges = is_believed && node.pod_ranges.overlaps(&terms.pod_ranges);
        *other != uid && (node.key == terms.key || same_name || same_ranges)
    });
    if contradicts {
        return false;
    }
    let before = ledger.nodes.get(&uid);
    if before.is_some_and(|node| node.name != terms.identity.name) {
        return false;
    }
    if let Some(node) = before.filter(|node| node.key != terms.key) {
        let retired = RetiredKey {
            key: node.key.hash(),
            until: node.last_not_after,
        };
        ledger.retired.push(retired);
        ledger.revocations.outdated = true;
    }
    let record = record(terms, ledger.nodes.get(&uid));
    ledger.nodes.insert(uid, record);
    true
}

fn record(terms: &NodeCertificateTerms, before: Option<&NodeRecord>) -> NodeRecord {
    let issued = UnixTime(
        terms
            .not_after
            .0
            .saturating_sub(CERTIFICATE_LIFETIME.as_secs()),
    );
    let mut recent = before.map_or_else(Vec::new, |node| node.recent.clone());
    recent.push(issued);
    let last = |node: &NodeRecord| node.last_not_after.max(terms.not_after);
    NodeRecord {
        name: terms.identity.name.clone(),
        key: terms.key,
        serial: terms.serial,
        issued,
        not_before: terms.not_before,
        not_after: terms.not_after,
        last_not_after: before.map_or(terms.not_after, last),
        addresses: terms.addresses.clone(),
        allowed_addresses: before.map_or_else(Vec::new, |node| node.allowed_addresses.clone()),
        pod_ranges: terms.pod_ranges.clone(),
        recent,
        revoked_until: before.and_then(|node| Some(node.revoked_until?.max(terms.not_after))),
        awaiting: None,
        approved: None,
        departed: before.and_then(|node| node.departed),
    }
}
