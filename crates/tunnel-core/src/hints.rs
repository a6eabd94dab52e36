//! Signs that a peer has lost what we hold: believed seldom, because anyone can forge them.
//!
//! A restarted peer that gets packets under transports it no longer has is silent; that it refuses
//! an index, or sends handshakes with an old clock, gives it away within a second instead of 15 to
//! 100. But a spoofer can make both at will, so a hint counts only while nothing is heard from the
//! peer, once in five seconds per peer and fifty times a second in all.

use std::time::Duration;

use crate::moment::Moment;
use crate::per_second::PerSecond;

/// A peer that was heard this recently has lost nothing.
pub(crate) const HEARD_WITHIN: Duration = Duration::from_secs(15);

/// A session confirmed this recently shows that handshakes work.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);

/// How long after a stale timestamp the peer may still be heard.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// Between two hints of one peer.
const PER_PEER: Duration = Duration::from_secs(5);

/// Hints per second from all peers: handshakes that one core makes in a twentieth of its time.
const MOST_PER_SECOND: u32 = 50;

/// How many hints were believed, or would have been, in this second.
#[derive(Debug, Default)]
pub(crate) struct HintBudget(PerSecond);

impl HintBudget {
    fn spend(&mut self, now: Moment) -> bool {
        self.0.count(now) <= MOST_PER_SECOND
    }
}

/// The hints of one peer.
#[derive(Debug, Default)]
pub(crate) struct PeerHints {
    believed: Option<Moment>,
    stale_since: Option<Moment>,
}

/// When a peer was last known to be well.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastSigns {
    /// When anything of it was last opened.
    pub(crate) opened: Option<Moment>,
    /// When a session with it was last confirmed.
    pub(crate) confirmed: Option<Moment>,
}

impl PeerHints {
    /// The peer's endpoint sent a transport index that no lane holds; returns whether to believe
    /// that the peer has lost ours.
    pub(crate) fn unknown_index(
        &mut self,
        last: LastSigns,
        budget: &mut HintBudget,
        now: Moment,
    ) -> bool {
        !is_within(last.opened, HEARD_WITHIN, now) && self.believe(budget, now)
    }

    /// An initiation had a timestamp not above the last. What comes of it shows a second later.
    pub(crate) fn stale_timestamp(&mut self, last: LastSigns, now: Moment) {
        if !is_within(last.confirmed, CONFIRMED_WITHIN, now) {
            self.stale_since.get_or_insert(now);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.stale_since.map(|since| since + SILENT_FOR)
    }

    /// Returns whether to believe that the peer's clock went back.
    pub(crate) fn handle_timeout(
        &mut self,
        last: LastSigns,
        budget: &mut HintBudget,
        now: Moment,
    ) -> bool {
        let Some(since) = self
            .stale_since
            .take_if(|since| now.duration_since(*since) >= SILENT_FOR)
        else {
            return false;
        };
        let heard = last.opened.is_some_and(|opened| opened >= since);
        !heard && self.believe(budget, now)
    }

    fn believe(&mut self, budget: &mut HintBudget, now: Moment) -> bool {
        let believe = !is_within(self.believed, PER_PEER, now) && budget.spend(now);
        if believe {
            self.believed = Some(now);
        }
        believe
    }
}

fn is_within(last: Option<Moment>, duration: Duration, now: Moment) -> bool {
    last.is_some_and(|last| now.duration_since(last) < duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::since_boot(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_spoofer_causes_nothing_while_the_peer_is_heard() {
        let (mut hints, mut budget) = (PeerHints::default(), HintBudget::default());

        for millisecond in 100_000..114_000 {
            let last = LastSigns {
                opened: Some(at(100_000)),
                confirmed: Some(at(60_000)),
            };
            assert!(!hints.unknown_index(last, &mut budget, at(millisecond)));
        }
    }

    #[test]
    fn a_silent_peer_is_asked_once_in_five_seconds() {
        let (mut hints, mut budget) = (PeerHints::default(), HintBudget::default());

        let believed = (100_000..120_000)
            .filter(|now| hints.unknown_index(LastSigns::default(), &mut budget, at(*now)))
            .count();

        assert_eq!(believed, 4);
    }

    #[test]
    fn all_peers_together_are_asked_fifty_times_a_second() {
        let mut budget = HintBudget::default();
        let mut believed = 0;

        for now in [at(100_000), at(100_999), at(101_000)] {
            for _ in 0..200 {
                let mut hints = PeerHints::default();
                let hint = hints.unknown_index(LastSigns::default(), &mut budget, now);
                believed += u32::from(hint);
            }
        }

        assert_eq!(believed, 100);
    }

    #[test]
    fn a_stale_timestamp_counts_only_if_the_peer_stays_silent() {
        let mut budget = HintBudget::default();

        for (opened, expected) in [(None, true), (Some(99_000), true), (Some(100_500), false)] {
            let mut hints = PeerHints::default();
            hints.stale_timestamp(LastSigns::default(), at(100_000));
            let last = LastSigns {
                opened: opened.map(at),
                confirmed: None,
            };
            assert!(!hints.handle_timeout(last, &mut budget, at(100_999)));
            let believed = hints.handle_timeout(last, &mut budget, at(101_000));
            assert_eq!(believed, expected, "opened at {opened:?}");
        }
    }

    #[test]
    fn a_stale_timestamp_after_a_confirmed_session_is_a_replay() {
        let mut hints = PeerHints::default();
        let last = LastSigns {
            opened: None,
            confirmed: Some(at(96_000)),
        };

        hints.stale_timestamp(last, at(100_000));

        assert_eq!(hints.deadline(), None);
    }
}
