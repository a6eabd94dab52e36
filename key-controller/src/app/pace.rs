//! How a step's outcome sets the pace of the next one, and what is said of steps that fail.

use std::future::pending;
use std::time::{Duration, Instant};

use anyhow::Result;
use cluster_store::ClusterStore;
use service_log::{Once, chain};
use tokio::time::sleep_until;
use tracing::{error, info};

use super::{now, random};
use crate::reconcile::{Controller, Outcome, Signing, StepError};
use crate::tally::Tally;

/// Pause after a failed step (a guess).
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Pauses between two steps: whoever writes often must not make the controller look as often (a
/// guess between that and the two seconds in which a request is answered).
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// So many times as long as the step is the pause after it.
const REST: u32 = 4;

/// How a step ended; the store tells when the next is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stepped {
    /// To its end, and it wrote something.
    Changed,
    /// To its end, for nothing.
    Idle,
    /// In the middle: the next is due after [`RETRY_AFTER`], whatever changes.
    Unfinished,
}

/// Makes steps.
#[derive(Default)]
pub(super) struct Pace {
    took: Duration,
    said: Once,
    /// Whether the last failure was said.
    is_told: bool,
    /// Failures since a step was finished.
    failures: u64,
}

impl Pace {
    /// Makes a step.
    pub(super) async fn step<S: ClusterStore>(
        &mut self,
        controller: &mut Controller<S>,
        signing: Signing,
        tally: &Tally,
    ) -> Result<Stepped> {
        let started = Instant::now();
        let stepped = controller.step(signing, now()?, &mut random()).await;
        self.took = started.elapsed();
        match stepped {
            Ok(outcome) => {
                self.ends();
                Ok(match outcome {
                    Outcome::Changed => Stepped::Changed,
                    Outcome::Idle => Stepped::Idle,
                })
            }
            Err(error) if error.may_pass() => {
                tally.change(|counts| counts.failed_steps += 1);
                self.fails(&error, Instant::now());
                Ok(Stepped::Unfinished)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends when a question is due that the last step put off.
    pub(super) async fn until_asking<S: ClusterStore>(controller: &Controller<S>) {
        match controller.asks_at() {
            Some(at) => sleep_until(at.into()).await,
            None => pending().await,
        }
    }

    /// How long to rest after that step.
    pub(super) fn pause(&self, stepped: Stepped) -> Duration {
        match stepped {
            Stepped::Changed => (self.took * REST).clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
            Stepped::Idle => LONGEST_PAUSE,
            Stepped::Unfinished => RETRY_AFTER,
        }
    }

    /// Says why a step failed when that begins or changes, and once a minute; true if it did.
    fn fails(&mut self, error: &StepError, now: Instant) -> bool {
        self.failures += 1;
        let text = chain(error);
        let is_said = self.said.admits(text.clone(), now);
        if is_said {
            self.is_told = true;
            let failures = self.failures;
            error!(error = text, failures, "Step not finished, trying again");
        }
        is_said
    }

    fn ends(&mut self) {
        self.failures = 0;
        if std::mem::take(&mut self.is_told) {
            info!("Steps are finished again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LedgerError;

    #[test]
    fn a_failure_that_lasts_is_said_once_a_minute_and_another_at_once() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let failure = |expected| StepError::from(LedgerError::Conflict { expected });
        let mut said = |second, expected| {
            let at = start + Duration::from_secs(second);
            pace.fails(&failure(expected), at)
        };

        assert!(said(0, 1));
        assert!((1..12).all(|turn| !said(turn * 5, 1)));
        assert!(said(57, 2));
        assert!(said(60, 1));
        assert_eq!(pace.failures, 14);
    }

    #[test]
    fn whoever_writes_what_concerns_nothing_makes_no_more_than_a_step_a_second() {
        let mut pace = Pace::default();
        let pause = |pace: &Pace, stepped| pace.pause(stepped).as_millis();

        assert_eq!(pause(&pace, Stepped::Idle), 1000);
        assert_eq!(pause(&pace, Stepped::Changed), 200);
        pace.took = Duration::from_millis(150);
        assert_eq!(pause(&pace, Stepped::Changed), 600);
        pace.took = Duration::from_secs(9);
        assert_eq!(pause(&pace, Stepped::Changed), 1000);
    }
}
