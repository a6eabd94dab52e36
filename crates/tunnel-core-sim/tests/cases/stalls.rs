//! A control side that does nothing for a while; the lanes carry on.

use tunnel_core_sim::oracle::{Kind, MOST_SILENCE};
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::Sim;

use crate::scene::{ALICE, BOB, just_before, milliseconds, seconds, talk, talking};

#[test]
fn p09_a_control_side_that_stalls_for_10_s_loses_nothing() {
    seeds::run("p09", 20, |seed| {
        let mut sim = Sim::acquainted(seed, &[1, 3]);
        talk(&mut sim, milliseconds(300));
        sim.run(seconds(5));
        let began = sim.now;
        let at = sim.between(seconds(0), seconds(250));
        sim.run(at);
        let who = sim.below(2) as usize;
        sim.stall(who, seconds(10));

        sim.run(seconds(300));

        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

#[test]
fn dp26_lanes_refuse_a_key_that_a_stalled_control_side_lets_grow_old() {
    seeds::run("dp26", 20, |seed| {
        let mut sim = talking(seed, milliseconds(300));
        sim.trouble();
        let stalled = sim.now;
        sim.stall(ALICE, seconds(200));

        sim.run(seconds(200) - milliseconds(1));

        let old = stalled + seconds(180);
        assert_eq!(sim.oracle.count(ALICE, Kind::Transport, old), 0);
        assert!(
            sim.oracle
                .count(ALICE, Kind::Transport, stalled + seconds(150))
                > 0
        );
        sim.calm();
        let settled = sim.now + MOST_SILENCE;
        sim.run(seconds(100));
        sim.oracle
            .assert_nothing_lost(settled, just_before(sim.now));
        assert!(sim.oracle.arrived(ALICE, BOB) > 0);
    });
}
