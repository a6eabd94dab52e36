//! `sotto peers` of this machine: the other nodes, as its daemon sees them.

use anyhow::Result;
use node_status::{NodeStatus, PeerStatus, TunnelStatus};
use serde::Serialize;

use crate::output::{Output, render};
use crate::table::{bytes, span, table, until};

#[derive(Serialize)]
struct Peers<'a> {
    peers: &'a [PeerStatus],
    refused: &'a [node_status::RefusedStatus],
}

/// Prints who is believed, with tunnels and traffic, and who is not, with the reason.
///
/// # Errors
/// When it cannot be written as JSON or YAML.
pub(crate) fn print(status: &NodeStatus, output: Output) -> Result<String> {
    let peers = Peers {
        peers: &status.peers,
        refused: &status.refused,
    };
    render(&peers, output, |_| text(status))
}

fn text(status: &NodeStatus) -> String {
    if status.peers.is_empty() && status.refused.is_empty() {
        return "No other node is known yet.".to_owned();
    }
    let heading = [
        "NODE",
        "IDENTITY",
        "TUNNEL",
        "HANDSHAKE",
        "SUITE",
        "ENDPOINT",
        "RX",
        "TX",
        "POD RANGES",
        "CERTIFICATE ENDS",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(status.peers.iter().map(row));
    let mut text = table(&rows);
    if !status.refused.is_empty() {
        let mut rows = vec![vec!["REFUSED".to_owned(), "REASON".to_owned()]];
        rows.extend(
            status
                .refused
                .iter()
                .map(|refused| vec![refused.node.clone(), refused.reason.clone()]),
        );
        text.push_str("\n\n");
        text.push_str(&table(&rows));
    }
    text
}

fn row(peer: &PeerStatus) -> Vec<String> {
    let tunnel = match peer.tunnel {
        TunnelStatus::Up => "up",
        TunnelStatus::Agreeing => "agreeing",
        TunnelStatus::Idle => "idle",
    };
    vec![
        peer.node.clone(),
        "Verified".to_owned(),
        tunnel.to_owned(),
        peer.handshake_age_seconds
            .map_or_else(|| "-".to_owned(), |age| format!("{} ago", span(age))),
        peer.suite.clone().unwrap_or_else(|| "-".to_owned()),
        peer.endpoints
            .first()
            .map_or_else(|| "-".to_owned(), ToString::to_string),
        bytes(peer.received_bytes),
        bytes(peer.sent_bytes),
        peer.pod_ranges.join(", "),
        until(peer.not_after),
    ]
}

#[cfg(test)]
mod tests {
    use node_status::{NodeStatus, PeerStatus, RefusedStatus, TunnelStatus};

    use super::print;
    use crate::output::Output;

    fn status() -> NodeStatus {
        let bob = PeerStatus {
            node: "bob".to_owned(),
            identity: "spiffe://sotto.test/node/8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11/bob"
                .to_owned(),
            not_after: 0,
            generation: 1,
            pod_ranges: vec!["10.244.2.0/24".to_owned()],
            endpoints: vec!["198.51.100.2".parse().unwrap()],
            tunnel: TunnelStatus::Up,
            handshake_age_seconds: Some(61),
            suite: Some("AES-256-GCM".to_owned()),
            received_bytes: 1400,
            sent_bytes: 12,
        };
        let mallory = RefusedStatus {
            node: "mallory".to_owned(),
            reason: "no pinned root signed it".to_owned(),
        };
        NodeStatus {
            peers: vec![bob],
            refused: vec![mallory],
            ..NodeStatus::default()
        }
    }

    #[test]
    fn a_table_names_peers_and_why_others_are_refused() {
        let text = print(&status(), Output::Table).unwrap();

        let bob = text.lines().nth(1).unwrap();
        assert!(
            [
                "bob",
                "up",
                "1m 1s ago",
                "AES-256-GCM",
                "198.51.100.2",
                "1.4 kB",
                "12 B"
            ]
            .iter()
            .all(|word| bob.contains(word)),
            "{bob}"
        );
        assert!(text.contains("mallory  no pinned root signed it"), "{text}");
    }

    #[test]
    fn json_holds_the_same() {
        let json: serde_json::Value =
            serde_json::from_str(&print(&status(), Output::Json).unwrap()).unwrap();

        assert_eq!(json["peers"][0]["tunnel"], "up");
        assert_eq!(json["refused"][0]["node"], "mallory");
    }
}
