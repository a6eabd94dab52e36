//! A daemon's status as the `status` of its Peer. Pure; nothing in it makes the conversion fail:
//! numbers that do not fit are cut to the nearest that does, texts to what the schema takes.

use cluster_api::{MAX_UNHEALTHY_NAMED, PeerStatus, PeerSummary, UnhealthyPeer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use node_identity::UnixTime;
use node_status::{GenerationStatus, NodeStatus, TunnelStatus};

use super::conditions::conditions;
use super::roots::time;

/// Longest texts, in bytes, as the schema has them.
const MAX_ENDPOINT: usize = 64;
const MAX_VERSION: usize = 64;
const MAX_NODE: usize = 300;
const MAX_REASON: usize = 512;

/// Most lanes, as the schema has it.
const MAX_LANES: i32 = 64;

/// The status at `now`. `before` are the conditions that were shown last: one that stays as it is
/// keeps its time.
pub(super) fn peer_status(status: &NodeStatus, before: &[Condition], now: UnixTime) -> PeerStatus {
    let up = status
        .peers
        .iter()
        .filter(|peer| peer.tunnel == TunnelStatus::Up);
    let (up, total) = (up.count(), status.peers.len());
    let received = sum(status.peers.iter().map(|peer| peer.received_bytes));
    let sent = sum(status.peers.iter().map(|peer| peer.sent_bytes));
    let oldest = status
        .peers
        .iter()
        .filter_map(|peer| peer.handshake_age_seconds)
        .max();
    let unhealthy: Vec<UnhealthyPeer> = unhealthy(status).collect();
    let ago = |age: u64| time(UnixTime(now.0.saturating_sub(age)));
    PeerStatus {
        summary: PeerSummary {
            tunnels: format!("{up}/{total}"),
            received: human(received),
            sent: human(sent),
        },
        tunnels_up: small(up),
        tunnels_total: small(total),
        oldest_handshake: oldest.and_then(ago),
        key_made: status.generation.as_ref().and_then(|key| made(key, now)),
        endpoint: endpoint(status),
        path_mtu: status.mtu.into(),
        received_bytes: large(received),
        sent_bytes: large(sent),
        dropped_packets: large(status.dropped_packets),
        lanes: i32::from(status.lanes).min(MAX_LANES),
        generation: status
            .generation
            .as_ref()
            .map_or(0, |key| large(key.number)),
        daemon_version: cut(&status.daemon_version, MAX_VERSION),
        unhealthy_total: small(unhealthy.len()),
        unhealthy_peers: unhealthy.into_iter().take(MAX_UNHEALTHY_NAMED).collect(),
        conditions: conditions(status, before, now),
    }
}

/// When the key was made: what the daemon says, never in the future.
fn made(key: &GenerationStatus, now: UnixTime) -> Option<Time> {
    let said = match key.made {
        0 => now.0.saturating_sub(key.age_seconds),
        made => made.min(now.0),
    };
    time(UnixTime(said))
}

fn unhealthy(status: &NodeStatus) -> impl Iterator<Item = UnhealthyPeer> {
    let without = status.peers.iter().filter(|peer| match peer.tunnel {
        TunnelStatus::Agreeing => true,
        TunnelStatus::Up | TunnelStatus::Idle => false,
    });
    let without = without.map(|peer| (&peer.node, "no tunnel: keys are being agreed"));
    let refused = status.refused.iter();
    let refused = refused.map(|entry| (&entry.node, entry.reason.as_str()));
    without.chain(refused).map(|(node, reason)| UnhealthyPeer {
        node: cut(node, MAX_NODE),
        reason: cut(reason, MAX_REASON),
    })
}

fn endpoint(status: &NodeStatus) -> String {
    let first = status.endpoints.first();
    let endpoint = first.map(|address| std::net::SocketAddr::from((*address, status.port)));
    endpoint.map_or_else(String::new, |endpoint| {
        cut(&endpoint.to_string(), MAX_ENDPOINT)
    })
}

fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

fn small(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn large(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// At most so many bytes of a text, whole characters of it.
pub(super) fn cut(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most))
        .unwrap_or_default()
        .to_owned()
}

/// Bytes as people read them, such as `1.2 GiB`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, "B");
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1_024, larger);
    }
    if unit == "B" {
        return format!("{bytes} B");
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}
