//! The snapshot as Prometheus metrics (OpenMetrics text).

use std::collections::BTreeMap;
use std::fmt;

use loopback_http::openmetrics::{self, Metrics, Sample, lone};
use node_status::{PeerStatus, TunnelStatus};

use crate::telemetry::Telemetry;

/// Writes a snapshot.
///
/// # Errors
/// When a value cannot be written as text, which none of ours does.
pub(crate) fn render(telemetry: Telemetry) -> Result<String, fmt::Error> {
    openmetrics::render("sotto", move |metrics| {
        encode_node(metrics, &telemetry)?;
        encode_events(metrics, &telemetry)?;
        encode_guard(metrics, &telemetry)?;
        encode_peers(metrics, &telemetry.status.peers)
    })
}

fn encode_node(metrics: &mut Metrics<'_>, telemetry: &Telemetry) -> fmt::Result {
    let status = &telemetry.status;
    let not_after = status.certificate.as_ref().map_or(0, |it| it.not_after);
    let overdue = status.certificate.as_ref();
    let overdue = u64::from(overdue.is_some_and(|it| it.renewal_overdue));
    let key_age = status.generation.as_ref().map_or(0, |it| it.age_seconds);
    let refused = status.refused.len() as u64;
    let ready = u64::from(status.is_ready());
    let mut lone_gauge = |name, help, value| metrics.gauge(name, help, lone(value));
    lone_gauge("ready", "1 when this node serves pods", ready)?;
    lone_gauge(
        "certificate_not_after_seconds",
        "End of the certificate, Unix time",
        not_after,
    )?;
    lone_gauge(
        "certificate_renewal_overdue",
        "1 when half of the certificate's life is over and no other has come",
        overdue,
    )?;
    lone_gauge(
        "tunnel_key_age_seconds",
        "Age of the tunnel key in use",
        key_age,
    )?;
    lone_gauge(
        "peers_refused",
        "Nodes and entries of the store not believed",
        refused,
    )?;
    lone_gauge(
        "store_entries_unreadable",
        "Entries of the store that could not be read",
        telemetry.unreadable_entries,
    )?;
    lone_gauge(
        "store_peers_missing",
        "Known peers that the store lists no more; they are kept",
        telemetry.peers_missing,
    )?;
    lone_gauge(
        "revocation_lists_overdue",
        "Roots whose next revocation list is overdue",
        telemetry.revocations_overdue,
    )
}

fn encode_events(metrics: &mut Metrics<'_>, telemetry: &Telemetry) -> fmt::Result {
    let mut lone_counter = |name, help, value| metrics.counter(name, help, lone(value));
    lone_counter(
        "store_failures",
        "Failed operations on the store",
        telemetry.store_failures,
    )?;
    lone_counter(
        "transports_agreed",
        "Transports agreed with peers",
        telemetry.transports_agreed,
    )?;
    lone_counter(
        "agreements_failed",
        "Agreements given up",
        telemetry.agreements_failed,
    )?;
    let drops = telemetry.drops.iter();
    let drops = drops
        .map(|(reason, count)| (vec![("reason", *reason)], *count))
        .collect();
    metrics.counter("dropped_packets", "Packets dropped by the lanes", drops)?;
    let refused = labelled("reason", &telemetry.refused_datagrams);
    metrics.counter(
        "control_datagrams_refused",
        "Control messages refused",
        refused,
    )
}

fn encode_guard(metrics: &mut Metrics<'_>, telemetry: &Telemetry) -> fmt::Result {
    let guard = &telemetry.status.guard;
    metrics.counter(
        "plaintext_leak_packets",
        "Clear pod packets seen leaving on the underlay; must be 0",
        lone(guard.plaintext_leaks),
    )?;
    metrics.counter(
        "clear_injected_dropped",
        "Clear packets with pod addresses from outside, dropped",
        lone(guard.injected_dropped),
    )?;
    let repairs = telemetry.repairs.iter();
    let repairs = repairs
        .map(|(what, count)| (vec![("what", *what)], *count))
        .collect();
    metrics.counter("guard_repairs", "What the watchdog put back", repairs)?;
    metrics.gauge(
        "unwatched_interfaces",
        "Underlay interfaces on which a leak would not be seen; must be 0",
        lone(telemetry.unwatched_interfaces),
    )?;
    let drops = labelled("reason", &telemetry.guard_drops);
    metrics.counter(
        "guard_dropped_packets",
        "Packets dropped by the guard",
        drops,
    )
}

fn encode_peers(metrics: &mut Metrics<'_>, peers: &[PeerStatus]) -> fmt::Result {
    let each = |value: &dyn Fn(&PeerStatus) -> Option<u64>| -> Vec<Sample<'_>> {
        let samples = peers.iter();
        samples
            .filter_map(|peer| Some((vec![("peer", peer.node.as_str())], value(peer)?)))
            .collect()
    };
    let up = each(&|peer| Some(u64::from(peer.tunnel == TunnelStatus::Up)));
    metrics.gauge(
        "peer_tunnel_up",
        "1 when pod packets can travel to the peer",
        up,
    )?;
    let age = each(&|peer| peer.handshake_age_seconds);
    metrics.gauge(
        "peer_handshake_age_seconds",
        "Age of the transport in use",
        age,
    )?;
    let sent = each(&|peer| Some(peer.sent_bytes));
    metrics.counter(
        "peer_sent_bytes",
        "Bytes of pods' packets sent to the peer",
        sent,
    )?;
    let received = each(&|peer| Some(peer.received_bytes));
    metrics.counter(
        "peer_received_bytes",
        "Bytes of pods' packets received from the peer",
        received,
    )
}

fn labelled<'a>(label: &'static str, counts: &'a BTreeMap<String, u64>) -> Vec<Sample<'a>> {
    counts
        .iter()
        .map(|(name, count)| (vec![(label, name.as_str())], *count))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use node_status::{NodeStatus, PeerStatus, TunnelStatus};

    use super::render;
    use crate::telemetry::Telemetry;

    fn bob() -> PeerStatus {
        PeerStatus {
            node: "bob".to_owned(),
            identity: String::new(),
            not_after: 0,
            generation: 1,
            pod_ranges: Vec::new(),
            endpoints: Vec::new(),
            tunnel: TunnelStatus::Up,
            handshake_age_seconds: Some(7),
            suite: None,
            received_bytes: 11,
            sent_bytes: 13,
        }
    }

    #[test]
    fn every_number_of_the_snapshot_has_a_name() {
        let telemetry = Telemetry {
            status: NodeStatus {
                peers: vec![bob()],
                ..NodeStatus::default()
            },
            drops: BTreeMap::from([("no_key", 3)]),
            repairs: BTreeMap::from([("route", 2)]),
            unwatched_interfaces: 2,
            ..Telemetry::default()
        };

        let text = render(telemetry).unwrap();

        for line in [
            "sotto_ready 1",
            "sotto_dropped_packets_total{reason=\"no_key\"} 3",
            "sotto_guard_repairs_total{what=\"route\"} 2",
            "sotto_plaintext_leak_packets_total 0",
            "sotto_unwatched_interfaces 2",
            "sotto_clear_injected_dropped_total 0",
            "sotto_peer_handshake_age_seconds{peer=\"bob\"} 7",
            "sotto_peer_received_bytes_total{peer=\"bob\"} 11",
            "sotto_peer_sent_bytes_total{peer=\"bob\"} 13",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
    }
}
