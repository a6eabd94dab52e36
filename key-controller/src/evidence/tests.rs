use chacha20::ChaCha20Rng;
use cluster_store::{PublishedNode, PublishedRoot};
use node_identity::{CertificateSerial, IdentityKey, PodRanges, RootKey, SpiffeId};
use rand_core::SeedableRng;

use super::*;
use crate::ledger::NodeRecord;

const NOW: UnixTime = UnixTime(1_800_000_000);

/// A root, its ledger and its store.
struct Scene {
    key: RootKey,
    root: RootCertificate,
    ledger: Ledger,
    published: Published,
}

impl Scene {
    fn new() -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(3);
        let key = RootKey::generate(&mut random);
        let domain = "sotto.test".parse().unwrap();
        let root = key.create_certificate(&domain, NOW.minus(HOUR), &mut random);
        Self {
            ledger: Ledger::empty(domain, key.pin()),
            published: Published::default(),
            key,
            root,
        }
    }

    fn publish(
        &mut self,
        signed_by: &RootKey,
        root: &RootCertificate,
        terms: &NodeCertificateTerms,
    ) {
        let certificate = signed_by.issue(root, terms).unwrap();
        self.published.nodes.push(PublishedNode {
            certificate: Some(certificate.to_der().to_vec()),
            ..PublishedNode::empty(terms.identity.uid)
        });
    }

    fn publish_own(&mut self, terms: &NodeCertificateTerms) {
        let (key, root) = (
            RootKey::from_pem(&self.key.to_pem()).unwrap(),
            self.root.clone(),
        );
        self.publish(&key, &root, terms);
    }

    fn publish_list(&mut self, list: &RevocationList) {
        self.published.roots = vec![PublishedRoot {
            pin: self.root.pin(),
            certificate: None,
            revocations: Some(self.key.sign_revocations(list).to_der()),
        }];
    }

    fn evidence(&self) -> Evidence {
        let signed = own_list(&self.published, &self.root);
        Evidence::against(
            &self.ledger,
            &Parsed::default().certificates(&self.published),
            signed.as_ref(),
            &self.root,
            NOW,
        )
    }
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

fn terms(serial: u64) -> NodeCertificateTerms {
    let key = IdentityKey::generate(&mut ChaCha20Rng::seed_from_u64(4));
    NodeCertificateTerms {
        identity: SpiffeId {
            trust_domain: "sotto.test".parse().unwrap(),
            uid: "5f0f1a2e-8c3b-4b57-9f65-4e0c3ad0a001".parse().unwrap(),
            name: "alice".parse().unwrap(),
        },
        key: key.public(),
        addresses: vec!["198.51.100.1".parse().unwrap()],
        pod_ranges: PodRanges::try_new(vec!["10.244.0.0/24".parse().unwrap()]).unwrap(),
        serial: CertificateSerial(serial),
        not_before: NOW,
        not_after: NOW.plus(HOUR),
    }
}

fn record(terms: &NodeCertificateTerms) -> NodeRecord {
    NodeRecord {
        name: terms.identity.name.clone(),
        key: terms.key,
        serial: terms.serial,
        issued: terms.not_before,
        not_before: terms.not_before,
        not_after: terms.not_after,
        last_not_after: terms.not_after,
        addresses: terms.addresses.clone(),
        allowed_addresses: Vec::new(),
        pod_ranges: terms.pod_ranges.clone(),
        recent: Vec::new(),
        revoked_until: None,
        awaiting: None,
        approved: None,
        departed: None,
    }
}

#[test]
fn a_certificate_of_a_node_that_the_ledger_does_not_know_proves_it_old() {
    let mut scene = Scene::new();
    let alice = terms(2);
    scene.publish_own(&alice);

    let evidence = scene.evidence();

    assert_eq!(evidence.nodes(), BTreeSet::from([alice.identity.uid]));
    let said = evidence.to_string();
    assert!(
        said.contains("alice") && said.contains("10.244.0.0/24"),
        "{said}"
    );
}

#[test]
fn only_a_later_certificate_than_the_ledgers_proves_it_old() {
    for (published, proves) in [(1, false), (2, false), (3, true)] {
        let mut scene = Scene::new();
        let known = terms(2);
        scene
            .ledger
            .nodes
            .insert(known.identity.uid, record(&known));
        scene.publish_own(&terms(published));

        assert_eq!(!scene.evidence().is_empty(), proves, "serial {published}");
    }
}

#[test]
fn a_certificate_that_has_ended_or_that_another_root_signed_proves_nothing() {
    let mut scene = Scene::new();
    let other = Scene::new();
    let mut random = ChaCha20Rng::seed_from_u64(5);
    let mallory = RootKey::generate(&mut random);
    let domain = other.root.trust_domain();
    let forged = mallory.create_certificate(domain, NOW.minus(HOUR), &mut random);
    scene.publish(&mallory, &forged, &terms(2));
    let mut ended = terms(2);
    ended.not_before = NOW.minus(2 * HOUR);
    ended.not_after = NOW.minus(HOUR);
    scene.publish_own(&ended);

    assert_eq!(scene.evidence(), Evidence::default());
}

#[test]
fn a_signed_revocation_that_the_ledger_does_not_know_proves_it_old() {
    let mut scene = Scene::new();
    let alice = terms(2);
    let uid = alice.identity.uid;
    scene.ledger.nodes.insert(uid, record(&alice));
    let before = scene.ledger.clone();
    revocations::revoke(&mut scene.ledger, &uid, NOW);
    revocations::renew_list(&mut scene.ledger, NOW);
    scene.publish_list(&revocations::list(&scene.ledger));

    assert!(
        scene.evidence().is_empty(),
        "the ledger that it was made from"
    );
    scene.ledger = before;
    assert!(scene.evidence().to_string().contains(&uid.to_string()));
    revocations::revoke(&mut scene.ledger, &uid, NOW);
    assert!(scene.evidence().is_empty(), "revoked again");
}

#[test]
fn a_revocation_that_the_ledger_has_forgotten_in_time_proves_nothing() {
    let mut scene = Scene::new();
    let alice = terms(2);
    let uid = alice.identity.uid;
    scene.ledger.nodes.insert(uid, record(&alice));
    revocations::revoke(&mut scene.ledger, &uid, NOW);
    revocations::renew_list(&mut scene.ledger, NOW);
    // The crash came between this list's successor in the ledger and its publication.
    scene.publish_list(&revocations::list(&scene.ledger));
    revocations::renew_list(&mut scene.ledger, alice.not_after.plus(2 * HOUR));
    revocations::forget_nodes(&mut scene.ledger, |_| false);

    assert!(!scene.ledger.nodes.contains_key(&uid));
    assert!(scene.evidence().is_empty());
}

#[test]
fn a_certificate_is_parsed_once_for_as_long_as_it_is_published() {
    let (mut scene, mut parsed) = (Scene::new(), Parsed::default());
    scene.publish_own(&terms(2));
    let envelope = PublishedNode {
        envelopes: vec![b"no envelope".to_vec()],
        ..PublishedNode::empty(terms(2).identity.uid)
    };
    scene.published.nodes.push(envelope);
    let mut look = |published: &Published| (parsed.certificates(published), parsed.0.len());

    let (first, kept) = look(&scene.published);
    let (second, _) = look(&scene.published);

    assert_eq!((first.len(), kept), (1, 2));
    assert!(Arc::ptr_eq(&first[0], &second[0]));
    scene.published.nodes.truncate(1);
    assert_eq!(look(&scene.published).1, 1);
    scene.published.nodes.clear();
    assert_eq!(look(&scene.published), (Vec::new(), 0));
}
