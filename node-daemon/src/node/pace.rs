//! When people are shown this node's status: soon when something changed that matters, seldom when only
//! counters did. The pace is by node and by the size of the cluster, so that all of it together costs
//! the API server no more in a large one.

use std::time::Duration;

use node_status::{NodeStatus, RootPin, TunnelStatus};
use tunnel_core::moment::Moment;

/// A change of state is shown at most so often.
const STATE_EVERY: Duration = Duration::from_secs(10);
/// Counters alone are shown so often in a small cluster.
const COUNTERS_EVERY: Duration = Duration::from_secs(60);
/// And so much later for each node: 20 writes a second in all.
const COUNTERS_PER_NODE: Duration = Duration::from_millis(50);
/// Refusals that are compared; the status that people see names as many.
const REFUSALS: usize = 16;

/// Decides when to show.
#[derive(Debug, Default)]
pub(super) struct Pace {
    shown: Option<(State, Moment)>,
}

/// What of a status is state, in contrast to counters and ages.
#[derive(Debug, PartialEq, Eq)]
struct State {
    waiting_for: Vec<String>,
    certificate: Option<(u64, bool)>,
    generation: Option<u64>,
    pod_ranges: Vec<String>,
    guard_stands: bool,
    leaks: bool,
    root_pin: RootPin,
    tunnels_up: usize,
    tunnels_wanted: usize,
    peers: usize,
    refused: usize,
    first_refused: Vec<(String, String)>,
}

impl Pace {
    /// Whether to show this status now; if so, it counts as shown. A node that starts is shown once it
    /// is ready, or late: a second write could follow only after a while.
    pub(super) fn is_due(&mut self, status: &NodeStatus, now: Moment) -> bool {
        let state = State::of(status);
        let start_is_over =
            || status.is_ready() || Duration::from_secs(status.uptime_seconds) >= STATE_EVERY;
        let due = self
            .shown
            .as_ref()
            .map_or_else(start_is_over, |(shown, at)| {
                let every = if *shown == state {
                    counters_every(status.peers.len() + 1)
                } else {
                    STATE_EVERY
                };
                now.duration_since(*at) >= every
            });
        if due {
            self.shown = Some((state, now));
        }
        due
    }
}

fn counters_every(nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    COUNTERS_EVERY.max(COUNTERS_PER_NODE.saturating_mul(nodes))
}

impl State {
    fn of(status: &NodeStatus) -> Self {
        let tunnels = |state| {
            let peers = status.peers.iter();
            peers.filter(|peer| peer.tunnel == state).count()
        };
        let refused = status.refused.iter().take(REFUSALS);
        Self {
            waiting_for: status.waiting_for.clone(),
            certificate: status
                .certificate
                .as_ref()
                .map(|it| (it.serial, it.renewal_overdue)),
            generation: status.generation.as_ref().map(|it| it.number),
            pod_ranges: status.pod_ranges.clone(),
            guard_stands: status.guard.stands,
            leaks: status.guard.plaintext_leaks > 0,
            root_pin: status.root_pin,
            tunnels_up: tunnels(TunnelStatus::Up),
            tunnels_wanted: tunnels(TunnelStatus::Agreeing),
            peers: status.peers.len(),
            refused: status.refused.len(),
            first_refused: refused
                .map(|it| (it.node.clone(), it.reason.clone()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use node_status::{PeerStatus, RefusedStatus};

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(1000 + seconds))
    }

    fn peer(number: usize, tunnel: TunnelStatus) -> PeerStatus {
        PeerStatus {
            node: format!("node-{number}"),
            identity: String::new(),
            not_after: 0,
            generation: 1,
            pod_ranges: Vec::new(),
            endpoints: Vec::new(),
            tunnel,
            handshake_age_seconds: None,
            suite: None,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// What is written in an hour in which each second the status is this one.
    fn writes(status: impl Fn(u64) -> NodeStatus) -> Vec<u64> {
        let mut pace = Pace::default();
        (0..3600)
            .filter(|second| pace.is_due(&status(*second), at(*second)))
            .collect()
    }

    #[test]
    fn cp18_peers_that_flap_each_second_cost_one_write_in_ten_seconds() {
        let flapping = |second: u64| {
            let tunnel = |number: usize| match (second + number as u64) % 3 {
                0 => TunnelStatus::Up,
                1 => TunnelStatus::Agreeing,
                _ => TunnelStatus::Idle,
            };
            NodeStatus {
                peers: (0..1 + usize::try_from(second).unwrap() % 7)
                    .map(|number| peer(number, tunnel(number)))
                    .collect(),
                refused: vec![RefusedStatus {
                    node: "mallory".to_owned(),
                    reason: second.to_string(),
                }],
                waiting_for: vec![format!("{second}")],
                uptime_seconds: second,
                ..NodeStatus::default()
            }
        };

        let written = writes(flapping);

        assert_eq!(written.len(), 359, "the first after 10 s");
        assert!(written.windows(2).all(|pair| pair[1] - pair[0] >= 10));
    }

    #[test]
    fn cp18_counters_alone_are_shown_by_the_size_of_the_cluster() {
        let counting = |nodes: usize| {
            move |second: u64| {
                let mut status = NodeStatus {
                    uptime_seconds: second,
                    dropped_packets: second,
                    peers: (1..nodes).map(|it| peer(it, TunnelStatus::Up)).collect(),
                    ..NodeStatus::default()
                };
                for peer in &mut status.peers {
                    peer.sent_bytes = second;
                    peer.handshake_age_seconds = Some(second);
                }
                status
            }
        };

        assert_eq!(writes(counting(3)).len(), 60);
        assert_eq!(counters_every(5000), Duration::from_secs(250));
        assert_eq!(writes(counting(2400)).len(), 30);
    }

    #[test]
    fn a_change_after_a_quiet_time_is_shown_at_once() {
        let mut pace = Pace::default();
        let quiet = NodeStatus::default();
        let mut leaking = quiet.clone();
        leaking.guard.plaintext_leaks = 1;

        assert!(pace.is_due(&quiet, at(0)));
        assert!(!pace.is_due(&quiet, at(15)));
        assert!(pace.is_due(&leaking, at(16)));
        assert!(!pace.is_due(&quiet, at(25)), "and back not before its time");
        assert!(pace.is_due(&quiet, at(26)));
    }
}
