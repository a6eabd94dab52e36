//! What Mallory can send to a control side, and how little comes of it.

use rand_core::Rng;

use super::cluster::{Identity, rng};
use super::net::delivered;
use super::*;

const EVE: usize = 2;

/// Initiations of Alice to Bob that Bob never got, oldest first.
fn record_initiations(net: &mut Net, count: usize) -> Vec<Vec<u8>> {
    net.fate = Box::new(|_| Vec::new());
    net.tape.clear();
    let recorded = |net: &Net| net.tape.iter().filter(|it| it.kind() == 1).count();
    while recorded(net) < count {
        net.want(ALICE);
        net.advance(Duration::from_secs(95));
    }
    net.fate = Box::new(|_| delivered());
    let tape = net.tape.iter().filter(|it| it.kind() == 1);
    tape.take(count).map(|it| it.payload.clone()).collect()
}

#[test]
fn p04_after_a_restart_and_360_recorded_initiations_the_nodes_agree_within_seconds() {
    for (seed, spacing) in [(1, 1), (2, 4), (3, 15), (4, 40)] {
        let mut net = Net::acquainted(seed, [1, 1]);
        let recorded = record_initiations(&mut net, 360);
        net.restart(BOB, 0);
        net.introduce_to(BOB);
        net.fate = Box::new(|_| vec![Duration::from_millis(20)]);
        let (alice, mut random) = (net.address(ALICE), rng(seed));
        let start = random.next_u64() % 180;

        for (number, initiation) in (0..).zip(&recorded) {
            if number == start {
                net.want(ALICE);
            }
            net.inject(BOB, alice, initiation);
            net.advance(Duration::from_millis(spacing));
        }
        net.advance(Duration::from_millis(1500));

        net.assert_agreed();
        net.assert_no_key_was_given_twice();
    }
}

#[test]
fn p04_recorded_initiations_between_offer_and_accept_do_not_hold_it_up() {
    let mut net = Net::acquainted(5, [1, 1]);
    let recorded = record_initiations(&mut net, 40);
    net.restart(BOB, 0);
    net.introduce_to(BOB);
    net.fate = Box::new(|_| vec![Duration::from_millis(50)]);
    let alice = net.address(ALICE);

    net.want(ALICE);
    for initiation in &recorded {
        net.inject(BOB, alice, initiation);
        net.advance(Duration::from_millis(5));
    }
    net.advance(Duration::from_millis(1500));

    net.assert_agreed();
}

#[test]
fn hp03_a_recorded_initiation_gets_no_answer() {
    let mut net = Net::connected(6, [1, 1]);
    let recorded = net.tape.iter().find(|it| it.kind() == 1).unwrap().clone();
    net.tape.clear();

    net.inject(BOB, recorded.source, &recorded.payload);

    assert!(net.tape.is_empty());
    assert_eq!(net.refused(BOB, DatagramRefusal::StaleTimestamp), 1);
}

#[test]
fn hp15_datagrams_from_another_peers_endpoint_are_dropped() {
    let mut net = Net::strangers(7, [1, 1]);
    net.add(7, Identity::new(3, "eve", 1));
    net.introduce_all();
    let eve = net.address(EVE);
    net.fate = Box::new(|_| Vec::new());
    net.want(ALICE);
    let initiation = net.tape.last().unwrap().payload.clone();

    net.inject(BOB, eve, &initiation);
    assert_eq!(net.refused(BOB, DatagramRefusal::UnknownInitiator), 1);
    net.inject(BOB, net.address(ALICE), &initiation);
    let response = net.tape.last().unwrap().payload.clone();
    assert_eq!(response[0], 2);
    net.inject(ALICE, eve, &response);
    assert_eq!(net.refused(ALICE, DatagramRefusal::UnknownIndex), 1);
    let stranger = "203.0.113.9:51820".parse().unwrap();
    net.inject(ALICE, stranger, &response);
    assert_eq!(net.refused(ALICE, DatagramRefusal::UnknownSource), 1);
    assert_eq!(net.tape.len(), 2, "nobody got an answer for these");
}

#[test]
fn hp16_an_ephemeral_key_of_small_order_is_met_with_silence() {
    let mut net = Net::acquainted(8, [1, 1]);
    net.fate = Box::new(|_| Vec::new());
    net.want(ALICE);
    let mut initiation = net.tape.pop().unwrap().payload;

    initiation[8..40].fill(0);
    net.inject(BOB, net.address(ALICE), &initiation);

    assert!(net.tape.is_empty());
}

#[test]
fn hp11_no_answer_is_longer_than_its_question() {
    let mut net = Net::acquainted(9, [1, 1]);
    net.fate = Box::new(|_| Vec::new());
    net.want(ALICE);
    let initiation = net.tape.pop().unwrap().payload;
    let alice = net.address(ALICE);

    for _ in 0..200 {
        net.inject(BOB, alice, &initiation);
    }

    assert!(net.tape.iter().any(|it| it.kind() == 3), "cookies");
    assert!(
        net.tape
            .iter()
            .all(|it| it.payload.len() < initiation.len())
    );
}

#[test]
fn whoever_spoofs_alice_does_not_spend_her_budget() {
    let mut net = Net::strangers(10, [1, 1]);
    net.add(10, Identity::new(3, "eve", 1));
    net.introduce_all();
    let (alice, eve) = (net.address(ALICE), net.address(EVE));
    net.fate = Box::new(|_| Vec::new());
    net.lane_event(EVE, LaneEvent::Want(PeerIndex(1)));
    let from_eve = net.tape.last().unwrap().payload.clone();
    assert_eq!(net.tape.last().unwrap().destination, net.address(BOB));
    net.fate = Box::new(|_| delivered());

    net.want(ALICE);
    for _ in 0..3000 {
        net.inject(BOB, alice, &from_eve);
        net.inject(BOB, eve, &from_eve);
        net.advance(Duration::from_millis(1));
    }

    assert!(net.refused(BOB, DatagramRefusal::CookieWanted) > 1000);
    net.assert_agreed();
}

#[test]
fn a_proven_source_has_a_budget() {
    let mut net = Net::acquainted(11, [1, 1]);
    let alice = net.address(ALICE);
    net.fate = Box::new(|_| Vec::new());
    net.want(ALICE);
    let initiation = net.tape.last().unwrap().payload.clone();
    for _ in 0..60 {
        net.inject(BOB, alice, &initiation);
    }
    let cookie = net.tape.iter().rfind(|it| it.kind() == 3).unwrap();
    let cookie = cookie.payload.clone();
    net.inject(ALICE, net.address(BOB), &cookie);
    net.advance(Duration::from_secs(1));
    let proven = net.tape.iter().rfind(|it| it.from == ALICE).unwrap();
    let proven = proven.payload.clone();
    for _ in 0..60 {
        net.inject(BOB, alice, &initiation);
    }

    for _ in 0..20 {
        net.inject(BOB, alice, &proven);
    }

    assert_eq!(net.refused(BOB, DatagramRefusal::OverBudget), 15);
}

#[test]
fn i5_noise_does_not_panic_and_is_not_answered() {
    let mut net = Net::connected(12, [1, 1]);
    let (alice, mut random) = (net.address(ALICE), rng(12));
    let genuine: Vec<_> = net.tape.iter().map(|it| it.payload.clone()).collect();
    net.tape.clear();

    for round in 0..20_000 {
        let mut noise = genuine[round % genuine.len()].clone();
        let length = random.next_u32() as usize % (noise.len() + 20);
        noise.resize(length, 0);
        for _ in 0..=random.next_u32() % 8 {
            let position = random.next_u32() as usize % length.max(1);
            if let Some(byte) = noise.get_mut(position) {
                *byte = random.next_u32() as u8;
            }
        }
        net.inject(BOB, alice, &noise);
    }

    assert!(net.tape.iter().all(|it| it.kind() == 3), "only cookies");
    net.assert_agreed();
}

#[test]
fn a_flood_of_refused_datagrams_is_told_once_by_peer_and_reason() {
    let mut net = Net::acquainted(6, [1, 1]);
    let (alice, now) = (net.address(ALICE), net.now);
    let stranger: SocketAddr = "203.0.113.9:51820".parse().unwrap();
    let bob = &mut net.nodes[BOB].control;

    for _ in 0..10_000 {
        bob.handle_datagram(alice, b"no message", now);
        bob.handle_datagram(stranger, b"no message", now);
    }

    let told = |source, peer| ControlEvent::DatagramRefused {
        source,
        peer,
        reason: DatagramRefusal::Malformed,
        count: 10_000,
    };
    let events: Vec<_> = std::iter::from_fn(|| bob.poll_event()).collect();
    assert_eq!(
        events,
        [told(stranger, None), told(alice, Some(PeerIndex(0)))]
    );
    assert_eq!(net.refused(BOB, DatagramRefusal::Malformed), 20_000);
}

#[test]
fn a_replayed_initiation_is_told_with_the_peer_it_seems_to_come_from() {
    let mut net = Net::connected(7, [1, 1]);
    let (alice, now) = (net.address(ALICE), net.now);
    let initiation = net.tape.iter().find(|it| it.kind() == 1);
    let initiation = initiation.unwrap().payload.clone();
    let bob = &mut net.nodes[BOB].control;

    bob.handle_datagram(alice, &initiation, now);

    let events = std::iter::from_fn(|| bob.poll_event());
    let told = ControlEvent::DatagramRefused {
        source: alice,
        peer: Some(PeerIndex(0)),
        reason: DatagramRefusal::StaleTimestamp,
        count: 1,
    };
    assert!(events.collect::<Vec<_>>().contains(&told));
}
