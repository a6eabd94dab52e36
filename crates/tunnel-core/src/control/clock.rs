//! The wall clock as it was last told, and the highest handshake timestamps given out.
//!
//! boringtun anchors each `Tunn` to the wall clock when it is made, and a peer refuses timestamps
//! that are not above the last it saw. So a clock that has gone back shows when a `Tunn` is made,
//! and only a new generation, which the peer's memory knows nothing of, helps against it.

use std::collections::HashMap;
use std::time::Duration;

use node_identity::UnixTime;

use super::generations::GenerationRank;
use super::outbox::{ControlEvent, NewGenerationReason, Outbox};
use crate::moment::Moment;

/// How far behind the highest stamp a `Tunn` may be made: clocks are corrected by seconds, and
/// waiting that long does no harm.
const TOLERANCE: Duration = Duration::from_secs(30);

/// How much a stamp grows before it is told again: a sixth of what is tolerated.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The time of day.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WallClock {
    wall: Duration,
    judged: UnixTime,
    told: Moment,
}

impl WallClock {
    pub(super) fn new(wall: Duration, judged: UnixTime, told: Moment) -> Self {
        Self { wall, judged, told }
    }

    /// Time since 1970.
    pub(super) fn at(self, now: Moment) -> Duration {
        self.wall.saturating_add(now.duration_since(self.told))
    }

    /// The time by which certificates are judged.
    pub(super) fn judged_at(self, now: Moment) -> UnixTime {
        self.judged.plus(now.duration_since(self.told))
    }
}

/// The highest handshake timestamps under each own generation, since 1970.
#[derive(Debug, Default)]
pub(super) struct Stamps(HashMap<GenerationRank, Stamp>);

#[derive(Debug, Default)]
struct Stamp {
    highest: Duration,
    told: Duration,
    complained: bool,
}

impl Stamps {
    /// What the disk remembers of a generation.
    pub(super) fn remember(&mut self, generation: GenerationRank, highest: UnixTime) {
        let highest = Duration::from_secs(highest.0);
        let stamp = self.0.entry(generation).or_default();
        stamp.highest = stamp.highest.max(highest);
        stamp.told = stamp.told.max(highest);
    }

    pub(super) fn forget(&mut self, generation: GenerationRank) {
        self.0.remove(&generation);
    }

    /// A `Tunn` is made under this generation by this clock.
    pub(super) fn anchored(
        &mut self,
        generation: GenerationRank,
        wall: Duration,
        out: &mut Outbox,
    ) {
        let stamp = self.0.entry(generation).or_default();
        if wall.saturating_add(TOLERANCE) < stamp.highest && !stamp.complained {
            stamp.complained = true;
            let reason = NewGenerationReason::ClockBehind;
            out.event(ControlEvent::NewGenerationWanted(reason));
        }
    }

    /// An initiation with this timestamp leaves.
    pub(super) fn issued(&mut self, generation: GenerationRank, stamp: Duration, out: &mut Outbox) {
        let known = self.0.entry(generation).or_default();
        known.highest = known.highest.max(stamp);
        // What the disk remembers may be any number.
        if known.highest >= known.told.saturating_add(TELL_EVERY) {
            known.told = known.highest;
            let seconds = known.highest.as_secs();
            out.event(ControlEvent::StampAdvanced {
                generation,
                seconds,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_a_stamp_from_the_disk_that_ends_time_stops_nothing() {
        let generation = GenerationRank {
            serial: 1,
            generation: 1,
        };
        let (mut stamps, mut out) = (Stamps::default(), Outbox::default());
        stamps.remember(generation, UnixTime(u64::MAX));

        stamps.anchored(generation, Duration::MAX, &mut out);
        stamps.issued(generation, Duration::from_secs(1_800_000_000), &mut out);
        stamps.issued(generation, Duration::MAX, &mut out);
    }
}
