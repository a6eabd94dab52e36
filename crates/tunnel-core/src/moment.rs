//! A point in time, handed in by the caller.
//!
//! Keys age while a machine is suspended, so a [`Moment`] counts `CLOCK_BOOTTIME`: the time since
//! boot, suspend included, which `std::time::Instant` leaves out. This crate never reads a clock;
//! whoever drives it reads one and passes the result to each `handle_*`.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point in time, as the time since the machine's boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// Makes a moment of the time since boot (what `CLOCK_BOOTTIME` says).
    #[must_use]
    pub const fn since_boot(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Returns the time since boot.
    #[must_use]
    pub const fn as_since_boot(self) -> Duration {
        self.0
    }

    /// Returns the time from `earlier` to this moment, zero if `earlier` is the later one.
    #[must_use]
    pub const fn duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

/// The moment that much earlier, at least the boot.
impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0.as_secs(), self.0.subsec_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_never_lies_before_the_boot() {
        let moment = Moment::since_boot(Duration::from_secs(3));

        assert_eq!(moment - Duration::from_secs(5), Moment::default());
        assert_eq!(Moment::default().duration_since(moment), Duration::ZERO);
    }
}
