//! How long one call may take.
//!
//! A runtime kills a plugin that takes too long in the middle of its work, so every wait in here ends
//! earlier by itself, with a code that says "try again". The watchdog ends what has no such wait.

use std::time::{Duration, Instant};

use cni_protocol::environment::Call;

/// The moment by which a call gives up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

/// A verb's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The verb's name.
    pub(crate) verb: &'static str,
    /// When its own waits end; what is left then is for undoing.
    pub(crate) waits: Duration,
    /// When the watchdog ends it.
    pub(crate) whole: Duration,
}

impl Limits {
    /// Kubelet gives a sandbox two to four minutes, and asks STATUS every few seconds with its own
    /// status waiting for it. A DEL that takes long keeps a pod from going.
    pub(crate) fn of<E>(call: &Result<Call, E>) -> Self {
        let (verb, waits, whole) = match call {
            Ok(Call::Add(_)) => ("ADD", 50_000, 60_000),
            Ok(Call::Del(_)) => ("DEL", 8_000, 10_000),
            Ok(Call::Check(_)) => ("CHECK", 4_000, 5_000),
            Ok(Call::Status) => ("STATUS", 750, 1_000),
            Ok(Call::Gc) => ("GC", 50_000, 60_000),
            Ok(Call::Version) => ("VERSION", 750, 1_000),
            Err(_) => ("the call", 4_000, 5_000),
        };
        /// What starting, and ending after the answer, take on a busy machine: a guess.
        const AROUND: Duration = Duration::from_millis(100);
        Self {
            verb,
            waits: Duration::from_millis(waits),
            whole: Duration::from_millis(whole) - AROUND,
        }
    }
}

impl Deadline {
    /// A deadline that far from here.
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Undoing has time of its own: the call's may be what ran out.
    pub(crate) fn for_undo() -> Self {
        Self::after(Duration::from_secs(4))
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
