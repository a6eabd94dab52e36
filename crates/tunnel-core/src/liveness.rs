//! Whether a peer is heard, judged from the lanes' counters once a second.
//!
//! Two questions per peer. Do we *owe* a sign of life: did data come, and nothing went since? Then
//! one empty packet goes; an empty packet is never answered by another. Is our data *unanswered*:
//! did data go, and nothing came since? Then a new transport is wanted: the peer may have restarted.

use std::time::Duration;

use crate::counters::Traffic;
use crate::moment::Moment;

/// How long data may wait for any packet back (WireGuard's Keepalive-Timeout).
const SHOW_LIFE_AFTER: Duration = Duration::from_secs(10);

/// How long our data may stay unanswered (WireGuard's Keepalive-Timeout and Rekey-Timeout).
const DOUBT_PEER_AFTER: Duration = Duration::from_secs(15);

/// What one peer's counters call for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signs {
    /// Send one empty packet.
    pub(crate) show_life: bool,
    /// Agree on a new transport.
    pub(crate) want: bool,
    /// Something was received since the last sample.
    pub(crate) received: bool,
}

/// The liveness of one peer.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    last: Option<Traffic>,
    owing_since: Option<Moment>,
    unanswered_since: Option<Moment>,
}

impl Liveness {
    /// Takes in the counters as they stand.
    pub(crate) fn sample(&mut self, traffic: Traffic, now: Moment) -> Signs {
        let last = self.last.replace(traffic).unwrap_or_default();
        let all_sent = traffic.all_sent > last.all_sent;
        let data_sent = traffic.data_sent > last.data_sent;
        let all_received = traffic.all_received > last.all_received;
        let data_received = traffic.data_received > last.data_received;

        if all_sent {
            self.owing_since = None;
        }
        if data_received {
            self.owing_since.get_or_insert(now);
        }
        if all_received {
            self.unanswered_since = None;
        } else if data_sent {
            self.unanswered_since.get_or_insert(now);
        }

        let want = is_due(self.unanswered_since, DOUBT_PEER_AFTER, now);
        if want {
            self.unanswered_since = Some(now);
        }
        let show_life = is_due(self.owing_since, SHOW_LIFE_AFTER, now);
        if show_life {
            self.owing_since = None;
        }
        Signs {
            show_life,
            want,
            received: all_received,
        }
    }

    /// Another transport is sent under: what was lost under the last one is no sign any more.
    pub(crate) fn send_choice_changed(&mut self) {
        self.unanswered_since = None;
    }
}

fn is_due(since: Option<Moment>, after: Duration, now: Moment) -> bool {
    since.is_some_and(|since| now.duration_since(since) >= after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    /// Samples each second from 1 to `until`; `traffic` gives the counters at a second.
    fn run(until: u64, traffic: impl Fn(u64) -> Traffic) -> (Vec<u64>, Vec<u64>) {
        let mut liveness = Liveness::default();
        let (mut shown, mut wanted) = (Vec::new(), Vec::new());
        for second in 1..=until {
            let signs = liveness.sample(traffic(second), at(second));
            shown.extend(signs.show_life.then_some(second));
            wanted.extend(signs.want.then_some(second));
        }
        (shown, wanted)
    }

    #[test]
    fn data_that_was_received_once_is_answered_by_one_empty_packet() {
        let received = Traffic {
            data_received: 5,
            all_received: 5,
            ..Traffic::default()
        };

        assert_eq!(run(60, |_| received), (vec![11], vec![]));
    }

    #[test]
    fn an_empty_packet_is_never_answered() {
        let empty = |second| Traffic {
            all_received: second,
            ..Traffic::default()
        };

        assert_eq!(run(60, empty), (vec![], vec![]));
    }

    #[test]
    fn unanswered_data_wants_a_transport_again_and_again() {
        let sent = |second| Traffic {
            data_sent: second,
            all_sent: second,
            ..Traffic::default()
        };

        assert_eq!(run(50, sent), (vec![], vec![16, 31, 46]));
    }

    #[test]
    fn one_empty_packet_in_ten_seconds_answers_a_one_way_flow() {
        let one_way = |second| Traffic {
            data_sent: second * 100,
            all_sent: second * 100,
            all_received: second / 10,
            ..Traffic::default()
        };

        assert_eq!(run(300, one_way), (vec![], vec![]));
    }

    #[test]
    fn a_change_of_the_send_choice_forgets_what_was_lost_before() {
        let sent = Traffic {
            data_sent: 1,
            all_sent: 1,
            ..Traffic::default()
        };
        let mut liveness = Liveness::default();
        liveness.sample(sent, at(1));

        liveness.send_choice_changed();

        for second in 2..100 {
            assert_eq!(liveness.sample(sent, at(second)), Signs::default());
        }
    }
}
