//! Ways that are cut, and mended.

use tunnel_core_sim::network::Weather;
use tunnel_core_sim::oracle::MOST_SILENCE;
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::Sim;

use crate::scene::{ALICE, BOB, just_before, milliseconds, pair, seconds, talk, talking};

const CAROL: usize = 2;

#[test]
fn dp20_a_partition_of_ten_minutes_is_over_ten_seconds_after_it_heals() {
    seeds::run("dp20", 20, |seed| {
        let mut sim = Sim::acquainted(seed, &[1, 2, 1]);
        talk(&mut sim, milliseconds(400));
        sim.flow(ALICE, CAROL, milliseconds(500), 1);
        sim.flow(CAROL, ALICE, milliseconds(500), 1);
        sim.run(seconds(10));
        let began = sim.now;
        sim.network.cut(ALICE, BOB);
        sim.network.cut(BOB, ALICE);
        sim.run(seconds(600));
        sim.network.heal();
        let recovered = sim.now + seconds(10);

        sim.run(seconds(60));

        sim.oracle
            .assert_nothing_lost(recovered, just_before(sim.now));
        for (from, to) in [(ALICE, CAROL), (CAROL, ALICE)] {
            let lost = sim.oracle.lost(from, to, began, just_before(sim.now));
            assert_eq!(lost, 0, "others are not affected");
        }
    });
}

#[test]
fn dp21_a_way_that_leads_in_one_direction_only_is_no_session_at_either_end() {
    seeds::run("dp21", 21, |seed| {
        let mut sim = talking(seed, milliseconds(500));
        sim.trouble();
        sim.network.cut(BOB, ALICE);

        sim.run(seconds(400));

        let [alice, bob] = [ALICE, BOB].map(|it| sim.nodes[it].identity.uid());
        assert!(!sim.nodes[ALICE].sends_to(bob));
        assert!(!sim.nodes[BOB].sends_to(alice));
        assert!(sim.nodes[ALICE].given_up > 0, "Alice reports it");
        assert!(sim.nodes[BOB].given_up > 0, "Bob reports it");
        sim.calm();
        let settled = sim.now + MOST_SILENCE;
        sim.run(seconds(100));
        sim.oracle
            .assert_nothing_lost(settled, just_before(sim.now));
    });
}

#[test]
fn p07_two_nodes_that_begin_at_once_on_a_foul_network_agree() {
    seeds::run("p07_two_nodes_that", 50, |seed| {
        let mut sim = pair(seed);
        sim.network.weather = Weather::FOUL;
        sim.network.weather.loss = 300;
        talk(&mut sim, seconds(1));

        sim.run(seconds(90));

        let [alice, bob] = [ALICE, BOB].map(|it| sim.nodes[it].identity.uid());
        assert!(sim.nodes[ALICE].sends_to(bob), "within 90 s at 30 % loss");
        assert!(sim.nodes[BOB].sends_to(alice), "within 90 s at 30 % loss");
    });
}
