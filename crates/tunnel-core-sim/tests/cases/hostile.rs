//! Mallory on the underlay, and a certified node that is dishonest.

use std::time::Duration;

use tunnel_core_sim::mallory::Act;
use tunnel_core_sim::network::Weather;
use tunnel_core_sim::oracle::MOST_SILENCE;
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::Sim;

use crate::scene::{ALICE, BOB, just_before, milliseconds, seconds, talk, talking};

/// A certified node that relays what is not for her.
const MALLORY: usize = 2;

/// While Mallory does this, traffic flows as if she did not.
fn under_attack(seed: u64, acts: &[Act], every: Duration) {
    let mut sim = talking(seed, milliseconds(300));
    let began = sim.now;
    sim.attack(Some((acts, every)));

    sim.run(seconds(260));

    sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    let agreements = sim.oracle.agreements(ALICE, BOB, began);
    assert!((2..=3).contains(&agreements), "{agreements} in 260 s");
}

#[test]
fn p03_datagrams_that_are_copied_to_every_lane_come_out_once() {
    seeds::run("p03", 20, |seed| {
        let mut sim = Sim::acquainted(seed, &[3, 4]);
        sim.copies_to_every_lane = true;
        sim.network.weather = Weather::WINDY;
        let began = sim.now;
        talk(&mut sim, milliseconds(150));

        sim.run(seconds(260));

        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

#[test]
fn p11_what_is_reflected_or_flipped_or_sent_again_changes_nothing() {
    seeds::run("p11_what", 30, |seed| {
        let acts = [Act::Replay, Act::Resource, Act::Reflect, Act::Flip];
        under_attack(seed, &acts, milliseconds(20));
    });
}

#[test]
fn p11_forged_indexes_change_nothing_while_traffic_flows() {
    seeds::run("p11_forged", 5, |seed| {
        under_attack(seed, &[Act::ForgeIndex], milliseconds(2));
    });
}

#[test]
fn p11_a_certified_relay_in_the_middle_gets_no_session_and_no_packet() {
    seeds::run("p11_a_certified", 20, |seed| {
        let mut sim = Sim::acquainted(seed, &[1, 2, 1]);
        sim.relay = Some(MALLORY);
        talk(&mut sim, milliseconds(500));

        sim.run(seconds(100));

        assert_eq!(sim.oracle.arrived(ALICE, BOB), 0);
        assert_eq!(sim.oracle.arrived(BOB, ALICE), 0);
        let uids = [ALICE, BOB, MALLORY].map(|it| sim.nodes[it].identity.uid());
        for node in [ALICE, BOB, MALLORY] {
            assert!(uids.iter().all(|it| !sim.nodes[node].sends_to(*it)));
        }
        sim.relay = None;
        sim.calm();
        let settled = sim.now + MOST_SILENCE;
        sim.run(seconds(100));
        sim.oracle
            .assert_nothing_lost(settled, just_before(sim.now));
    });
}

#[test]
fn hp13_packets_that_come_by_way_of_mallory_are_answered_to_the_certified_endpoint() {
    seeds::run("hp13", 20, |seed| {
        let mut sim = Sim::acquainted(seed, &[1, 2, 1]);
        talk(&mut sim, milliseconds(200));
        sim.run(seconds(5));
        let began = sim.now;
        sim.relay = Some(MALLORY);

        // The judge checks every destination that a lane is given.
        sim.run(seconds(100));

        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
        assert_eq!(sim.oracle.arrived(ALICE, MALLORY), 0);
    });
}

/// Bob's answer is held back until Alice has given her offer up.
#[test]
fn p11_a_late_accept_of_an_abandoned_offer_is_ignored() {
    seeds::run("p11_a_late", 20, |seed| {
        let mut sim = Sim::acquainted(seed, &[1, 1]);
        let flow = sim.flow(ALICE, BOB, seconds(600), 1);
        // Initiation out, response back, offer out; the accept is lost.
        sim.run(milliseconds(2));
        sim.network.cut(BOB, ALICE);
        sim.run(milliseconds(8));
        sim.network.cut(ALICE, BOB);
        sim.run(seconds(92));
        let bob = sim.nodes[BOB].identity.uid();
        assert!(sim.nodes[ALICE].given_up > 0);
        sim.stop(flow);
        let source = tunnel_core_sim::packet::endpoint(BOB);
        let late = sim.mallory.tape().to_vec();
        let late = late.into_iter().filter(|it| it.source.ip() == source);
        let late: Vec<_> = late.filter(|it| it.kind() == 4).collect();
        assert!(late.len() >= 2, "an accept in two parts");

        for datagram in late {
            sim.inject(datagram);
        }
        sim.run(seconds(2));

        assert!(!sim.nodes[ALICE].sends_to(bob));
        sim.network.heal();
        talk(&mut sim, seconds(1));
        let agreed = sim.now + seconds(10);
        sim.run(seconds(60));
        sim.oracle.assert_nothing_lost(agreed, just_before(sim.now));
    });
}

/// A flood from the nodes' own addresses, around a rekey: cookies are asked for, and the agreement
/// still comes.
#[test]
fn hp07_a_flood_of_forged_initiations_loses_no_packet_and_lets_a_handshake_through() {
    seeds::run("hp07", 2, |seed| {
        let mut sim = talking(seed, milliseconds(300));
        let began = sim.now;
        sim.run(seconds(110));
        sim.attack(Some((&[Act::ForgeInitiation], milliseconds(4))));

        sim.run(seconds(20));

        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
        assert!(sim.oracle.agreements(ALICE, BOB, began) > 0);
    });
}
