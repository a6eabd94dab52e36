//! Traffic on a good network: how often keys are agreed on, and that nothing is lost by it.

use std::time::Duration;

use tunnel_core_sim::seeds;
use tunnel_core_sim::sim::Sim;

const HOUR: Duration = Duration::from_secs(3600);

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

#[test]
fn p07_steady_traffic_both_ways_agrees_thirty_times_an_hour_and_loses_nothing() {
    seeds::run("p07_steady", 5, |seed| {
        let mut sim = Sim::acquainted(seed, &[1, 1]);
        let began = sim.now;
        let every = sim.between(milliseconds(200), milliseconds(1500));
        sim.flow(0, 1, every, 1);
        sim.flow(1, 0, every * 2, 3);
        sim.calm();

        sim.run(HOUR);

        let agreements = sim.oracle.agreements(0, 1, began);
        assert!((29..=32).contains(&agreements), "{agreements} an hour");
        sim.oracle
            .assert_nothing_lost(began, sim.now - milliseconds(10));
    });
}
