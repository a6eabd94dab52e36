//! One cluster's objects, whole and then each spoiled in one place.

use chacha20::ChaCha20Rng;
use cluster_api::{
    NodeIdentity, NodeIdentitySpec, NodeIdentityStatus, RevocationList as ListObject,
    RevocationListSpec, encode, object_name,
};
use node_identity::{
    CertificateSerial, Envelope, Generation, IdentityKey, KeyStatement, NodeCertificateTerms,
    NodeUid, PodRanges, RevocationEntry, RevocationList, RevokedSubject, RootCertificate, RootKey,
    SpiffeId, TunnelKey, UnixTime,
};
use rand_core::SeedableRng;

use super::super::{CheckVerdict, Facts, Report};
use super::judge;
use crate::cluster::Listed;

const NOW: UnixTime = UnixTime(1_800_000_000);

struct World {
    rng: ChaCha20Rng,
    key: RootKey,
    certificate: RootCertificate,
}

impl World {
    fn seeded(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let key = RootKey::generate(&mut rng);
        let certificate = key.create_certificate(&"sotto.test".parse().unwrap(), NOW, &mut rng);
        Self {
            rng,
            key,
            certificate,
        }
    }

    fn list(&self, entries: Vec<RevocationEntry>) -> ListObject {
        let list = RevocationList {
            number: NOW.0,
            issued: NOW,
            next_update: UnixTime(NOW.0 + 3600),
            entries,
        };
        let spec = RevocationListSpec {
            root_certificate: encode(self.certificate.to_der()),
            signed_list: encode(&self.key.sign_revocations(&list).to_der()),
            ..RevocationListSpec::default()
        };
        ListObject::new(&object_name(&self.certificate.pin()), spec)
    }

    /// Everything that a healthy node has published, checked against no pin.
    fn alice(&mut self) -> Facts {
        let key = IdentityKey::generate(&mut self.rng);
        let identity = SpiffeId {
            trust_domain: "sotto.test".parse().unwrap(),
            uid: NodeUid::generate(&mut self.rng),
            name: "alice".parse().unwrap(),
        };
        self.publish(&key, &identity)
    }

    fn publish(&mut self, identity_key: &IdentityKey, identity: &SpiffeId) -> Facts {
        let tunnel_key = TunnelKey::generate(&mut self.rng);
        let terms = NodeCertificateTerms {
            identity: identity.clone(),
            key: identity_key.public(),
            addresses: vec!["198.51.100.1".parse().unwrap()],
            pod_ranges: PodRanges::try_new(vec!["10.244.1.0/24".parse().unwrap()]).unwrap(),
            serial: CertificateSerial(7),
            not_before: NOW,
            not_after: UnixTime(NOW.0 + 72 * 3600),
        };
        let certificate = self.key.issue(&self.certificate, &terms).unwrap();
        let statement = KeyStatement {
            identity: identity.clone(),
            certificate_serial: CertificateSerial(7),
            identity_key_hash: identity_key.public().hash(),
            generation: Generation(NOW.0),
            tunnel_key: tunnel_key.public(),
            endpoints: vec!["198.51.100.1".parse().unwrap()],
            base_port: 51_820,
            lanes: 2,
        };
        let envelope = Envelope::seal(&statement, identity_key, &tunnel_key, &certificate).unwrap();
        let spec = NodeIdentitySpec {
            node_uid: identity.uid.to_string(),
            certificate: Some(encode(certificate.to_der())),
            revoked: false,
        };
        let mut object = NodeIdentity::new("alice", spec);
        object.status = Some(NodeIdentityStatus {
            statements: vec![encode(&envelope.to_der())],
        });
        Facts {
            name: "alice".parse().unwrap(),
            pins: vec![],
            identity: object,
            lists: Listed {
                objects: vec![self.list(vec![])],
                malformed: vec![],
            },
            node_uid: Ok(Some(identity.uid.to_string())),
        }
    }
}

fn failures(report: &Report) -> Vec<&str> {
    let failed = |check: &&super::Check| check.verdict == CheckVerdict::Failed;
    let failed = report.checks.iter().filter(failed);
    failed.map(|check| check.what.as_str()).collect()
}

#[test]
fn an_honest_node_verifies_pinned_and_unpinned() {
    let mut world = World::seeded(1);
    let mut facts = world.alice();

    let report = judge(&facts, NOW);
    assert!(report.verified && !report.pinned, "{report:?}");
    assert!(super::super::text(&report).contains("NOT PINNED"));

    facts.pins = vec![world.certificate.pin()];
    let report = judge(&facts, NOW);
    assert!(report.verified && report.pinned, "{report:?}");
    assert!(!super::super::text(&report).contains("NOT PINNED"));
}

#[test]
fn a_cluster_that_vouches_for_itself_fails_a_foreign_pin() {
    let mut facts = World::seeded(1).alice();
    facts.pins = vec![World::seeded(2).certificate.pin()];

    let report = judge(&facts, NOW);

    assert!(!report.verified);
    assert!(failures(&report).contains(&"the certificate is signed by a trusted root"));
}

#[test]
fn a_revoked_node_does_not_verify_with_or_without_a_certificate() {
    let mut world = World::seeded(1);
    let mut facts = world.alice();
    let uid: NodeUid = facts.identity.spec.node_uid.parse().unwrap();
    let until = UnixTime(NOW.0 + 72 * 3600);
    let subject = RevokedSubject::Node(uid);
    facts.lists.objects = vec![world.list(vec![RevocationEntry { subject, until }])];

    let report = judge(&facts, NOW);
    assert!(failures(&report).contains(&"no signed list revokes key or node"));
    assert!(!report.verified);

    facts.identity.spec.certificate = None;
    let report = judge(&facts, NOW);
    assert!(
        failures(&report).contains(&"no signed list revokes key or node"),
        "told by the UID, behind a certificate that was taken away"
    );
}

#[test]
fn a_wish_to_revoke_shows_before_the_controller_signed_it() {
    let mut facts = World::seeded(1).alice();
    facts.identity.spec.revoked = true;

    assert_eq!(failures(&judge(&facts, NOW)), ["nobody wants it revoked"]);
}

#[test]
fn a_node_made_anew_under_its_old_name_does_not_verify() {
    let mut facts = World::seeded(1).alice();
    facts.node_uid = Ok(Some("8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11".to_owned()));
    assert!(!judge(&facts, NOW).verified);

    facts.node_uid = Err("this user may not".to_owned());
    assert!(judge(&facts, NOW).verified, "unknown is no failure");
}

#[test]
fn an_expired_chain_and_an_overdue_list_do_not_verify() {
    let facts = World::seeded(1).alice();

    let report = judge(&facts, UnixTime(NOW.0 + 73 * 3600));

    let failures = failures(&report);
    assert!(failures.contains(&"the certificate is valid now"));
    assert!(failures.iter().any(|what| what.contains("not overdue")));
}

#[test]
fn rubbish_in_any_field_is_named_and_verifies_nothing() {
    for rubbish in ["", "!!", "AAAA", "MIIB\u{1b}[2J"] {
        let mut facts = World::seeded(1).alice();
        facts.identity.spec.certificate = Some(rubbish.to_owned());
        assert!(!judge(&facts, NOW).verified, "{rubbish:?}");

        let mut facts = World::seeded(1).alice();
        facts.identity.status = Some(NodeIdentityStatus {
            statements: vec![rubbish.to_owned(); 5],
        });
        assert!(!judge(&facts, NOW).verified, "{rubbish:?}");

        let mut facts = World::seeded(1).alice();
        facts.lists.objects[0].spec.signed_list = rubbish.to_owned();
        assert!(!judge(&facts, NOW).verified, "{rubbish:?}");
    }
}

#[test]
fn a_root_filed_under_another_name_counts_for_nothing() {
    let mut facts = World::seeded(1).alice();
    facts.lists.objects[0].metadata.name = Some(object_name(&World::seeded(2).certificate.pin()));

    assert!(!judge(&facts, NOW).verified);
}

#[test]
fn kl07_while_a_root_is_changed_what_the_other_root_signed_spoils_nothing() {
    let (mut old, mut new) = (World::seeded(1), World::seeded(2));
    let key = IdentityKey::generate(&mut old.rng);
    let identity = "spiffe://sotto.test/node/8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11/alice";
    let identity: SpiffeId = identity.parse().unwrap();
    let before = old.publish(&key, &identity);
    let mut facts = new.publish(&key, &identity);
    let statements = |facts: &Facts| facts.identity.status.clone().unwrap().statements;
    let both = [statements(&facts), statements(&before)].concat();
    facts.identity.status = Some(NodeIdentityStatus { statements: both });
    facts.lists.objects.extend(before.lists.objects);

    for (pin, other) in [
        (new.certificate.pin(), old.certificate.pin()),
        (old.certificate.pin(), new.certificate.pin()),
    ] {
        facts.pins = vec![pin];
        let report = judge(&facts, NOW);
        assert!(report.verified, "{report:?}");
        let told = super::super::text(&report);
        assert!(told.contains(&format!("it belongs to another root, {other}")));
    }
    facts.identity.status.as_mut().unwrap().statements.pop();
    let report = judge(&facts, NOW);
    assert!(!report.verified, "nothing leads to the old root any more");
}
