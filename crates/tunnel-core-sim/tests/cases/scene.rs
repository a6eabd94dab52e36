//! What most cases begin with.

use std::time::Duration;

use tunnel_core::moment::Moment;
use tunnel_core_sim::sim::{FlowNumber, Sim};

/// Who they are.
pub(crate) const ALICE: usize = 0;
pub(crate) const BOB: usize = 1;

/// What is on its way when a case ends does not count as lost.
pub(crate) const ON_ITS_WAY: Duration = Duration::from_secs(1);

pub(crate) fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

pub(crate) fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Alice and Bob, who know each other; each with one to four lanes.
pub(crate) fn pair(seed: u64) -> Sim {
    let lanes = [1 + seed % 4, 1 + seed / 4 % 4].map(|it| it as u8);
    Sim::acquainted(seed, &lanes)
}

/// Both send all the time.
pub(crate) fn talk(sim: &mut Sim, every: Duration) -> [FlowNumber; 2] {
    [
        sim.flow(ALICE, BOB, every, 1),
        sim.flow(BOB, ALICE, every.mul_f64(1.3), 2),
    ]
}

/// Two that talk and have agreed.
pub(crate) fn talking(seed: u64, every: Duration) -> Sim {
    let mut sim = pair(seed);
    talk(&mut sim, every);
    sim.run(seconds(5));
    sim.calm();
    sim
}

/// When what is sent from here on must have come out.
pub(crate) fn just_before(now: Moment) -> Moment {
    now - ON_ITS_WAY
}
