//! What a daemon has seen once is not shown to it anew.

use std::time::Duration;

use super::world::{NOW, Node, World};
use crate::{
    Envelope, Floor, FloorError, Generation, Revocations, TunnelKey, VerifiedPeer, VerifyError,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn verify(world: &World, floor: &Floor, node: &Node) -> Result<VerifiedPeer, VerifyError> {
    node.envelope().verify(
        &world.roots(),
        &Revocations::default(),
        floor,
        NOW.plus(DAY),
    )
}

fn floor_error(result: Result<VerifiedPeer, VerifyError>) -> FloorError {
    let Err(VerifyError::Floor { source, .. }) = result else {
        panic!("{result:?}")
    };
    source
}

#[test]
fn kl10_an_older_serial_or_generation_is_refused() {
    let mut world = World::seeded(1);
    let old = world.node("alice", 1);
    let key = TunnelKey::generate(&mut world.rng);
    let next = old.restated(key, |statement| statement.generation.0 += 1);
    let renewed = world.renew(&next, NOW.plus(DAY), |_| ());
    let mut floor = Floor::default();

    for node in [&old, &next, &renewed] {
        floor.observe(&verify(&world, &floor, node).unwrap());
    }

    for node in [&old, &next] {
        let error = floor_error(verify(&world, &floor, node));
        assert!(matches!(error, FloorError::Superseded { .. }), "{error}");
        assert!(!error.is_alarm(), "a store may well hold the last one");
    }
    assert!(
        verify(&world, &floor, &renewed).is_ok(),
        "seen, and the newest"
    );
}

#[test]
fn kl10_an_equal_number_with_other_content_raises_an_alarm() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let other = alice.restated(alice.same_tunnel_key(), |statement| statement.lanes = 2);
    let mut floor = Floor::default();
    floor.observe(&verify(&world, &floor, &alice).unwrap());

    let result = verify(&world, &floor, &other);

    assert!(result.as_ref().unwrap_err().is_alarm());
    let error = floor_error(result);
    assert!(matches!(error, FloorError::Equivocation { .. }), "{error}");
}

#[test]
fn a_tunnel_key_under_another_generation_raises_an_alarm() {
    let mut world = World::seeded(1);
    let first = world.node("alice", 1);
    let key = TunnelKey::generate(&mut world.rng);
    let second = first.restated(key, |statement| statement.generation.0 += 1);
    let third = first.restated(first.same_tunnel_key(), |statement| {
        statement.generation.0 += 2;
    });
    let mut floor = Floor::default();
    floor.observe(&verify(&world, &floor, &first).unwrap());
    floor.observe(&verify(&world, &floor, &second).unwrap());

    let error = floor_error(verify(&world, &floor, &third));

    assert_eq!(error, FloorError::TunnelKeyReused(Generation(NOW.0)));
    assert!(error.is_alarm());
}

#[test]
fn a_floor_is_per_node_and_per_root() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let renewed = world.renew(&alice, NOW.plus(DAY), |_| ());
    let bob = world.node("bob", 2);
    let mut floor = Floor::default();
    floor.observe(&verify(&world, &floor, &renewed).unwrap());

    assert!(verify(&world, &floor, &bob).is_ok());
    assert!(verify(&world, &floor, &alice).is_err());
    floor.observe(&verify(&world, &Floor::default(), &alice).unwrap());
    assert!(
        verify(&world, &floor, &alice).is_err(),
        "a floor never sinks"
    );
}

#[test]
fn a_floor_survives_the_disk_and_damage_is_noticed() {
    let mut world = World::seeded(1);
    let mut floor = Floor::default();
    for number in 1..5 {
        let node = world.node("alice", number);
        floor.observe(&verify(&world, &floor, &node).unwrap());
    }

    let bytes = floor.to_bytes();

    assert_eq!(Floor::from_bytes(&bytes).unwrap(), floor);
    assert!(Floor::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(Floor::from_bytes(&[]).is_err());
}

#[test]
fn a_floor_forgets_only_nodes_whose_certificates_are_all_over() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let mut floor = Floor::default();
    floor.observe(&verify(&world, &floor, &alice).unwrap());
    let end = alice.certificate.terms().not_after;

    floor.forget_expired(end);
    let kept = floor.clone();
    floor.forget_expired(end.plus(Duration::from_secs(1)));

    assert_ne!(kept, floor);
    let empty = Envelope::verify(
        &alice.envelope(),
        &world.roots(),
        &Revocations::default(),
        &floor,
        end.plus(Duration::from_secs(1)),
    );
    assert!(matches!(empty, Err(VerifyError::Expired { .. })));
}
