//! Traffic on a good network: how often keys are agreed on, and that nothing is lost by it.

use std::time::Duration;

use tunnel_core_sim::network::Weather;
use tunnel_core_sim::oracle::Kind;
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::Sim;

use crate::scene::{ALICE, BOB, just_before, milliseconds, pair, seconds, talk};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn p07_steady_traffic_both_ways_agrees_thirty_times_an_hour_and_loses_nothing() {
    seeds::run("p07_steady", 5, |seed| {
        let mut sim = pair(seed);
        let began = sim.now;
        let every = sim.between(milliseconds(200), milliseconds(1500));
        talk(&mut sim, every);
        sim.calm();

        sim.run(HOUR);

        let agreements = sim.oracle.agreements(ALICE, BOB, began);
        assert!((29..=32).contains(&agreements), "{agreements} an hour");
        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

#[test]
fn p07_idle_nodes_agree_no_more_and_fall_silent() {
    seeds::run("p07_idle", 10, |seed| {
        let mut sim = pair(seed);
        talk(&mut sim, seconds(1));
        sim.run(seconds(30));
        sim.stop_all();
        let idle_since = sim.now;

        sim.run(HOUR);

        assert_eq!(sim.oracle.agreements(ALICE, BOB, idle_since), 0);
        for node in [ALICE, BOB] {
            let silent_since = idle_since + seconds(60);
            for kind in [Kind::Handshake, Kind::Session, Kind::Transport] {
                assert_eq!(sim.oracle.count(node, kind, silent_since), 0, "{kind:?}");
            }
            let empties = sim
                .oracle
                .count(node, Kind::Transport, idle_since + seconds(1));
            assert!(empties <= 1, "{empties} signs of life to somebody idle");
        }
    });
}

#[test]
fn p07_one_lost_packet_costs_one_agreement() {
    seeds::run("p07_one_lost", 10, |seed| {
        let mut sim = pair(seed);
        talk(&mut sim, seconds(1));
        sim.run(seconds(30));
        sim.stop_all();
        sim.run(seconds(20));
        sim.network.cut(ALICE, BOB);
        let flow = sim.flow(ALICE, BOB, seconds(600), 1);
        sim.run(seconds(1));
        sim.stop(flow);
        sim.network.heal();
        let lost_at = sim.now;

        sim.run(seconds(600));

        assert_eq!(sim.oracle.agreements(ALICE, BOB, lost_at), 1);
    });
}

/// One way only, across three rekeys: nothing is lost, and the silent end shows life.
fn one_way(seed: u64, from: usize, to: usize) {
    let mut sim = pair(seed);
    sim.network.weather = Weather::WINDY;
    let began = sim.now;
    let every = sim.between(milliseconds(30), seconds(5));
    sim.flow(from, to, every, 1);

    sim.run(seconds(500));

    let agreements = sim.oracle.agreements(from, to, began);
    assert!((4..=5).contains(&agreements), "{agreements} in 500 s");
    sim.oracle.assert_nothing_lost(began, just_before(sim.now));
}

#[test]
fn p08_one_way_traffic_from_the_one_end_loses_nothing_across_three_rekeys() {
    seeds::run("p08", 20, |seed| one_way(seed, ALICE, BOB));
}

#[test]
fn p08_one_way_traffic_from_the_other_end_loses_nothing_across_three_rekeys() {
    seeds::run("p08", 20, |seed| one_way(seed, BOB, ALICE));
}

#[test]
fn p08_an_hour_of_one_way_traffic_agrees_thirty_times() {
    seeds::run("p08_an_hour", 2, |seed| {
        let mut sim = pair(seed);
        let began = sim.now;
        sim.flow(ALICE, BOB, seconds(1), 1);

        sim.run(HOUR);

        let agreements = sim.oracle.agreements(ALICE, BOB, began);
        assert!((29..=32).contains(&agreements), "{agreements} an hour");
        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

/// A thousand packets a second each way around every rekey, both ends having begun at once.
#[test]
fn dp25_crossing_wishes_and_rekeys_under_load_lose_nothing() {
    seeds::run("dp25", 20, |seed| {
        let mut sim = pair(seed);
        let began = sim.now;
        sim.network.weather = Weather::WINDY;
        talk(&mut sim, milliseconds(500));
        for rekey in [0, 120, 240] {
            sim.after(seconds(rekey).saturating_sub(milliseconds(300)), |sim| {
                let ways = [(ALICE, BOB), (BOB, ALICE)];
                let loads = ways.map(|(from, to)| sim.flow(from, to, milliseconds(8), 8));
                sim.after(seconds(1), move |sim| {
                    for load in loads {
                        sim.stop(load);
                    }
                });
            });
        }

        sim.run(seconds(300));

        let agreements = sim.oracle.agreements(ALICE, BOB, began);
        assert!((3..=4).contains(&agreements), "{agreements} in 300 s");
        let agreed = began + seconds(1);
        sim.oracle.assert_nothing_lost(agreed, just_before(sim.now));
    });
}

/// Both control sides stall until both ends' limits have passed, and then ask at the same moment.
#[test]
fn dp25_both_ends_that_rekey_at_the_same_moment_agree_once_and_lose_nothing() {
    seeds::run("dp25_both", 20, |seed| {
        let mut sim = pair(seed);
        let began = sim.now;
        talk(&mut sim, milliseconds(100));
        sim.run(seconds(115));
        for node in [ALICE, BOB] {
            sim.stall(node, seconds(40));
        }
        let both_ask = sim.now + seconds(40);

        sim.run(seconds(80));

        let agreements = sim.oracle.agreements(ALICE, BOB, both_ask);
        assert!((1..=2).contains(&agreements), "{agreements} at once");
        assert_eq!(sim.oracle.agreements(ALICE, BOB, both_ask + seconds(1)), 0);
        sim.oracle.assert_nothing_lost(began, just_before(sim.now));
    });
}

#[test]
fn a_first_packet_waits_for_the_keys_and_is_not_lost() {
    seeds::run("a_first_packet", 20, |seed| {
        let mut sim = Sim::acquainted(seed, &[2, 1, 1]);
        let began = sim.now;
        let flows = [(0, 1), (1, 0), (2, 1), (0, 2)];
        for (from, to) in flows {
            sim.flow(from, to, seconds(60), 5);
        }

        sim.run(seconds(1));

        sim.stop_all();
        sim.oracle.assert_nothing_lost(began, sim.now);
    });
}
