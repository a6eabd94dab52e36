//! No bytes and no text make a reader panic, and what a reader takes it writes back.

use proptest::prelude::*;

use super::world::{NOW, World, addresses};
use crate::{
    CertificateRequest, Envelope, Floor, IdentityKey, JoinToken, KeyStatement, NodeCertificate,
    Pin, PodCidr, RevocationEntry, RevocationList, Revocations, RevokedSubject, RootCertificate,
    RootKey, SignedRevocationList, SpiffeId,
};

/// One valid sample of everything that is read from DER.
fn samples() -> Vec<Vec<u8>> {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let identity = &alice.statement.identity;
    let list = RevocationList {
        number: NOW.0,
        issued: NOW,
        next_update: NOW,
        entries: vec![
            RevocationEntry {
                subject: RevokedSubject::IdentityKey(alice.key.public().hash()),
                until: NOW,
            },
            RevocationEntry {
                subject: RevokedSubject::Node(identity.uid),
                until: NOW,
            },
        ],
    };
    let signed = world.root_key.sign_revocations(&list);
    let mut kept = Revocations::default();
    kept.accept(&signed.verify(&world.roots()).unwrap())
        .unwrap();
    let mut floor = Floor::default();
    floor.observe(&world.peer(&alice));
    vec![
        alice.envelope().to_der(),
        alice.certificate.to_der().to_vec(),
        alice.statement.to_der(),
        world.root.to_der().to_vec(),
        CertificateRequest::create(&alice.key, identity, &addresses(1))
            .unwrap()
            .to_der()
            .to_vec(),
        signed.to_der(),
        kept.to_bytes(),
        floor.to_bytes(),
    ]
}

/// Hands the bytes to every reader; returns how many took them, each of which writes them back.
fn read_all(bytes: &[u8]) -> usize {
    let written = [
        Envelope::from_der(bytes).ok().map(|one| one.to_der()),
        NodeCertificate::from_der(bytes)
            .ok()
            .map(|one| one.to_der().to_vec()),
        KeyStatement::from_der(bytes).ok().map(|one| one.to_der()),
        RootCertificate::from_der(bytes)
            .ok()
            .map(|one| one.to_der().to_vec()),
        CertificateRequest::from_der(bytes)
            .ok()
            .map(|one| one.to_der().to_vec()),
        SignedRevocationList::from_der(bytes)
            .ok()
            .map(|one| one.to_der()),
        Revocations::from_bytes(bytes)
            .ok()
            .map(|one| one.to_bytes()),
        Floor::from_bytes(bytes).ok().map(|one| one.to_bytes()),
    ];
    let written: Vec<_> = written.into_iter().flatten().collect();
    assert!(
        written.iter().all(|again| again == bytes),
        "one encoding each"
    );
    written.len()
}

#[test]
fn every_sample_is_taken_by_exactly_one_reader() {
    for sample in samples() {
        assert_eq!(read_all(&sample), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn i5_no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn i5_no_text_makes_a_reader_panic(text in ".{0,200}") {
        let _ = text.parse::<SpiffeId>();
        let _ = text.parse::<PodCidr>();
        let _ = text.parse::<Pin>();
        let _ = text.parse::<JoinToken>();
        let _ = format!("sotto1.{text}").parse::<JoinToken>();
        let _ = IdentityKey::from_pem(&text);
        let _ = RootKey::from_pem(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn i5_damaged_samples_make_no_reader_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
    ) {
        for mut bytes in samples() {
            for (at, byte, kind) in &edits {
                let at = at.index(bytes.len().max(1));
                match (kind, bytes.get_mut(at)) {
                    (0, Some(place)) => *place = *byte,
                    (1, _) => bytes.insert(at, *byte),
                    (_, Some(_)) => {
                        bytes.remove(at);
                    }
                    (_, None) => {}
                }
            }
            read_all(&bytes);
        }
    }
}
