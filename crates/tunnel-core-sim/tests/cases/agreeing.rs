//! Two nodes on a bad network.

use std::time::Duration;

use tunnel_core_sim::network::Weather;
use tunnel_core_sim::oracle::MOST_SILENCE;
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::Sim;
use tunnel_core_sim::storm;

#[test]
fn p07_two_nodes_exchange_packets_over_a_foul_network() {
    seeds::run("p07_two_nodes", 30, |seed| {
        let mut sim = Sim::acquainted(seed, &[1, 3]);
        sim.network.weather = Weather::FOUL;
        sim.flow(0, 1, Duration::from_millis(300), 4);
        sim.flow(1, 0, Duration::from_millis(700), 2);
        sim.run(Duration::from_secs(400));
        sim.calm();
        let settled = sim.now + Duration::from_secs(30);

        sim.run(Duration::from_secs(200));

        let until = sim.now - Duration::from_secs(1);
        sim.oracle.assert_nothing_lost(settled, until);
        for (from, to) in [(0, 1), (1, 0)] {
            assert!(sim.oracle.arrived(from, to) > 500);
        }
    });
}

/// Nodes with random lanes, and traffic between all of them.
fn busy(seed: u64, nodes: usize) -> Sim {
    let mut sim = Sim::acquainted(seed, &[1]);
    let lanes: Vec<_> = (0..nodes).map(|_| 1 + sim.below(4) as u8).collect();
    sim = Sim::acquainted(seed, &lanes);
    for from in 0..nodes {
        for to in (0..nodes).filter(|to| *to != from) {
            let every = sim.between(Duration::from_millis(700), Duration::from_secs(4));
            let burst = 1 + sim.below(3) as usize;
            sim.flow(from, to, every, burst);
        }
    }
    sim
}

/// A storm, then calm weather in which every direction works again.
fn weather_a_storm(seed: u64, nodes: usize) {
    let mut sim = busy(seed, nodes);
    let length = sim.between(Duration::from_secs(60), Duration::from_secs(900));
    let every = sim.between(Duration::from_secs(4), Duration::from_secs(60));
    storm::weather(&mut sim, length, every);
    let settled = sim.now + MOST_SILENCE;

    sim.run(Duration::from_secs(300));

    sim.oracle
        .assert_nothing_lost(settled, sim.now - Duration::from_secs(1));
}

#[test]
fn p07_two_nodes_weather_storms() {
    seeds::run("p07_two_nodes_weather", 100, |seed| {
        weather_a_storm(seed, 2)
    });
}

#[test]
fn p07_three_nodes_weather_storms() {
    seeds::run("p07_three_nodes_weather", 60, |seed| {
        weather_a_storm(seed, 3)
    });
}

#[test]
fn p07_five_nodes_weather_storms() {
    seeds::run("p07_five_nodes_weather", 20, |seed| {
        weather_a_storm(seed, 5)
    });
}
