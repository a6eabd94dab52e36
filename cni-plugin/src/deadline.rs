//! How long one call may take.
//!
//! A runtime kills a plugin that takes too long in the middle of its work, so every wait in here ends
//! earlier by itself, with a code that says "try again".

use std::time::{Duration, Instant};

/// The moment by which a call gives up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// A deadline that far from here.
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Undoing has time of its own: the call's may be what ran out.
    pub(crate) fn for_undo() -> Self {
        Self::after(Duration::from_secs(5))
    }

    /// The moment itself.
    pub(crate) fn instant(self) -> Instant {
        self.0
    }

    /// What is left; `None` when it is over.
    pub(crate) fn remaining(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}
