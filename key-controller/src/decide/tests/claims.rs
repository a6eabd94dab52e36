//! V8 to V10: what may be asked for.

use node_identity::PodCidr;

use super::*;
use crate::revocations;

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
