//! How a step's outcome sets the pace of the next one.

use std::time::Duration;

use anyhow::Result;
use cluster_store::ClusterStore;
use service_log::chain;
use tracing::error;

use super::{now, random};
use crate::reconcile::{Controller, Signing};
use crate::tally::Tally;

/// The longest sleep: revocation lists and pending requests come due without being announced.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Pause after a failed step (a guess).
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stepped {
    /// To its end: the next is due when something changes, or after [`LONGEST_SLEEP`].
    Whole,
    /// In the middle: the next is due after [`RETRY_AFTER`], whatever changes.
    Unfinished,
}

/// Makes a step.
pub(super) async fn step<S: ClusterStore>(
    controller: &mut Controller<S>,
    signing: Signing,
    tally: &Tally,
) -> Result<Stepped> {
    match controller.step(signing, now()?, &mut random()).await {
        Ok(()) => Ok(Stepped::Whole),
        Err(error) if error.may_pass() => {
            error!(error = %chain(&error), "Step not finished, trying again");
            tally.change(|counts| counts.failed_steps += 1);
            Ok(Stepped::Unfinished)
        }
        Err(error) => Err(error.into()),
    }
}
