//! Says, without being made to fill the log, what an honest network does not send.
//!
//! Counters tell how much of it there was; this tells that there is some, from whom it seems to come
//! and why it was refused: the first of each kind at once, then a sum every ten seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use node_identity::Pin;
use tracing::{error, info, warn};
use tunnel_core::drop_reason::DropReason;
use tunnel_core::moment::Moment;

use crate::guard::counters::Part;

/// How long later ones of a kind are only added up.
const QUIET_FOR: Duration = Duration::from_secs(10);
/// Kinds that are remembered; a flood of made-up ones must not fill memory (a guess).
const MOST_KINDS: usize = 256;

/// What was noticed lately.
#[derive(Debug, Default)]
pub(super) struct Suspicions {
    kinds: BTreeMap<(String, String), Kind>,
    dropped: BTreeMap<DropReason, u64>,
    leaks: u64,
    repairs: BTreeMap<Part, u64>,
    overdue: BTreeSet<Pin>,
}

#[derive(Debug)]
struct Kind {
    since_said: u64,
    quiet_until: Moment,
}

impl Suspicions {
    /// Notes refused control messages that came from a peer's endpoint, or from a stranger's.
    pub(super) fn handle_refusal(&mut self, node: &str, reason: &str, count: u64, now: Moment) {
        if let Some(count) = self.note(node, reason, count, now) {
            warn!(node, reason, count, "Handshake refused");
        }
    }

    /// Compares the lanes' drops with the last time.
    pub(super) fn handle_drops(&mut self, drops: impl Fn(DropReason) -> u64, now: Moment) {
        for reason in DropReason::ALL
            .iter()
            .copied()
            .filter(|reason| is_suspicious(*reason))
        {
            let total = drops(reason);
            let before = self.dropped.insert(reason, total).unwrap_or(0);
            let more = total.saturating_sub(before);
            let said = if more > 0 {
                self.note("", reason.label(), more, now)
            } else {
                None
            };
            if let Some(count) = said {
                warn!(
                    reason = reason.label(),
                    count, "Packets refused that no honest node sends"
                );
            }
        }
    }

    /// Compares the clear pod packets that left the node with the last time; returns how many more.
    pub(super) fn handle_leaks(&mut self, total: u64) -> u64 {
        let count = total.saturating_sub(self.leaks);
        if count > 0 {
            error!(count, "Pod packets left this node in clear");
        }
        self.leaks = total;
        count
    }

    /// Compares what the watchdog put back with the last time; returns what more there is.
    pub(super) fn handle_repairs(&mut self, total: BTreeMap<Part, u64>) -> Vec<&'static str> {
        let before = std::mem::replace(&mut self.repairs, total);
        let more = self.repairs.iter();
        more.filter(|(part, count)| before.get(part) < Some(count))
            .map(|(part, _)| part.label())
            .collect()
    }

    /// Compares the roots whose revocation list is overdue with the last time.
    pub(super) fn handle_overdue(&mut self, overdue: Vec<Pin>) {
        let before = std::mem::replace(&mut self.overdue, overdue.into_iter().collect());
        for root in self.overdue.difference(&before) {
            error!(%root, "Revocation list is overdue, a node revoked since is still believed: does the controller run, and can its list be read in the store?");
        }
        for root in before.difference(&self.overdue) {
            info!(%root, "Revocation list is overdue no more");
        }
    }

    /// How many there were since the last time it was said, if it is to be said now.
    fn note(&mut self, who: &str, reason: &str, count: u64, now: Moment) -> Option<u64> {
        if self.kinds.len() >= MOST_KINDS {
            self.kinds.retain(|_, kind| kind.quiet_until > now);
        }
        let full = self.kinds.len() >= MOST_KINDS;
        let key = (who.to_owned(), reason.to_owned());
        if full && !self.kinds.contains_key(&key) {
            return None;
        }
        let kind = self.kinds.entry(key).or_insert(Kind {
            since_said: 0,
            quiet_until: now,
        });
        kind.since_said += count;
        if now < kind.quiet_until {
            return None;
        }
        kind.quiet_until = now + QUIET_FOR;
        Some(std::mem::take(&mut kind.since_said))
    }
}

/// Reasons that loss, restarts and honest mistakes do not bring about.
fn is_suspicious(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::UncertifiedSource
            | DropReason::ControlOnWrongLane
            | DropReason::CounterLimit
            | DropReason::Replayed
            | DropReason::NotAuthentic
            | DropReason::SourceNotPeers
            | DropReason::DestinationNotOwn
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tunnel_core::moment::Moment;

    use super::{MOST_KINDS, Suspicions};

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn the_first_is_said_at_once_and_the_others_as_a_sum() {
        let mut suspicions = Suspicions::default();

        assert_eq!(suspicions.note("bob", "stale", 1, at(100)), Some(1));
        assert_eq!(suspicions.note("bob", "stale", 1, at(101)), None);
        assert_eq!(
            suspicions.note("carol", "stale", 1, at(101)),
            Some(1),
            "another node is told"
        );
        assert_eq!(suspicions.note("bob", "stale", 5, at(109)), None);
        assert_eq!(suspicions.note("bob", "stale", 1, at(110)), Some(7));
    }

    #[test]
    fn a_flood_of_kinds_is_bounded() {
        let mut suspicions = Suspicions::default();

        for name in 0..10_000 {
            suspicions.note(&name.to_string(), "stale", 1, at(100));
        }

        assert_eq!(suspicions.kinds.len(), MOST_KINDS);
        assert_eq!(
            suspicions.note("new", "stale", 1, at(200)),
            Some(1),
            "old ones make room"
        );
    }
}
