//! Two nodes on a bad network.

use std::time::Duration;

use tunnel_core_sim::network::Weather;
use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::Sim;

#[test]
fn p07_two_nodes_exchange_packets_over_a_foul_network() {
    seeds::run("p07_two_nodes", 50, |seed| {
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
