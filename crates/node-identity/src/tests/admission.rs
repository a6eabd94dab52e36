//! Who is used when several verified peers claim one thing.

use std::{net::IpAddr, time::Duration};

use proptest::prelude::*;

use super::world::{NOW, Node, World, ranges};
use crate::{CertificateSerial, Conflict, NodeCertificateTerms, TunnelKey, VerifiedPeer, admit};

fn names(peers: &[VerifiedPeer]) -> Vec<String> {
    let mut names: Vec<_> = peers
        .iter()
        .map(|peer| peer.identity().name.to_string())
        .collect();
    names.sort();
    names
}

fn serial(world: &World, offset: u64) -> CertificateSerial {
    let _ = world;
    CertificateSerial((NOW.0 + offset) << 24)
}

#[test]
fn peers_without_conflict_are_all_used() {
    let mut world = World::seeded(1);
    let nodes = [world.node("alice", 1), world.node("bob", 2)];

    let admission = admit(nodes.iter().map(|node| world.peer(node)).collect());

    assert_eq!(names(&admission.peers), ["alice", "bob"]);
    assert_eq!(admission.conflicts, []);
}

#[test]
fn the_higher_serial_has_a_range_whoever_comes_first() {
    let mut world = World::seeded(1);
    let newer = serial(&world, 60);
    let alice = world.node("alice", 1);
    let bob = world.node_with("bob", 2, |terms| {
        terms.pod_ranges = ranges(&["10.244.0.0/20"]);
        terms.serial = newer;
    });
    let (alice, bob) = (world.peer(&alice), world.peer(&bob));

    let one = admit(vec![alice.clone(), bob.clone()]);
    let other = admit(vec![bob.clone(), alice.clone()]);

    assert_eq!(one, other);
    assert_eq!(names(&one.peers), ["bob"]);
    let expected = Conflict::PodRange {
        range: "10.244.1.0/24".parse().unwrap(),
        holder: bob.identity().clone(),
        refused: alice.identity().clone(),
    };
    assert_eq!(one.conflicts, [expected]);
    assert!(!one.conflicts[0].is_alarm());
}

#[test]
fn the_higher_serial_has_an_address() {
    let mut world = World::seeded(1);
    let newer = serial(&world, 60);
    let alice = world.node("alice", 1);
    let bob = world.node_with("bob", 2, |terms| {
        terms.addresses = vec!["198.51.100.1".parse().unwrap()];
        terms.serial = newer;
    });

    let admission = admit(vec![world.peer(&alice), world.peer(&bob)]);

    assert_eq!(names(&admission.peers), ["bob"]);
    let address: IpAddr = "198.51.100.1".parse().unwrap();
    assert!(matches!(
        &admission.conflicts[..],
        [Conflict::Address { address: at, .. }] if *at == address
    ));
}

#[test]
fn a_claim_lost_elsewhere_gives_an_older_certificate_nothing_back() {
    let mut world = World::seeded(1);
    let (middle, newest) = (serial(&world, 60), serial(&world, 120));
    let carol = world.node("carol", 1);
    let bob = world.node_with("bob", 2, |terms| {
        terms.pod_ranges = ranges(&["10.244.1.0/24", "10.244.9.0/24"]);
        terms.serial = middle;
    });
    let alice = world.node_with("alice", 3, |terms| {
        terms.pod_ranges = ranges(&["10.244.9.0/24"]);
        terms.serial = newest;
    });

    let admission = admit([&alice, &bob, &carol].map(|node| world.peer(node)).to_vec());

    assert_eq!(names(&admission.peers), ["alice"]);
    assert_eq!(admission.conflicts.len(), 2);
}

#[test]
fn two_certificates_of_one_serial_and_range_are_both_refused() {
    let mut world = World::seeded(1);
    let same = serial(&world, 60);
    let claim = |terms: &mut NodeCertificateTerms| {
        terms.pod_ranges = ranges(&["10.244.1.0/24"]);
        terms.serial = same;
    };
    let nodes = [
        world.node_with("alice", 1, claim),
        world.node_with("bob", 2, claim),
    ];

    let admission = admit(nodes.iter().map(|node| world.peer(node)).collect());

    assert_eq!(names(&admission.peers), [""; 0]);
    assert_eq!(admission.conflicts.len(), 2);
}

#[test]
fn kl17_of_two_nodes_with_one_tunnel_key_neither_is_used() {
    let mut world = World::seeded(1);
    let (alice, bob, carol) = (
        world.node("alice", 1),
        world.node("bob", 2),
        world.node("carol", 3),
    );
    let stolen = bob.restated(alice.same_tunnel_key(), |_| ());

    let admission = admit(
        [&alice, &stolen, &carol]
            .map(|node| world.peer(node))
            .to_vec(),
    );

    assert_eq!(names(&admission.peers), ["carol"]);
    let [conflict @ Conflict::TunnelKey { refused }] = &admission.conflicts[..] else {
        panic!("{:?}", admission.conflicts);
    };
    assert_eq!(refused.len(), 2, "both are named");
    assert!(conflict.is_alarm());
}

#[test]
fn a_tunnel_key_that_is_anothers_identity_key_is_not_used() {
    let mut world = World::seeded(1);
    let (alice, bob) = (world.node("alice", 1), world.node("bob", 2));
    let key = TunnelKey::from_bytes(alice.key.signing_key().as_bytes());
    let claiming = bob.restated(key, |_| ());

    let admission = admit(vec![world.peer(&alice), world.peer(&claiming)]);

    assert_eq!(names(&admission.peers), ["alice"]);
    assert!(matches!(
        admission.conflicts[..],
        [Conflict::TunnelKeyIsIdentityKey { .. }]
    ));
}

#[test]
fn the_newest_generation_of_a_node_is_used_and_the_older_is_no_conflict() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let renewed = world.renew(&alice, NOW.plus(Duration::from_secs(60)), |_| ());

    let admission = admit(vec![
        world.peer(&renewed),
        world.peer(&alice),
        world.peer(&renewed),
    ]);

    assert_eq!(admission.peers, [world.peer(&renewed)]);
    assert_eq!(admission.conflicts, []);
}

#[test]
fn a_node_with_two_contents_under_one_number_is_not_used() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let key = TunnelKey::generate(&mut world.rng);
    let other = alice.restated(key, |statement| statement.lanes = 2);

    let admission = admit(vec![world.peer(&alice), world.peer(&other)]);

    assert_eq!(names(&admission.peers), [""; 0]);
    assert!(matches!(
        admission.conflicts[..],
        [Conflict::Equivocation { .. }]
    ));
}

#[test]
fn a_range_that_moved_belongs_to_its_new_node_once_the_old_one_renewed() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let later = NOW.plus(Duration::from_secs(60));
    let moved = world.renew(&alice, later, |terms| {
        terms.pod_ranges = ranges(&["10.244.7.0/24"]);
    });
    let bob = world.node_with("bob", 2, |terms| {
        terms.pod_ranges = ranges(&["10.244.1.0/24"])
    });

    let admission = admit([&alice, &moved, &bob].map(|node| world.peer(node)).to_vec());

    assert_eq!(names(&admission.peers), ["alice", "bob"]);
    assert_eq!(admission.conflicts, []);
}

/// Nodes with small, often overlapping claims.
fn crowd(seed: u64, claims: &[(u8, u8, u64)]) -> (World, Vec<Node>) {
    let mut world = World::seeded(seed);
    let nodes = claims
        .iter()
        .enumerate()
        .map(|(at, (range, address, age))| {
            world.node_with(&format!("node{at}"), 1, |terms| {
                let prefix = 20 + range % 5;
                let third = u32::from(range % 32) & (u32::MAX << (24 - prefix));
                terms.pod_ranges = ranges(&[&format!("10.244.{third}.0/{prefix}")]);
                terms.addresses = vec![format!("198.51.100.{}", address % 8 + 1).parse().unwrap()];
                terms.serial = CertificateSerial((NOW.0 + age % 4) << 24);
            })
        })
        .collect();
    (world, nodes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn i6_admission_is_a_function_of_the_set_and_leaves_no_overlap(
        seed in any::<u64>(),
        claims in proptest::collection::vec(any::<(u8, u8, u64)>(), 1..10),
        rotation in any::<usize>(),
    ) {
        let (world, nodes) = crowd(seed, &claims);
        let peers: Vec<VerifiedPeer> = nodes.iter().map(|node| world.peer(node)).collect();
        let mut shuffled = peers.clone();
        shuffled.rotate_left(rotation % peers.len());
        shuffled.extend(peers.first().cloned());
        shuffled.reverse();

        let admission = admit(peers.clone());

        prop_assert_eq!(&admit(shuffled), &admission);
        let wins = |one: &VerifiedPeer, two: &VerifiedPeer| {
            one.pod_ranges().overlaps(two.pod_ranges())
                || one.certificate().terms().addresses == two.certificate().terms().addresses
        };
        // The plain definition: used, if nobody of the same age or younger claims the same.
        let expected: Vec<&VerifiedPeer> = peers
            .iter()
            .filter(|peer| {
                !peers.iter().any(|other| {
                    other.identity() != peer.identity()
                        && wins(other, peer)
                        && other.certificate().terms().serial >= peer.certificate().terms().serial
                })
            })
            .collect();
        prop_assert_eq!(admission.peers.len(), expected.len());
        prop_assert!(expected.iter().all(|peer| admission.peers.contains(peer)));
    }
}
