//! V1 to V7: who may ask at all.

use super::*;
use crate::revocations;

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
    scene.ledger.revocations.outdated = false;
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
