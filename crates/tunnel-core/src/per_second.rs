//! A count that begins anew each second: what every limit per second compares with.

use crate::moment::Moment;

/// How many there were in this second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PerSecond {
    second: u64,
    count: u32,
}

impl PerSecond {
    /// Counts one; returns how many there are with it.
    pub(crate) fn count(&mut self, now: Moment) -> u32 {
        self.count = self.so_far(now).saturating_add(1);
        self.count
    }

    /// How many there are.
    pub(crate) fn so_far(&mut self, now: Moment) -> u32 {
        let second = now.as_since_boot().as_secs();
        if second != self.second {
            *self = Self { second, count: 0 };
        }
        self.count
    }
}
