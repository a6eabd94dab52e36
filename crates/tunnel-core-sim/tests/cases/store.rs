//! What nodes make of envelopes that come late, twice, out of order, or not at all.

use std::time::Duration;

use tunnel_core::control::GenerationRank;
use tunnel_core_sim::certified::Certificate;
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::Sim;

use crate::scene::{ALICE, BOB, just_before, milliseconds, seconds, talking};

fn assert_everybody_knows_the_newest(sim: &Sim) {
    for node in &sim.nodes {
        for other in sim.nodes.iter().filter(|it| it.number != node.number) {
            let newest = other
                .generations
                .last()
                .map(|it| GenerationRank::of(&it.verified));
            assert_eq!(node.learned.newest(other.identity.uid()), newest);
        }
    }
}

#[test]
fn cp11_envelopes_in_any_order_and_number_end_in_the_newest_of_each_node() {
    seeds::run("cp11", 50, |seed| {
        let mut sim = Sim::acquainted(seed, &[1, 1, 1]);
        for _ in 0..8 {
            let node = sim.below(3) as usize;
            let certificate = match sim.below(2) {
                0 => Certificate::RENEWED,
                _ => Certificate::Kept,
            };
            let delays = [0; 3].map(|_| sim.between(Duration::ZERO, seconds(300)));
            sim.rotate(node, certificate, |to| delays[to]);
            let again = [0; 3].map(|_| sim.between(Duration::ZERO, seconds(300)));
            sim.publish(node, |to| again[to]);
            sim.run(seconds(30));
        }

        sim.run(seconds(300));

        assert_everybody_knows_the_newest(&sim);
    });
}

#[test]
fn cp09_a_stale_snapshot_of_the_store_changes_nothing() {
    seeds::run("cp09", 10, |seed| {
        let mut sim = talking(seed, milliseconds(700));
        let began = sim.now;
        sim.publish(BOB, |_| seconds(100));
        sim.publish(ALICE, |_| seconds(200));
        sim.run(seconds(20));
        sim.rotate(ALICE, Certificate::RENEWED, |_| seconds(1));
        sim.rotate(BOB, Certificate::RENEWED, |_| seconds(1));

        sim.run(seconds(400));

        assert_everybody_knows_the_newest(&sim);
        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

#[test]
fn cp06_a_store_that_tells_one_node_nothing_for_an_hour_costs_no_packet() {
    seeds::run("cp06", 5, |seed| {
        let mut sim = talking(seed, seconds(1));
        let began = sim.now;
        sim.rotate(BOB, Certificate::RENEWED, |_| seconds(3600));
        sim.run(seconds(1200));
        sim.rotate(BOB, Certificate::Kept, |_| seconds(2400));

        sim.run(seconds(3000));

        assert_everybody_knows_the_newest(&sim);
        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
        assert!(sim.oracle.arrived(ALICE, BOB) > 0);
    });
}
