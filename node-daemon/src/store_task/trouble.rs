//! Trouble with the store: said once when it begins and once when it ends, with pauses between tries
//! that grow and differ from node to node.

use std::time::Duration;

use cluster_store::StoreError;
use rand_core::Rng;
use service_log::chain;
use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use super::StoreNews;
use crate::io::random;

/// The first pause after a failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause after failures (a guess: an operator who mends a store waits as long at most).
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Whether the store is in trouble.
#[derive(Debug)]
pub(super) struct Trouble {
    to: &'static str,
    said: bool,
    pause: Duration,
}

/// Nobody listens any more.
pub(super) struct NobodyListens;

impl Trouble {
    /// No trouble to do this.
    pub(super) fn of(to: &'static str) -> Self {
        Self {
            to,
            said: false,
            pause: FIRST_PAUSE,
        }
    }

    /// A try failed; returns how long not to try again.
    pub(super) fn begins(&mut self, error: &StoreError) -> Duration {
        if self.said {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        } else {
            self.said = true;
            warn!(
                to = self.to,
                error = chain(error),
                "Store cannot be used, known peers are kept"
            );
        }
        spread(self.pause, random::system().next_u32())
    }

    /// A try succeeded.
    pub(super) fn ends(&mut self) {
        if self.said {
            info!(to = self.to, "Store can be used again");
        }
        *self = Self::of(self.to);
    }

    /// Tells of the failure and waits.
    pub(super) async fn wait_after(
        &mut self,
        error: &StoreError,
        news: &Sender<StoreNews>,
    ) -> Result<(), NobodyListens> {
        let pause = self.begins(error);
        let told = news.send(StoreNews::Failed).await;
        tokio::time::sleep(pause).await;
        told.map_err(|_| NobodyListens)
    }
}

/// Between half of the pause and all of it, so that a cluster whose store is back does not come at once.
fn spread(pause: Duration, random: u32) -> Duration {
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> StoreError {
        StoreError::TooManyEnvelopes {
            node: "alice".to_owned(),
            count: 3,
        }
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_success() {
        let mut trouble = Trouble::of("read");
        let first = trouble.begins(&error());
        assert!(first <= FIRST_PAUSE && first >= FIRST_PAUSE / 2);

        for _ in 0..20 {
            trouble.begins(&error());
        }
        assert_eq!(trouble.pause, LONGEST_PAUSE);

        trouble.ends();
        assert!(trouble.begins(&error()) <= FIRST_PAUSE);
    }
}
