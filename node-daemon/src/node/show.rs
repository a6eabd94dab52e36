//! The snapshot that metrics, health checks and `sotto status` read.

use std::collections::BTreeMap;

use node_status::{
    CertificateStatus, GenerationStatus, GuardStatus, NodeStatus, PeerStatus, RefusedStatus,
    RootPin, STATUS_VERSION, TunnelStatus,
};
use tunnel_core::counters::Traffic;
use tunnel_core::plane::Suite;

use super::Node;
use crate::clock::Now;
use crate::credentials::Renewal;
use crate::installer::Supervised;
use crate::peers::{Claims, Standing};
use crate::telemetry::Telemetry;
use crate::watchdog::GuardState;

impl Node {
    /// Replaces the snapshot.
    pub(super) fn show(&mut self, now: Now) {
        let telemetry = Telemetry {
            status: self.status(now),
            drops: self.outputs.drops(),
            refused_datagrams: self
                .control
                .refusals()
                .iter()
                .map(|(reason, count)| (reason.to_string(), *count))
                .collect(),
            unreadable_entries: self.counts.unreadable_entries,
            store_failures: self.counts.store_failures,
            transports_agreed: self.counts.transports_agreed,
            agreements_failed: self.counts.agreements_failed,
            peers_missing: self.peers.missing().count() as u64,
            revocations_overdue: self.peers.overdue(now.wall).len() as u64,
            ..Telemetry::default()
        };
        let mut status = telemetry.status.clone();
        status.guard.plaintext_leaks = self.outputs.guard.plaintext_leaks();
        if self.pace.is_due(&status, now.moment) {
            let counters = self.outputs.guard.counters();
            let shown = telemetry.clone().with_guard(counters).status;
            self.outputs.people.show(shown);
        }
        self.outputs.show(telemetry);
    }

    fn status(&self, now: Now) -> NodeStatus {
        let certificate = self
            .credentials
            .certificate()
            .map(|certificate| CertificateStatus {
                serial: certificate.terms().serial.0,
                not_after: certificate.terms().not_after.0,
                renewal_overdue: self.credentials.renewal() == Renewal::Overdue,
            });
        let generation = self
            .credentials
            .generations()
            .first()
            .map(|newest| GenerationStatus {
                number: newest.statement().generation.0,
                age_seconds: now.wall.duration_since(newest.made).as_secs(),
                made: newest.made.0,
            });
        NodeStatus {
            version: STATUS_VERSION,
            node: self.config.node_name.to_string(),
            identity: self.credentials.identity.id.to_string(),
            daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
            process_id: std::process::id(),
            uptime_seconds: now.moment.duration_since(self.started.moment).as_secs(),
            waiting_for: self.waiting_for(now),
            certificate,
            generation,
            pod_ranges: self
                .credentials
                .pod_ranges()
                .iter()
                .map(ToString::to_string)
                .collect(),
            endpoints: self.config.endpoints.clone(),
            port: self.config.port,
            lanes: self.config.lanes,
            mtu: self.machine.tun_mtu,
            guard: GuardStatus {
                stands: self.guard_state == GuardState::Stands,
                ..GuardStatus::default()
            },
            peers: self.peer_statuses(now),
            refused: self.refused(),
            dropped_packets: self.outputs.drops().values().sum(),
            root_pin: self.root_pin,
        }
    }

    /// What keeps this node from serving pods, in the order in which it comes about.
    fn waiting_for(&self, now: Now) -> Vec<String> {
        let mut waits = Vec::new();
        let mut add = |waiting: bool, what: &str| {
            if waiting {
                waits.push(what.to_owned());
            }
        };
        let terms = self
            .credentials
            .certificate()
            .map(node_identity::NodeCertificate::terms);
        let root = match (&self.no_first_use, self.root_pin) {
            (Some(obstacle), _) => obstacle,
            (None, RootPin::Absent) => "a root certificate to trust on first use",
            (None, RootPin::Given | RootPin::FirstUse) => "a root certificate that matches pins",
        };
        add(!self.peers.has_root(), root);
        let certificate = |what: &str| match self.credentials.obstacle() {
            Some(obstacle) => format!("{what} ({obstacle})"),
            None => what.to_owned(),
        };
        add(terms.is_none(), &certificate("a node certificate"));
        add(
            terms.is_some_and(|terms| terms.not_after < now.wall),
            &certificate("a certificate in place of the ended one"),
        );
        let revoked = self.peers.own_standing() == Standing::Revoked;
        add(revoked, "an operator: this node is revoked");
        let lost = self.peers.own_claims() == Claims::Lost;
        add(lost, "an operator: other nodes have what this node claims");
        add(self.credentials.generations().is_empty(), "a tunnel key");
        add(
            self.guard_state != GuardState::Stands,
            "the guard, which could not be repaired",
        );
        add(self.node_state.is_none(), "node.json");
        let installer = self.outputs.installer.as_ref();
        if let Some(missing) = installer.and_then(Supervised::missing) {
            add(true, &missing);
        }
        waits
    }

    fn peer_statuses(&self, now: Now) -> Vec<PeerStatus> {
        let peers = self.control.peers().map(|peer| {
            let traffic = self.traffic.get(&peer.index).copied().unwrap_or_default();
            let believed = self.peers.believed(&peer.identity.uid);
            let tunnel = match (&peer.sending, peer.receiving) {
                (Some(_), _) => TunnelStatus::Up,
                (None, 1..) => TunnelStatus::Agreeing,
                (None, 0) => TunnelStatus::Idle,
            };
            PeerStatus {
                node: peer.identity.name.to_string(),
                identity: peer.identity.to_string(),
                not_after: peer.not_after.0,
                generation: peer.generation.generation,
                pod_ranges: believed
                    .map(|it| it.pod_ranges().iter().map(ToString::to_string).collect())
                    .unwrap_or_default(),
                endpoints: believed
                    .map(|it| it.statement().endpoints.clone())
                    .unwrap_or_default(),
                tunnel,
                handshake_age_seconds: peer
                    .sending
                    .as_ref()
                    .map(|it| now.moment.duration_since(it.born).as_secs()),
                suite: peer.sending.as_ref().map(|it| suite(it.suite).to_owned()),
                received_bytes: traffic.data_received_bytes,
                sent_bytes: traffic.data_sent_bytes,
            }
        });
        peers.collect()
    }

    fn refused(&self) -> Vec<RefusedStatus> {
        let entries = self.peers.refused().map(|(node, reason)| RefusedStatus {
            node: node.to_owned(),
            reason: reason.to_owned(),
        });
        let conflicts = self.peers.conflicts().iter().map(|conflict| RefusedStatus {
            node: "(conflict)".to_owned(),
            reason: conflict.to_string(),
        });
        entries.chain(conflicts).collect()
    }
}

fn suite(suite: Suite) -> &'static str {
    match suite {
        Suite::Aes256Gcm => "AES-256-GCM",
        Suite::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        #[cfg(feature = "plaintext-control")]
        Suite::Plaintext => "PLAINTEXT",
    }
}

/// Adds up what several lanes counted.
pub(super) fn add_up(
    lanes: impl Iterator<Item = Vec<(tunnel_core::plane::PeerIndex, Traffic)>>,
) -> BTreeMap<tunnel_core::plane::PeerIndex, Traffic> {
    let mut sum: BTreeMap<_, Traffic> = BTreeMap::new();
    for (peer, traffic) in lanes.flatten() {
        sum.entry(peer).or_default().add(traffic);
    }
    sum
}
