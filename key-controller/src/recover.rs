//! Brings a ledger forward that is older than what its root has signed, from the certificates that
//! prove it, and the revocation list. Pure.
//!
//! For Kubernetes, where the ledger lies in the same etcd as everything else: whoever restores
//! yesterday's etcd restores yesterday's ledger, while nodes hold today's certificates and publish
//! them again. Each is signed by the root, and later than what the ledger has, so it says what the
//! lost ledger said. Revocations since the backup are lost where the signed list was restored too,
//! unless the Node is gone.

use node_identity::{
    CERTIFICATE_LIFETIME, IkHash, NodeCertificateTerms, RevocationList, RevokedSubject, UnixTime,
};

use crate::ledger::{Ledger, NodeRecord, RetiredKey};
use crate::revocations;

/// Takes the revocations over that the root's own signed list has and the ledger lacks. What was
/// revoked once stays revoked, so this comes before any certificate is believed.
pub(crate) fn take_revocations(ledger: &mut Ledger, signed: &RevocationList) {
    for entry in revocations::missing(ledger, signed) {
        match entry.subject {
            RevokedSubject::IdentityKey(key) => retire(ledger, key, entry.until),
            RevokedSubject::Node(uid) => match ledger.nodes.get_mut(&uid) {
                Some(node) => node.revoked_until = Some(node.last_not_after.max(entry.until)),
                None => drop(ledger.revoked_strangers.insert(uid, entry.until)),
            },
        }
        ledger.revocations.outdated = true;
    }
}

fn retire(ledger: &mut Ledger, key: IkHash, until: UnixTime) {
    match ledger.retired.iter_mut().find(|one| one.key == key) {
        Some(known) => known.until = known.until.max(until),
        None => ledger.retired.push(RetiredKey { key, until }),
    }
    ledger.revocations.outdated = true;
}

/// Takes over what a proven certificate says, where it contradicts nobody else. True if it did.
pub(crate) fn take_over(ledger: &mut Ledger, terms: &NodeCertificateTerms, now: UnixTime) -> bool {
    let uid = terms.identity.uid;
    let is_revoked = ledger.revoked_strangers.contains_key(&uid);
    let contradicts = ledger.nodes.iter().any(|(other, node)| {
        let is_believed = node.revoked_until.is_none();
        let same_name = is_believed && node.name == terms.identity.name;
        let same_ranges = is_believed && node.pod_ranges.overlaps(&terms.pod_ranges);
        // Who is revoked has neither name nor range any more.
        let same_address = || {
            let mut addresses = terms.addresses.iter();
            node.is_live(now) && addresses.any(|one| node.addresses.contains(one))
        };
        let conflicts = !is_revoked && (same_name || same_ranges || same_address());
        *other != uid && (node.key == terms.key || conflicts)
    });
    if contradicts {
        return false;
    }
    let before = ledger.nodes.get(&uid);
    if before.is_some_and(|node| node.name != terms.identity.name) {
        return false;
    }
    if let Some(node) = before.filter(|node| node.key != terms.key) {
        let (key, until) = (node.key.hash(), node.last_not_after);
        retire(ledger, key, until);
    }
    let mut record = record(terms, ledger.nodes.get(&uid));
    if let Some(until) = ledger.revoked_strangers.remove(&uid) {
        record.revoked_until = Some(until.max(terms.not_after));
        ledger.revocations.outdated = true;
    }
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

#[cfg(test)]
mod tests;
