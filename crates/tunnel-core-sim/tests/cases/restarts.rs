//! Daemons that die and come back, and what was recorded before.

use tunnel_core_sim::oracle::Kind;
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::{Keys, Sim};

use crate::scene::{ALICE, BOB, just_before, milliseconds, pair, seconds, talk, talking};

#[test]
fn p04_a_restart_and_360_recorded_initiations_delay_the_agreement_by_no_more_than_1500_ms() {
    seeds::run("p04", 20, |seed| {
        let mut sim = Sim::acquainted(seed, &[1, 2]);
        let flow = sim.flow(ALICE, BOB, seconds(1), 1);
        sim.network.cut(ALICE, BOB);
        while sim.mallory.initiations(ALICE).len() < 360 {
            sim.run(seconds(60));
        }
        let mut recorded = sim.mallory.initiations(ALICE);
        recorded.truncate(360);
        sim.stop(flow);
        sim.run(seconds(100));
        sim.restart(BOB, milliseconds(100), Keys::Kept);
        sim.network.heal();
        sim.run(milliseconds(100));
        talk(&mut sim, milliseconds(50));
        let pause = sim.between(milliseconds(1), milliseconds(25));
        for initiation in recorded {
            sim.inject(initiation);
            sim.run(pause);
        }
        let agreed = sim.now + milliseconds(1500);

        sim.run(seconds(60));

        sim.oracle.assert_nothing_lost(agreed, just_before(sim.now));
        assert!(sim.oracle.arrived(BOB, ALICE) > 100);
    });
}

#[test]
fn p07_a_restart_with_or_without_its_keys_is_over_in_seconds() {
    seeds::run("p07_a_restart", 40, |seed| {
        let mut sim = talking(seed, milliseconds(200));
        let before = sim.between(seconds(0), seconds(300));
        sim.run(before);
        sim.trouble();
        let keys = match sim.below(2) {
            0 => Keys::Kept,
            _ => Keys::Lost,
        };
        let down_for = sim.between(milliseconds(50), seconds(20));
        sim.restart(BOB, down_for, keys);
        let recovered = sim.now + down_for + seconds(12);

        sim.run(down_for + seconds(200));

        sim.oracle
            .assert_nothing_lost(recovered, just_before(sim.now));
    });
}

/// Nobody but the sender has a reason to speak: an index that the restarted end refuses gives it
/// away.
#[test]
fn p07_a_restarted_receiver_of_one_way_traffic_is_reached_again_within_two_seconds() {
    seeds::run("p07_a_restarted_receiver", 20, |seed| {
        let mut sim = pair(seed);
        sim.flow(ALICE, BOB, milliseconds(100), 1);
        let before = sim.between(seconds(20), seconds(100));
        sim.run(before);
        let down_for = sim.between(milliseconds(50), seconds(3));
        sim.restart(BOB, down_for, Keys::Kept);
        let reached = sim.now + down_for + seconds(2);

        sim.run(seconds(60));

        sim.oracle
            .assert_nothing_lost(reached, just_before(sim.now));
    });
}

#[test]
fn hp02_what_was_recorded_before_a_rekey_or_a_restart_comes_out_no_second_time() {
    seeds::run("hp02", 20, |seed| {
        let mut sim = talking(seed, milliseconds(500));
        sim.run(seconds(100));
        let recorded = sim.mallory.tape().to_vec();
        sim.run(seconds(60));
        if seed % 2 == 0 {
            sim.trouble();
            sim.restart(BOB, seconds(1), Keys::Kept);
            sim.run(seconds(15));
        }
        let began = sim.now;

        for datagram in recorded {
            sim.inject(datagram);
            sim.run(milliseconds(5));
        }
        sim.run(seconds(120));

        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

#[test]
fn hp03_a_recorded_initiation_gets_no_answer_and_changes_nothing_while_traffic_flows() {
    seeds::run("hp03_a_recorded", 20, |seed| {
        let mut sim = talking(seed, milliseconds(500));
        sim.run(seconds(130));
        let recorded = sim.mallory.initiations(ALICE).into_iter();
        let recorded: Vec<_> = recorded.chain(sim.mallory.initiations(BOB)).collect();
        assert!(!recorded.is_empty());
        sim.run(seconds(10));
        let began = sim.now;

        for _ in 0..200 {
            for initiation in &recorded {
                sim.inject(initiation.clone());
            }
            sim.run(milliseconds(100));
        }

        for node in [ALICE, BOB] {
            assert_eq!(sim.oracle.count(node, Kind::Handshake, began), 0);
            assert_eq!(sim.oracle.count(node, Kind::Session, began), 0);
        }
        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}
