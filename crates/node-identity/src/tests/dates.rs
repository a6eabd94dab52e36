//! Dates at their edges, and clocks that are wrong.

use std::time::Duration;

use super::world::{NOW, World};
use crate::{
    CERTIFICATE_LIFETIME, Envelope, Floor, NOT_BEFORE_BACKDATE, Revocations, UnixTime,
    VerifiedPeer, VerifyError,
};

const MINUTE: Duration = Duration::from_secs(60);

fn verify_at(
    world: &World,
    envelope: &Envelope,
    floor: &Floor,
    now: UnixTime,
) -> Result<VerifiedPeer, VerifyError> {
    envelope.verify(&world.roots(), &Revocations::default(), floor, now)
}

#[test]
fn kl06_not_before_has_a_tolerance_of_five_minutes() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1).envelope();
    // Issued at NOW and backdated: it begins at NOW - 5 min. The root begins at NOW.
    let earliest = NOW.minus(5 * MINUTE);
    let skewed = world.node_with("bob", 2, |terms| terms.not_before = NOW.plus(5 * MINUTE));
    let wrong = world.node_with("carol", 3, |terms| terms.not_before = NOW.plus(60 * MINUTE));
    let floor = Floor::default();

    assert!(verify_at(&world, &alice, &floor, earliest).is_ok());
    assert!(verify_at(&world, &skewed.envelope(), &floor, NOW).is_ok());
    let too_early = verify_at(&world, &skewed.envelope(), &floor, UnixTime(NOW.0 - 1));
    let an_hour = verify_at(&world, &wrong.envelope(), &floor, NOW);
    assert!(matches!(too_early, Err(VerifyError::NotYetValid { .. })));
    assert!(matches!(an_hour, Err(VerifyError::NotYetValid { .. })));
}

#[test]
fn a_certificate_ends_after_its_last_second() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1).envelope();
    let last = NOW.plus(CERTIFICATE_LIFETIME);
    let floor = Floor::default();

    let peer = verify_at(&world, &alice, &floor, last).unwrap();
    let late = verify_at(&world, &alice, &floor, UnixTime(last.0 + 1));

    assert!(matches!(late, Err(VerifyError::Expired { .. })));
    assert!(!peer.is_expired(last));
    assert!(peer.is_expired(UnixTime(last.0 + 1)));
}

#[test]
fn a_clock_set_back_revives_no_expired_certificate() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let bob = world.node("bob", 2);
    let later = NOW.plus(CERTIFICATE_LIFETIME).plus(10 * MINUTE);
    let renewed = world.renew(&bob, later, |_| ()).envelope();
    let mut floor = Floor::default();

    let peer = verify_at(&world, &renewed, &floor, later).unwrap();
    floor.observe(&peer);
    let revived = verify_at(&world, &alice.envelope(), &floor, NOW);

    assert_eq!(floor.expiry_clock(NOW), later.minus(NOT_BEFORE_BACKDATE));
    assert!(matches!(revived, Err(VerifyError::Expired { .. })));
    assert!(verify_at(&world, &alice.envelope(), &Floor::default(), NOW).is_ok());
}

#[test]
fn an_expired_root_vouches_for_nobody() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1).envelope();
    let floor = Floor::default();

    let before = verify_at(&world, &alice, &floor, UnixTime(NOW.0 - 301));
    let after = verify_at(
        &world,
        &alice,
        &floor,
        UnixTime(world.root.not_after().0 + 1),
    );

    assert!(matches!(before, Err(VerifyError::RootDates(_))));
    assert!(matches!(after, Err(VerifyError::RootDates(_))));
}
