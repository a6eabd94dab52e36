//! The status of a daemon that knows so many others.

use node_status::{
    CertificateStatus, GenerationStatus, GuardStatus, NodeStatus, PeerStatus, RefusedStatus,
    RootPin, STATUS_VERSION, TunnelStatus,
};

use super::judge::now;
use super::seats::Seat;

/// How the tunnels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tunnels {
    /// All as they should be.
    Up,
    /// None stands, and as many nodes again are refused.
    Broken,
}

/// A status with tunnels to so many peers.
pub(super) fn status(seat: &Seat, peers: usize, tunnels: Tunnels) -> NodeStatus {
    let now = now().0;
    let refused = match tunnels {
        Tunnels::Up => 0,
        Tunnels::Broken => peers,
    };
    NodeStatus {
        version: STATUS_VERSION,
        node: seat.id.name.to_string(),
        identity: seat.id.to_string(),
        daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
        certificate: Some(CertificateStatus {
            serial: now,
            not_after: now + 72 * 3600,
            renewal_overdue: false,
        }),
        generation: Some(GenerationStatus {
            number: now,
            age_seconds: 0,
            made: now,
        }),
        pod_ranges: seat.pod_ranges.clone(),
        endpoints: seat.addresses.clone(),
        port: 51820,
        lanes: 1,
        mtu: 1420,
        guard: GuardStatus {
            stands: true,
            ..GuardStatus::default()
        },
        peers: (0..peers)
            .map(|number| peer(number, tunnels, now))
            .collect(),
        refused: (0..refused).map(refusal).collect(),
        dropped_packets: now % 1000,
        root_pin: RootPin::Given,
        ..NodeStatus::default()
    }
}

fn peer(number: usize, tunnels: Tunnels, now: u64) -> PeerStatus {
    PeerStatus {
        node: format!("node-{number:03}"),
        identity: String::new(),
        not_after: now,
        generation: now,
        pod_ranges: Vec::new(),
        endpoints: Vec::new(),
        tunnel: match tunnels {
            Tunnels::Up => TunnelStatus::Up,
            Tunnels::Broken => TunnelStatus::Agreeing,
        },
        handshake_age_seconds: Some(now % 120),
        suite: None,
        received_bytes: now,
        sent_bytes: now,
    }
}

fn refusal(number: usize) -> RefusedStatus {
    RefusedStatus {
        node: format!("node-{number:03}"),
        reason: "check floor: certificate 1, generation 1 is superseded".to_owned(),
    }
}
