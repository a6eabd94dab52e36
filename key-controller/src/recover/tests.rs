use node_identity::{IdentityKey, NodeUid, RevocationEntry, SpiffeId};
use rand_core::SeedableRng;

use super::*;
use crate::ledger::test_ledger;

const NOW: UnixTime = UnixTime(1_800_000_000);

/// A ledger, one of its nodes, and what a newer certificate of that node says.
fn scene() -> (Ledger, NodeUid, NodeCertificateTerms) {
    let ledger = test_ledger(3, NOW);
    let uid = *ledger.nodes.keys().next().unwrap();
    let node = &ledger.nodes[&uid];
    let terms = NodeCertificateTerms {
        identity: SpiffeId {
            trust_domain: ledger.trust_domain.clone(),
            uid,
            name: node.name.clone(),
        },
        key: node.key,
        addresses: node.addresses.clone(),
        pod_ranges: node.pod_ranges.clone(),
        serial: node_identity::CertificateSerial(node.serial.0 + 1),
        not_before: node.not_before,
        not_after: node.not_after.plus(CERTIFICATE_LIFETIME),
    };
    (ledger, uid, terms)
}

fn other_key() -> node_identity::IdentityPublic {
    IdentityKey::generate(&mut chacha20::ChaCha20Rng::seed_from_u64(5)).public()
}

fn signed(ledger: &Ledger, subjects: &[RevokedSubject]) -> RevocationList {
    let entry = |subject: &RevokedSubject| RevocationEntry {
        subject: *subject,
        until: NOW.plus(CERTIFICATE_LIFETIME),
    };
    RevocationList {
        entries: subjects.iter().map(entry).collect(),
        ..revocations::list(ledger)
    }
}

#[test]
fn cp10_another_key_than_the_records_is_taken_and_the_old_one_retired() {
    let (mut ledger, uid, mut terms) = scene();
    let old = ledger.nodes[&uid].key.hash();
    terms.key = other_key();

    assert!(take_over(&mut ledger, &terms, NOW));

    assert_eq!(ledger.nodes[&uid].key, terms.key);
    assert!(ledger.retired.iter().any(|one| one.key == old));
    assert!(ledger.revocations.outdated);
}

#[test]
fn cp10_another_name_than_the_records_is_not_taken() {
    let (mut ledger, _, mut terms) = scene();
    terms.identity.name = "another".parse().unwrap();
    let before = ledger.clone();

    assert!(!take_over(&mut ledger, &terms, NOW));
    assert_eq!(ledger, before);
}

#[test]
fn cp10_a_revoked_node_stays_revoked_past_its_newest_certificate() {
    let (mut ledger, uid, terms) = scene();
    revocations::revoke(&mut ledger, &uid, NOW);

    assert!(take_over(&mut ledger, &terms, NOW));

    let until = ledger.nodes[&uid].revoked_until;
    assert_eq!(until, Some(terms.not_after));
}

#[test]
fn v9_an_address_of_another_live_node_is_not_taken() {
    let (mut ledger, uid, mut terms) = scene();
    let other = ledger.nodes.iter().find(|(one, _)| **one != uid);
    terms.addresses = other.unwrap().1.addresses.clone();

    assert!(!take_over(&mut ledger, &terms, NOW));

    let mut seen = std::collections::BTreeSet::new();
    let all = ledger.nodes.values().flat_map(|node| &node.addresses);
    assert!(all.into_iter().all(|address| seen.insert(*address)));
}

#[test]
fn cp10_what_the_signed_list_revokes_is_revoked_before_a_certificate_counts() {
    let (mut ledger, uid, terms) = scene();
    let stranger = NodeUid::from_bytes([9; 16]).unwrap();
    let subjects = [
        RevokedSubject::Node(uid),
        RevokedSubject::Node(stranger),
        RevokedSubject::IdentityKey(other_key().hash()),
    ];
    let list = signed(&ledger, &subjects);

    take_revocations(&mut ledger, &list);
    take_over(&mut ledger, &terms, NOW);

    assert_eq!(revocations::missing(&ledger, &list), []);
    assert!(ledger.nodes[&uid].revoked_until >= Some(terms.not_after));
    assert!(ledger.revocations.outdated);
    // A stranger's certificate makes a revoked node of it, whoever has its range.
    let mut theirs = terms.clone();
    theirs.identity.uid = stranger;
    theirs.identity.name = "stranger".parse().unwrap();
    theirs.key = other_key();
    assert!(take_over(&mut ledger, &theirs, NOW));
    assert!(ledger.nodes[&stranger].revoked_until.is_some());
    let packed = crate::ledger::unpack(&crate::ledger::pack(&ledger));
    assert_eq!(packed, Ok(ledger));
}
