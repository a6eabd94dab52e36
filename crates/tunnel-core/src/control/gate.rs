//! How many handshakes are answered, and for whom.
//!
//! While few initiations come, all are answered. Under load a source first proves, by a cookie, that
//! it receives where it says it is; only then are its initiations charged to its budget. Charged
//! earlier, whoever spoofs Bob's address would use up Bob's budget.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::moment::Moment;
use crate::per_second::PerSecond;

/// Initiations per second, from everyone, that are answered without a cookie: some two percent of
/// one core.
const FREE_PER_SECOND: u32 = 50;

/// Initiations per second of one proven source, and how many at once (both as in wireguard-go).
const SOURCE_PER_SECOND: f64 = 20.0;
const SOURCE_BURST: f64 = 5.0;

/// Authenticated initiations per second of one peer (as in wireguard-go).
const PEER_PER_SECOND: u32 = 50;

/// The handshakes that one peer has made in this second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PeerGate(PerSecond);

impl PeerGate {
    /// Whether another is answered.
    pub(super) fn is_open(&mut self, now: Moment) -> bool {
        self.0.so_far(now) < PEER_PER_SECOND
    }

    /// One was authenticated.
    pub(super) fn charge(&mut self, now: Moment) {
        self.0.count(now);
    }
}

/// The gate before all sessions.
#[derive(Debug, Default)]
pub(super) struct Gate {
    load: PerSecond,
    sources: HashMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Moment,
}

/// How an initiation comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Freely.
    Free,
    /// With a proof of its source only.
    Proven,
}

impl Gate {
    /// Counts an initiation whose mac1 is good.
    pub(super) fn count(&mut self, now: Moment) -> Entry {
        if self.load.count(now) <= FREE_PER_SECOND {
            Entry::Free
        } else {
            Entry::Proven
        }
    }

    /// Charges a proven source; returns whether it could pay.
    pub(super) fn charge(&mut self, source: IpAddr, now: Moment) -> bool {
        let bucket = self.sources.entry(source).or_insert(Bucket {
            tokens: SOURCE_BURST,
            filled: now,
        });
        let gained = now.duration_since(bucket.filled).as_secs_f64() * SOURCE_PER_SECOND;
        bucket.tokens = (bucket.tokens + gained).min(SOURCE_BURST);
        bucket.filled = now;
        let pays = bucket.tokens >= 1.0;
        if pays {
            bucket.tokens -= 1.0;
        }
        pays
    }

    /// Forgets sources whose budget is full again.
    pub(super) fn tidy(&mut self, now: Moment) {
        let full_after = Duration::from_secs(1);
        self.sources
            .retain(|_, it| now.duration_since(it.filled) < full_after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::since_boot(Duration::from_millis(milliseconds))
    }

    #[test]
    fn fifty_initiations_a_second_need_no_cookie() {
        let mut gate = Gate::default();

        let free =
            |gate: &mut Gate, now| (0..200).filter(|_| gate.count(now) == Entry::Free).count();

        assert_eq!(free(&mut gate, at(1_000)), 50);
        assert_eq!(free(&mut gate, at(1_999)), 0);
        assert_eq!(free(&mut gate, at(2_000)), 50);
    }

    #[test]
    fn a_source_over_its_budget_spends_no_other_budget() {
        let mut gate = Gate::default();
        let (bob, mallory) = ("198.51.100.2", "198.51.100.3");
        let mut charge = |source: &str, now| gate.charge(source.parse().unwrap(), now);

        let paid = (0..100).filter(|_| charge(mallory, at(1_000))).count();

        assert_eq!(paid, 5);
        assert!(charge(bob, at(1_000)));
        assert!(!charge(mallory, at(1_049)));
        assert!(charge(mallory, at(1_060)));
    }
}
