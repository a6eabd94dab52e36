//! What happens when keys change while traffic flows.

use rand_core::Rng;

use super::cluster::{Root, rng};
use super::net::Node;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Whether both ends send under the newest generations of both.
fn both_moved(net: &Net) -> bool {
    [ALICE, BOB].into_iter().all(|node| {
        let newest = net.verified(1 - node);
        let own = net.nodes[node].control.own.newest().unwrap();
        let pair = PairRank {
            peer: GenerationRank::of(&newest),
            own: own.rank,
        };
        let choice = net.choice(node);
        let owner = choice.and_then(|it| net.nodes[node].control.indexes.transport(it));
        owner.is_some_and(|it| it.1 == pair)
    })
}

fn busy(seed: u64) -> Net {
    let mut net = Net::connected(seed, [2, 1]);
    net.busy = true;
    net.always_agreed = true;
    net
}

#[test]
fn kl04_a_peer_that_learns_of_the_new_key_after_the_switch_moves_then() {
    for late in [0, 1, 5, 30] {
        let mut net = busy(10 + late);

        net.renew(ALICE, 500);
        net.advance(MINUTE * u32::try_from(late).unwrap());
        net.introduce_to(BOB);
        net.advance(Duration::from_secs(15));

        assert!(both_moved(&net), "{late} minutes late");
        net.assert_no_key_was_given_twice();
    }
}

#[test]
fn kl04_a_peer_that_learns_of_the_new_key_before_the_switch_keeps_the_old_session() {
    let mut net = busy(20);
    let generation = net.nodes[ALICE].identity.generation(&net.root, 500);
    let now = net.now;

    let published = std::slice::from_ref(&generation.verified);
    net.nodes[BOB].control.handle_peers(published, now);
    net.collect(BOB);
    net.advance(Duration::from_secs(30));
    assert!(net.refused(ALICE, DatagramRefusal::NotForUs) > 0);
    let now = net.now;
    let control = &mut net.nodes[ALICE].control;
    control.handle_generation(&generation, now).unwrap();
    net.advance(Duration::from_secs(20));

    assert!(both_moved(&net));
}

#[test]
fn kl04_without_the_switch_the_old_pair_may_rekey_for_a_minute_and_no_longer() {
    for (after, agreed) in [(50, true), (61, false)] {
        let mut net = Net::connected(30 + after, [1, 1]);
        let generation = net.nodes[ALICE].identity.generation(&net.root, 500);
        let now = net.now;
        let control = &mut net.nodes[BOB].control;
        control.handle_peers(std::slice::from_ref(&generation.verified), now);
        net.advance(Duration::from_secs(after));
        let old = net.choice(ALICE).unwrap();

        net.lane_event(ALICE, LaneEvent::RekeyDue(old));
        net.advance(Duration::from_secs(2));

        assert_eq!(net.choice(ALICE) != Some(old), agreed, "{after} s after");
        net.assert_agreed();
    }
}

#[test]
fn kl02_rotations_under_traffic_lose_no_transport_and_end_with_the_old_key_refused() {
    let mut net = busy(40);
    let mut random = rng(40);
    for rotation in 0..100 {
        let node = usize::from(random.next_u32().is_multiple_of(2));
        net.renew(node, 10_000 + rotation);
        net.advance(Duration::from_secs(random.next_u64() % 100));
        net.introduce_to(1 - node);
        net.advance(Duration::from_secs(12));
        assert!(both_moved(&net), "rotation {rotation}");
        net.advance(Duration::from_secs(random.next_u64() % 700));
    }
    net.assert_no_key_was_given_twice();

    net.always_agreed = false;
    net.advance(MINUTE * 12);
    assert!(
        net.nodes[BOB].control.own.len() <= 2,
        "the drained are gone"
    );
    let newest = net.nodes[ALICE].generations.len() - 1;
    net.busy = false;
    net.restart(ALICE, newest - 1);
    let bob = net.verified(BOB);
    let now = net.now;
    net.nodes[ALICE].control.handle_peers(&[bob], now);
    net.want(ALICE);
    net.advance(Duration::from_secs(5));

    assert!(net.refused(BOB, DatagramRefusal::UnknownInitiator) > 0);
    assert_eq!(net.choice(ALICE), None, "the old key opens nothing");
}

#[test]
fn both_ends_renew_at_once_and_meet_in_the_newest_pair() {
    let mut net = busy(50);

    net.renew(ALICE, 500);
    net.renew(BOB, 501);
    net.advance(MINUTE * 3);
    net.introduce_to(ALICE);
    net.advance(MINUTE * 4);
    net.introduce_to(BOB);
    net.advance(MINUTE);

    assert!(both_moved(&net));
    net.assert_no_key_was_given_twice();
}

#[test]
fn i7_a_node_whose_new_key_nobody_can_read_keeps_its_peers() {
    let mut net = busy(60);

    net.renew(ALICE, 500);
    let before = net.nodes[ALICE].initiations;
    net.advance(MINUTE * 60);

    net.assert_agreed();
    assert_eq!(net.nodes[ALICE].control.own.len(), 2, "the old one is kept");
    let choices = net.nodes[BOB].lanes.choices.len();
    assert!((30..=33).contains(&choices), "{choices} rekeys an hour");
    let refused = net.refused(BOB, DatagramRefusal::UnknownInitiator);
    assert!(refused > 0 && net.nodes[ALICE].initiations > before);
}

#[test]
fn an_own_generation_that_a_peer_has_not_passed_is_kept_though_nobody_uses_it() {
    let mut net = busy(65);
    net.renew(ALICE, 500);
    let between = net.verified(ALICE);
    net.renew(ALICE, 501);
    net.advance(MINUTE * 20);

    let now = net.now;
    net.nodes[BOB].control.handle_peers(&[between], now);
    net.collect(BOB);
    net.advance(MINUTE * 5);

    net.assert_agreed();
    assert_eq!(net.nodes[ALICE].control.own.len(), 2, "the oldest has gone");
}

#[test]
fn an_old_own_generation_is_kept_for_ten_minutes_and_until_it_is_drained() {
    let mut net = busy(70);
    net.renew(ALICE, 500);
    net.introduce_to(BOB);

    net.advance(MINUTE * 9);
    assert_eq!(net.nodes[ALICE].control.own.len(), 2);
    net.advance(MINUTE * 2);

    assert_eq!(net.nodes[ALICE].control.own.len(), 1);
    let retired = |it: &ControlEvent| matches!(it, ControlEvent::OwnGenerationRetired(_));
    assert_eq!(
        net.nodes[ALICE]
            .events
            .iter()
            .filter(|it| retired(it))
            .count(),
        1
    );
    assert!(both_moved(&net));
}

#[test]
fn a_fifth_own_generation_pushes_the_oldest_out() {
    let mut net = Net::connected(80, [1, 1]);

    for seed in 0..4 {
        net.renew(ALICE, 500 + seed);
    }

    assert_eq!(net.nodes[ALICE].control.own.len(), 4);
    assert!(net.nodes[ALICE].lanes.receiving.is_empty());
    assert_eq!(net.choice(ALICE), None);
}

#[test]
fn own_generations_that_do_not_fit_are_refused() {
    let mut net = Net::acquainted(90, [2, 1]);
    let now = net.now;
    let root = Root::new();
    let Node {
        control,
        identity,
        generations,
        ..
    } = &mut net.nodes[ALICE];
    let newer = identity.generation(&root, 700);
    let newest = identity.generation(&root, 701);

    let swapped = OwnGeneration {
        verified: newer.verified.clone(),
        key: node_identity::TunnelKey::from_bytes(&newest.key.to_bytes()),
        highest_stamp: None,
    };
    let rank = GenerationRank::of(&newer.verified);
    assert_eq!(
        control.handle_generation(&swapped, now),
        Err(OwnGenerationError::OtherKey(rank))
    );
    let known = GenerationRank::of(&generations[0].verified);
    assert_eq!(
        control.handle_generation(&generations[0], now),
        Err(OwnGenerationError::NotNewer(known))
    );
    identity.lanes = 3;
    let wider = identity.generation(&root, 702);
    assert!(matches!(
        control.handle_generation(&wider, now),
        Err(OwnGenerationError::OtherLanes {
            stated: 3,
            running: 2,
            ..
        })
    ));
    assert_eq!(control.handle_generation(&newest, now), Ok(()));
}

#[test]
fn p02_a_transport_that_was_replaced_is_never_sent_under_again() {
    let mut net = Net::connected(100, [1, 1]);
    let old_alice = net.verified(ALICE);
    net.renew(ALICE, 500);
    net.introduce_to(BOB);
    net.advance(Duration::from_secs(15));
    assert!(both_moved(&net));
    let now = net.now;

    // The newer generation goes, and with it what is sent under; the older transport still lives.
    let admitted = std::slice::from_ref(&old_alice);
    net.nodes[BOB].control.handle_peers(admitted, now);
    net.collect(BOB);

    assert_eq!(net.nodes[BOB].lanes.receiving.len(), 1, "received under");
    assert_eq!(net.choice(BOB), None, "its keys were given out once");
    let alice = net.nodes[BOB].control.peers().next().unwrap();
    assert_eq!(alice.sending, None);
    net.assert_no_key_was_given_twice();
}

#[test]
fn a_superseded_pair_agrees_on_nothing_while_a_higher_one_lives() {
    let mut net = Net::connected(110, [1, 1]);
    let old_alice = net.verified(ALICE);
    net.renew(ALICE, 500);
    net.introduce_to(BOB);
    net.advance(Duration::from_secs(15));
    assert!(both_moved(&net));

    // Bob restarts with yesterday's list of peers.
    net.restart(BOB, 0);
    let now = net.now;
    let admitted = std::slice::from_ref(&old_alice);
    net.nodes[BOB].control.handle_peers(admitted, now);
    net.want(BOB);
    net.advance(Duration::from_secs(60));
    assert_eq!(net.choice(BOB), None);

    net.advance(Duration::from_secs(130));
    net.want(BOB);
    net.advance(Duration::from_secs(2));
    net.assert_agreed();
}

#[test]
fn a_move_to_a_new_generation_that_failed_is_tried_again() {
    let mut net = Net::connected(120, [1, 1]);
    net.renew(ALICE, 500);
    net.introduce_to(BOB);

    net.fate = Box::new(|_| Vec::new());
    net.advance(Duration::from_secs(101));
    assert!(!both_moved(&net));
    net.fate = Box::new(|_| super::net::delivered());
    net.advance(Duration::from_secs(20));

    assert!(both_moved(&net));
}
