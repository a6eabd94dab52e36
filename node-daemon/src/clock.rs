//! The clocks: read here, handed to everything else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use node_identity::UnixTime;
use tunnel_core::moment::Moment;

/// Time since boot, suspend included, so that keys age while the machine sleeps.
pub(crate) fn moment() -> Moment {
    // CLOCK_BOOTTIME has been there since Linux 2.6.39; a kernel that refuses it stops time, and keys
    // that never age are refused by the peer.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default();
    Moment::since_boot(now)
}

/// The wall clock since 1970.
pub(crate) fn wall_precisely() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The two clocks, read together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Time since boot, for intervals.
    pub(crate) moment: Moment,
    /// The time of day, for dates.
    pub(crate) wall: UnixTime,
}

/// Reads both clocks.
pub(crate) fn now() -> Now {
    Now {
        moment: moment(),
        wall: UnixTime(wall_precisely().as_secs()),
    }
}
