use std::path::Path;
use std::time::Duration;

use chacha20::ChaCha20Rng;
use node_identity::{IdentityKey, JoinToken, PodCidr};
use proptest::prelude::*;
use rand_core::SeedableRng;

use super::*;
use crate::revocations;
use crate::tokens::{Invitation, invite};

const START: UnixTime = UnixTime(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const SETTINGS: &str = r#"
state_directory = "/var/lib/sotto-controller"
store_directory = "/var/lib/sotto-store"
trust_domain = "sotto.test"
cluster_pod_ranges = ["10.244.0.0/22", "fd00:10:244::/56"]
underlay_ranges = ["198.51.100.0/24", "2001:db8::/64"]
service_ranges = ["10.96.0.0/12"]
"#;

/// A cluster whose ledger, settings and clock a test turns as it likes.
struct Scene {
    ledger: Ledger,
    settings: Settings,
    now: UnixTime,
    random: ChaCha20Rng,
}

impl Scene {
    fn new() -> Self {
        let pin = format!("sha256:{}", "5a".repeat(32)).parse().unwrap();
        Self {
            ledger: Ledger::empty("sotto.test".parse().unwrap(), pin),
            settings: Settings::parse(SETTINGS, Path::new("controller.toml")).unwrap(),
            now: START,
            random: ChaCha20Rng::seed_from_u64(7),
        }
    }

    fn invite(&mut self, name: &str, addresses: &[&str]) -> JoinToken {
        let invitation = Invitation {
            name: name.parse().unwrap(),
            addresses: ips(addresses),
            lifetime: 24 * HOUR,
        };
        invite(&mut self.ledger, &invitation, self.now, &mut self.random)
            .unwrap()
            .token
    }

    fn decide(&mut self, asked: &EnrolmentRequest) -> Decision {
        decide(
            asked,
            &self.ledger,
            &self.settings,
            self.now,
            &mut self.random,
        )
    }

    /// Decides and enters a grant into the ledger.
    fn grant(&mut self, asked: &EnrolmentRequest) -> NodeRecord {
        match self.decide(asked) {
            Decision::Issue(grant) => {
                let record = grant.record.clone();
                grant.enter(&mut self.ledger);
                record
            }
            other => panic!("granted, not {other:?}"),
        }
    }

    fn refusal(&mut self, asked: &EnrolmentRequest) -> Refusal {
        match self.decide(asked) {
            Decision::Refused(reason) => reason,
            other => panic!("refused, not {other:?}"),
        }
    }

    /// Enrols alice at 198.51.100.1 with key 1.
    fn with_alice() -> (Self, JoinToken) {
        let mut scene = Self::new();
        let token = scene.invite("alice", &[]);
        scene.grant(&asks(
            &key(1),
            &token.identity,
            &["198.51.100.1"],
            Some(&token),
        ));
        (scene, token)
    }

    fn advance(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }
}

fn key(seed: u64) -> IdentityKey {
    IdentityKey::generate(&mut ChaCha20Rng::seed_from_u64(seed))
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn asks(
    key: &IdentityKey,
    identity: &SpiffeId,
    addresses: &[&str],
    token: Option<&JoinToken>,
) -> EnrolmentRequest {
    let request = CertificateRequest::create(key, identity, &ips(addresses)).unwrap();
    let pkcs10 = request.to_der().to_vec();
    let token = token.map(|token| TokenProof {
        id: *token.id.as_bytes(),
        mac: token.request_mac(&pkcs10),
    });
    EnrolmentRequest {
        pkcs10,
        token,
        succession: None,
    }
}

#[test]
fn v1_what_is_no_request_is_refused() {
    let mut scene = Scene::new();
    let token = scene.invite("alice", &[]);
    let good = asks(&key(1), &token.identity, &["198.51.100.1"], Some(&token));
    for at in [0, 40, good.pkcs10.len() - 1] {
        let mut bad = good.clone();
        bad.pkcs10[at] ^= 1;

        assert_eq!(scene.refusal(&bad).label(), "malformed", "byte {at}");
    }
}

#[test]
fn v2_without_token_or_known_key_nobody_enrols() {
    let (mut scene, token) = Scene::with_alice();
    let stranger = scene.invite("bob", &[]).identity;

    let unknown = scene.refusal(&asks(&key(2), &stranger, &["198.51.100.2"], None));
    let thief = scene.refusal(&asks(&key(2), &token.identity, &["198.51.100.1"], None));

    assert_eq!(unknown, Refusal::NoAuthority);
    assert_eq!(thief, Refusal::NoAuthority);
}

#[test]
fn v2_a_token_that_was_not_made_here_is_refused() {
    let mut scene = Scene::new();
    let token = Scene::new().invite("alice", &[]);

    let reason = scene.refusal(&asks(
        &key(1),
        &token.identity,
        &["198.51.100.1"],
        Some(&token),
    ));

    assert_eq!(reason, Refusal::UnknownToken);
}

#[test]
fn v2_a_mac_over_another_request_is_refused() {
    let mut scene = Scene::new();
    let token = scene.invite("alice", &[]);
    let honest = asks(&key(1), &token.identity, &["198.51.100.1"], Some(&token));
    let mut mallory = asks(&key(66), &token.identity, &["198.51.100.1"], None);
    mallory.token = honest.token;

    assert_eq!(scene.refusal(&mallory), Refusal::WrongMac);
}

#[test]
fn v3_a_used_token_serves_no_second_key() {
    let (mut scene, token) = Scene::with_alice();

    let reason = scene.refusal(&asks(
        &key(2),
        &token.identity,
        &["198.51.100.1"],
        Some(&token),
    ));

    assert_eq!(reason, Refusal::TokenUsed);
}

#[test]
fn v3_a_used_token_with_its_own_key_gets_the_same_answer() {
    let (mut scene, token) = Scene::with_alice();
    scene.advance(Duration::from_secs(REPEAT_WINDOW_SECONDS - 1));

    let decision = scene.decide(&asks(
        &key(1),
        &token.identity,
        &["198.51.100.1"],
        Some(&token),
    ));

    assert_eq!(decision, Decision::Again(token.identity.uid));
}

#[test]
fn v4_a_token_serves_until_its_last_second_and_no_longer() {
    let mut scene = Scene::new();
    let token = scene.invite("alice", &[]);
    let request = asks(&key(1), &token.identity, &["198.51.100.1"], Some(&token));
    scene.advance(24 * HOUR);
    assert!(matches!(scene.decide(&request), Decision::Issue(_)));

    scene.advance(Duration::from_secs(1));

    assert_eq!(scene.refusal(&request), Refusal::TokenExpired);
}

#[test]
fn v5_a_revoked_node_gets_nothing_however_it_asks() {
    let (mut scene, token) = Scene::with_alice();
    let fresh = scene.invite("alice", &[]);
    revocations::revoke(&mut scene.ledger, &token.identity.uid, scene.now);

    for proof in [None, Some(&token), Some(&fresh)] {
        for seed in [1, 2] {
            let asked = asks(&key(seed), &token.identity, &["198.51.100.1"], proof);
            assert_eq!(scene.refusal(&asked), Refusal::Revoked);
        }
    }
}

#[test]
fn v6_another_trust_domain_is_refused() {
    let mut scene = Scene::new();
    let token = scene.invite("alice", &[]);
    let foreign = SpiffeId {
        trust_domain: "other.test".parse().unwrap(),
        ..token.identity.clone()
    };

    let reason = scene.refusal(&asks(&key(1), &foreign, &["198.51.100.1"], Some(&token)));

    assert_eq!(reason, Refusal::ForeignTrustDomain);
}

#[test]
fn v6_a_token_does_not_serve_another_uid_or_name() {
    let mut scene = Scene::new();
    let token = scene.invite("alice", &[]);
    let bob = scene.invite("bob", &[]).identity;
    let other_uid = SpiffeId {
        uid: bob.uid,
        ..token.identity.clone()
    };
    let other_name = SpiffeId {
        name: bob.name,
        ..token.identity.clone()
    };

    let uid = scene.refusal(&asks(&key(1), &other_uid, &["198.51.100.1"], Some(&token)));
    let name = scene.refusal(&asks(&key(1), &other_name, &["198.51.100.1"], Some(&token)));

    assert_eq!((uid, name), (Refusal::WrongUid, Refusal::WrongName));
}

#[test]
fn v6_a_renewal_does_not_change_the_name() {
    let (mut scene, token) = Scene::with_alice();
    let renamed = SpiffeId {
        name: "carol".parse().unwrap(),
        ..token.identity
    };

    assert_eq!(
        scene.refusal(&asks(&key(1), &renamed, &["198.51.100.1"], None)),
        Refusal::WrongName
    );
}

#[test]
fn v6_two_nodes_never_share_a_name() {
    let mut scene = Scene::new();
    let first = scene.invite("alice", &[]);
    let mut second = scene.invite("bob", &[]);
    // As if somebody had restored tokens from before alice was revoked and invited anew.
    second.identity.name = first.identity.name.clone();
    let record = scene.ledger.tokens.get_mut(&second.id).unwrap();
    record.name = first.identity.name.clone();
    scene.grant(&asks(
        &key(1),
        &first.identity,
        &["198.51.100.1"],
        Some(&first),
    ));

    let asked = asks(&key(2), &second.identity, &["198.51.100.2"], Some(&second));

    assert_eq!(scene.refusal(&asked), Refusal::NameTaken);
}

#[test]
fn v7_a_token_does_not_take_a_live_nodes_key_away() {
    let (mut scene, _) = Scene::with_alice();
    let fresh = scene.invite("alice", &[]);
    let asked = asks(&key(2), &fresh.identity, &["198.51.100.1"], Some(&fresh));
    let (uid, wanted) = (fresh.identity.uid, key(2).public().hash());

    assert_eq!(
        scene.decide(&asked),
        Decision::AwaitApproval { uid, key: wanted }
    );
    scene.advance(72 * HOUR);
    assert_eq!(
        scene.decide(&asked).clone(),
        Decision::Refused(Refusal::TokenExpired)
    );

    let fresh = scene.invite("alice", &[]);
    let asked = asks(&key(2), &fresh.identity, &["198.51.100.1"], Some(&fresh));
    assert_eq!(
        scene.decide(&asked),
        Decision::AwaitApproval { uid, key: wanted }
    );
    scene.advance(Duration::from_secs(1));
    assert!(
        matches!(scene.decide(&asked), Decision::Issue(_)),
        "the old certificate has expired"
    );
}

#[test]
fn v7_an_approval_is_for_one_key_and_retires_the_old_one() {
    let (mut scene, token) = Scene::with_alice();
    let fresh = scene.invite("alice", &[]);
    let uid = token.identity.uid;
    scene.ledger.nodes.get_mut(&uid).unwrap().approved = Some(key(2).public().hash());
    let asks_with = |seed| asks(&key(seed), &token.identity, &["198.51.100.1"], Some(&fresh));
    assert!(matches!(
        scene.decide(&asks_with(3)),
        Decision::AwaitApproval { .. }
    ));

    let record = scene.grant(&asks_with(2));

    assert_eq!(record.approved, None, "an approval serves once");
    assert_eq!(scene.ledger.retired[0].key, key(1).public().hash());
    assert!(scene.ledger.revocations.outdated);
    assert_eq!(scene.refusal(&asks_with(1)), Refusal::RetiredKey);
    assert_eq!(scene.refusal(&asks_with(3)), Refusal::TokenUsed);
}

#[test]
fn v7_only_the_present_key_names_a_successor() {
    let (mut scene, token) = Scene::with_alice();
    let bob = scene.invite("bob", &[]).identity;
    let mut asked = asks(&key(2), &token.identity, &["198.51.100.1"], None);
    let by = |signer, node, new: u64| {
        Some(Succession::sign(&key(signer), node, &key(new).public()).to_der())
    };
    for wrong in [
        by(9, &token.identity, 2),
        by(1, &bob, 2),
        by(1, &token.identity, 3),
    ] {
        asked.succession = wrong;
        assert_eq!(scene.refusal(&asked), Refusal::BadSuccession);
    }
    asked.succession = Some(b"nonsense".to_vec());
    assert_eq!(scene.refusal(&asked), Refusal::BadSuccession);

    asked.succession = by(1, &token.identity, 2);

    let before = scene.ledger.nodes[&token.identity.uid].serial;
    let record = scene.grant(&asked);
    assert_eq!(record.key, key(2).public());
    assert!(record.serial > before);
}

#[test]
fn nd04_the_key_of_another_node_is_refused() {
    let (mut scene, alices) = Scene::with_alice();
    let bobs = scene.invite("bob", &[]);
    let asked = asks(&key(1), &bobs.identity, &["198.51.100.2"], Some(&bobs));

    assert_eq!(scene.refusal(&asked), Refusal::KeyOfAnotherNode);
    revocations::revoke(&mut scene.ledger, &alices.identity.uid, scene.now);
    assert_eq!(
        scene.refusal(&asked),
        Refusal::KeyOfAnotherNode,
        "revoked keys stay burnt"
    );
}

#[test]
fn nd05_the_roots_own_key_is_refused() {
    let mut scene = Scene::new();
    let token = scene.invite("alice", &[]);
    let asked = asks(&key(1), &token.identity, &["198.51.100.1"], Some(&token));
    scene.ledger.pin = node_identity::Pin::from_bytes(*key(1).public().hash().as_bytes());

    assert_eq!(scene.refusal(&asked), Refusal::KeyOfRoot);
}

#[test]
fn nd05_points_that_anybody_can_sign_for_are_refused() {
    let mut scene = Scene::new();
    let token = scene.invite("alice", &[]);
    let good = asks(&key(1), &token.identity, &["198.51.100.1"], Some(&token));
    let public = key(1).public().to_bytes();
    let at = good
        .pkcs10
        .windows(32)
        .position(|window| window == public)
        .unwrap();
    let identity_point = std::array::from_fn(|index| u8::from(index == 0));
    // A point of order 8, from the small-order points of the curve.
    let order_eight = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    for point in [[0; 32], [0xff; 32], identity_point, order_eight] {
        let mut bad = good.clone();
        bad.pkcs10[at..at + 32].copy_from_slice(&point);

        let reason = scene.refusal(&bad);
        assert!(
            reason.to_string().contains("its key is refused"),
            "{reason}"
        );
    }
}

#[test]
fn nd03_addresses_that_are_not_the_nodes_are_refused() {
    let (mut scene, _) = Scene::with_alice();
    let bobs = scene.invite("bob", &[]);
    let ask = |addresses: &[&str]| asks(&key(2), &bobs.identity, addresses, Some(&bobs));
    let alices = Refusal::AddressTaken {
        address: "198.51.100.1".parse().unwrap(),
        owner: "alice".parse().unwrap(),
    };

    assert_eq!(
        scene.refusal(&ask(&["198.51.100.2", "198.51.100.1"])),
        alices
    );
    for foreign in [
        "203.0.113.1",
        "10.244.1.1",
        "10.96.0.1",
        "fd00:10:244::1",
        "2001:db8:1::1",
    ] {
        let reason = scene.refusal(&ask(&["198.51.100.2", foreign]));
        assert_eq!(reason, Refusal::AddressNotAllowed(foreign.parse().unwrap()));
    }
    assert_eq!(scene.refusal(&ask(&[])), Refusal::AddressCount(0));
}

#[test]
fn nd03_a_token_with_addresses_allows_these_and_no_others_for_good() {
    let mut scene = Scene::new();
    let token = scene.invite("alice", &["198.51.100.1", "2001:db8::1"]);
    let ask =
        |addresses: &[&str], token| asks(&key(1), &scene_identity(token), addresses, Some(token));
    let refused = scene.refusal(&ask(&["198.51.100.9"], &token));
    assert_eq!(
        refused,
        Refusal::AddressNotAllowed("198.51.100.9".parse().unwrap())
    );

    let record = scene.grant(&ask(&[], &token));
    scene.advance(24 * HOUR);
    let renewal = asks(&key(1), &token.identity, &["198.51.100.9"], None);

    assert_eq!(
        record.addresses,
        ips(&["198.51.100.1", "2001:db8::1"]),
        "none named: all of them"
    );
    assert!(matches!(
        scene.refusal(&renewal),
        Refusal::AddressNotAllowed(_)
    ));
}

fn scene_identity(token: &JoinToken) -> SpiffeId {
    token.identity.clone()
}

#[test]
fn an_expired_nodes_address_is_free_and_its_range_is_not() {
    let (mut scene, token) = Scene::with_alice();
    scene.advance(73 * HOUR);
    let bobs = scene.invite("bob", &[]);

    let bob = scene.grant(&asks(
        &key(2),
        &bobs.identity,
        &["198.51.100.1"],
        Some(&bobs),
    ));

    let alice = &scene.ledger.nodes[&token.identity.uid];
    assert!(!bob.pod_ranges.overlaps(&alice.pod_ranges));
}

#[test]
fn v9_ranges_come_from_the_ledger_and_stay() {
    let (mut scene, token) = Scene::with_alice();
    let first = scene.ledger.nodes[&token.identity.uid].pod_ranges.clone();
    scene.advance(24 * HOUR);

    let renewed = scene.grant(&asks(&key(1), &token.identity, &["198.51.100.1"], None));

    assert_eq!(renewed.pod_ranges, first);
    assert_eq!(first.to_string(), "10.244.0.0/24, fd00:10:244::/64");
}

#[test]
fn v9_without_a_free_range_a_request_waits() {
    let (mut scene, _) = Scene::with_alice();
    scene.settings.cluster_pod_ranges = vec!["10.244.0.0/24".parse::<PodCidr>().unwrap()];
    let bobs = scene.invite("bob", &[]);

    let decision = scene.decide(&asks(
        &key(2),
        &bobs.identity,
        &["198.51.100.2"],
        Some(&bobs),
    ));

    assert_eq!(decision, Decision::Pending(PendingReason::NoFreePodRange));
}

#[test]
fn v9_ranges_outside_the_cluster_are_not_certified_again() {
    let (mut scene, token) = Scene::with_alice();
    scene.settings.cluster_pod_ranges = vec!["10.245.0.0/16".parse::<PodCidr>().unwrap()];
    scene.advance(24 * HOUR);

    let reason = scene.refusal(&asks(&key(1), &token.identity, &["198.51.100.1"], None));

    assert_eq!(reason, Refusal::RangesOutsideCluster);
}

#[test]
fn v10_the_seventh_certificate_within_an_hour_waits() {
    let (mut scene, token) = Scene::with_alice();
    let renewal = asks(&key(1), &token.identity, &["198.51.100.1"], None);
    let step = Duration::from_secs(REPEAT_WINDOW_SECONDS);
    for _ in 1..RATE_LIMIT {
        scene.advance(Duration::from_secs(60));
        let moved = scene.ledger.nodes.get_mut(&token.identity.uid).unwrap();
        // As if it had asked for other addresses, which is no repetition.
        moved.addresses.clear();
        scene.grant(&renewal);
    }
    scene.advance(step);
    assert_eq!(
        scene.decide(&renewal),
        Decision::Pending(PendingReason::RateLimited)
    );

    scene.now = START.plus(HOUR);

    assert!(
        matches!(scene.decide(&renewal), Decision::Issue(_)),
        "an hour after the first"
    );
}

#[test]
fn v10_a_certificate_lives_72_hours_and_its_serial_rises_though_the_clock_falls() {
    let (mut scene, token) = Scene::with_alice();
    let first = scene.ledger.nodes[&token.identity.uid].clone();
    scene.now = START.minus(48 * HOUR);

    let second = scene.grant(&asks(&key(1), &token.identity, &["198.51.100.1"], None));

    assert_eq!(first.not_after.duration_since(START), 72 * HOUR);
    assert_eq!(
        START.duration_since(first.not_before),
        Duration::from_secs(300)
    );
    assert!(second.serial > first.serial);
    assert_eq!(
        second.last_not_after, first.not_after,
        "the earlier certificate still counts"
    );
}

#[test]
fn every_refusal_has_its_own_label() {
    let address: IpAddr = "198.51.100.1".parse().unwrap();
    let all = [
        Refusal::Malformed(String::new()),
        Refusal::NoAuthority,
        Refusal::UnknownToken,
        Refusal::WrongMac,
        Refusal::TokenUsed,
        Refusal::TokenExpired,
        Refusal::Revoked,
        Refusal::ForeignTrustDomain,
        Refusal::WrongUid,
        Refusal::WrongName,
        Refusal::NameTaken,
        Refusal::BadSuccession,
        Refusal::KeyOfRoot,
        Refusal::KeyOfAnotherNode,
        Refusal::RetiredKey,
        Refusal::AddressCount(0),
        Refusal::AddressNotAllowed(address),
        Refusal::AddressTaken {
            address,
            owner: "alice".parse().unwrap(),
        },
        Refusal::RangesOutsideCluster,
    ];

    let labels: std::collections::BTreeSet<_> = all.iter().map(Refusal::label).collect();

    assert_eq!(labels.len(), all.len());
}

proptest! {
    #[test]
    fn i5_no_bytes_make_the_decision_panic_or_enrol(
        pkcs10 in prop::collection::vec(any::<u8>(), 0..400),
        succession in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        id in any::<[u8; 16]>(),
    ) {
        let (mut scene, _) = Scene::with_alice();
        let token = Some(TokenProof { id, mac: [0; 32] });

        let decision = scene.decide(&EnrolmentRequest { pkcs10, token, succession });

        prop_assert!(matches!(decision, Decision::Refused(Refusal::Malformed(_))));
    }

    #[test]
    fn nd01_whatever_order_nodes_ask_in_their_ranges_are_disjoint(
        turns in prop::collection::vec(0usize..6, 1..24),
    ) {
        let mut scene = Scene::new();
        let tokens: Vec<JoinToken> =
            (0..6).map(|index| scene.invite(&format!("node{index}"), &[])).collect();
        for turn in turns {
            let address = format!("198.51.100.{}", turn + 1);
            let asked = asks(&key(turn as u64), &tokens[turn].identity, &[&address], Some(&tokens[turn]));
            scene.advance(Duration::from_secs(REPEAT_WINDOW_SECONDS));
            match scene.decide(&asked) {
                Decision::Issue(grant) => grant.enter(&mut scene.ledger),
                Decision::Again(_) | Decision::Pending(_) => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
        let nodes: Vec<&NodeRecord> = scene.ledger.nodes.values().collect();
        for (position, one) in nodes.iter().enumerate() {
            for other in &nodes[position + 1..] {
                prop_assert!(!one.pod_ranges.overlaps(&other.pod_ranges));
            }
        }
        prop_assert!(nodes.len() <= 4, "the cluster has room for four");
    }
}
