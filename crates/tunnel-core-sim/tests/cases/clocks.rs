//! Clocks that are set, and memory that is copied.

use tunnel_core_sim::mallory::Act;
use tunnel_core_sim::oracle::{Kind, MOST_SILENCE};
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::Keys;

use crate::scene::{ALICE, BOB, just_before, milliseconds, pair, seconds, talking};

/// Clocks at both ends go forward and back by an hour, daemons restart, Mallory replays: they meet.
#[test]
fn p10_clocks_stepped_by_an_hour_and_restarts_end_in_packets_both_ways() {
    seeds::run("p10_clocks", 20, |seed| {
        let mut sim = talking(seed, milliseconds(600));
        sim.attack(Some((&[Act::Replay], milliseconds(500))));
        for _ in 0..4 {
            sim.trouble();
            let who = sim.below(2) as usize;
            let steps = [-3600, -40, 20, 3600];
            let step = steps[sim.below(4) as usize];
            sim.step_clock(who, step);
            if sim.below(3) > 0 {
                let down_for = sim.between(milliseconds(50), seconds(5));
                sim.restart(who, down_for, Keys::Kept);
                sim.run(down_for);
            }
            sim.calm();
            let settled = sim.now + MOST_SILENCE;
            let for_now = sim.between(seconds(60), seconds(400));
            sim.run(for_now);
            sim.oracle
                .assert_nothing_lost(settled, just_before(sim.now));
        }
    });
}

/// Both clocks go back by an hour, both daemons restart, and Mallory plays what she recorded to
/// both before they meet: each now holds a timestamp that the other's clock will not reach for an
/// hour. Only new generations help.
#[test]
fn p10_two_clocks_that_go_back_while_mallory_replays_meet_again() {
    seeds::run("p10_two_clocks", 20, |seed| {
        let mut sim = talking(seed, milliseconds(500));
        sim.trouble();
        for node in [ALICE, BOB] {
            sim.run(seconds(100));
            sim.restart(node, milliseconds(50), Keys::Kept);
        }
        sim.run(seconds(100));
        let recorded = [ALICE, BOB].map(|it| sim.mallory.initiations(it));
        assert!(recorded.iter().all(|it| !it.is_empty()));
        for node in [ALICE, BOB] {
            sim.step_clock(node, -3600);
            sim.network.cut(node, 1 - node);
            sim.restart(node, milliseconds(50), Keys::Kept);
        }
        sim.run(milliseconds(100));
        for initiation in recorded.concat() {
            sim.inject(initiation);
        }
        sim.run(seconds(1));
        sim.calm();
        let met = sim.now + seconds(15);

        sim.run(seconds(100));

        sim.oracle.assert_nothing_lost(met, just_before(sim.now));
    });
}

/// The receiver's clock has gone back and it has restarted: what it initiates is stale, and that
/// gives it away.
#[test]
fn p10_a_restarted_receiver_whose_clock_went_back_is_reached_within_seconds() {
    seeds::run("p10_a_restarted", 20, |seed| {
        let mut sim = pair(seed);
        sim.flow(ALICE, BOB, milliseconds(100), 1);
        sim.run(seconds(60));
        // So that Alice remembers a timestamp of Bob's.
        sim.restart(BOB, milliseconds(50), Keys::Kept);
        sim.run(seconds(60));
        sim.step_clock(BOB, -3600);
        sim.restart(BOB, milliseconds(50), Keys::Kept);
        let reached = sim.now + seconds(4);

        sim.run(seconds(60));

        sim.oracle
            .assert_nothing_lost(reached, just_before(sim.now));
    });
}

#[test]
fn p10_a_copied_memory_image_sends_nothing_before_it_has_a_new_generation() {
    seeds::run("p10_a_copied", 20, |seed| {
        let mut sim = talking(seed, milliseconds(50));
        let before = sim.between(seconds(0), seconds(200));
        sim.run(before);
        sim.trouble();
        let copied = sim.now;
        sim.copy_memory(BOB);

        sim.run(milliseconds(499));

        for kind in [Kind::Handshake, Kind::Session, Kind::Transport] {
            let sent = sim.oracle.count(BOB, kind, copied + milliseconds(1));
            assert_eq!(sent, 0, "{kind:?} before the new generation");
        }
        sim.run(seconds(2));
        sim.calm();
        let settled = sim.now + MOST_SILENCE;
        sim.run(seconds(100));
        sim.oracle
            .assert_nothing_lost(settled, just_before(sim.now));
        assert!(sim.oracle.arrived(ALICE, BOB) > 0);
    });
}
