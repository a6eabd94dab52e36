//! `sotto peers`: the nodes of the cluster, one node as a report, or what this machine's daemon
//! knows of the others.

pub(crate) mod machine;

use std::io::{Write, stderr};

use anyhow::{Result, bail};
use cluster_api::{Peer, PeerStatus};
use kube::ResourceExt;
use kube::api::ListParams;
use node_identity::{NodeName, UnixTime};
use serde::Serialize;

use crate::cluster::{Cluster, Listed};
use crate::health::{self, Living};
use crate::output::{Answer, Output, render};
use crate::printable::printable_lines;
use crate::table::table;
use crate::times::{age, date, now, unix};

/// How much of a reason a row has room for.
const REASON: usize = 80;
/// How many names a message about an unknown one offers.
const NAMES_OFFERED: usize = 20;

#[derive(Serialize)]
struct Peers<'a> {
    peers: &'a [Peer],
    malformed: &'a [(String, String)],
}

/// Prints all nodes, or a report on one.
///
/// # Errors
/// When the API server does not answer or refuses, or there is no such node.
pub(crate) async fn run(
    cluster: &Cluster,
    node: Option<&NodeName>,
    output: Output,
) -> Result<Answer> {
    let Some(node) = node else {
        let mut listed = cluster.list::<Peer>(ListParams::default()).await?;
        listed.objects.sort_by_key(ResourceExt::name_any);
        return Ok(Answer::fine(all(&listed, output, now())?));
    };
    let found = cluster.find_readable::<Peer>(None, node.as_str()).await?;
    let Some((peer, unread)) = found else {
        bail!("{}", unknown(cluster, node).await);
    };
    if let Some(reason) = &unread {
        let text = format!("The status of {node} is left out, it cannot be read: {reason}");
        writeln!(stderr(), "{}", printable_lines(&text))?;
    }
    let living = health::living(cluster).await;
    let text = render(&peer, output, |peer| {
        report(peer, unread.as_deref(), &living, now())
    })?;
    Ok(Answer::fine(text))
}

/// What to say of a node that there is not.
pub(crate) async fn unknown(cluster: &Cluster, node: &NodeName) -> String {
    let known = cluster.list::<Peer>(ListParams::default()).await;
    let mut names: Vec<String> = known
        .map(|listed| listed.objects.iter().map(ResourceExt::name_any).collect())
        .unwrap_or_default();
    if names.iter().any(|name| name == node.as_str()) {
        return format!(
            "look up node {node}: it has no identity now: is it revoked, or does it wait for a certificate? \
             See `sotto peers {node}`"
        );
    }
    names.sort();
    let more = names.len().saturating_sub(NAMES_OFFERED);
    names.truncate(NAMES_OFFERED);
    let offered = match (names.as_slice(), more) {
        ([], _) => "no node is known".to_owned(),
        (names, 0) => format!("known are {}", names.join(", ")),
        (names, more) => format!("known are {} and {more} more", names.join(", ")),
    };
    format!("look up node {node}: there is none of that name; {offered}")
}

fn all(listed: &Listed<Peer>, output: Output, now: UnixTime) -> Result<String> {
    let peers = Peers {
        peers: &listed.objects,
        malformed: &listed.malformed,
    };
    render(&peers, output, |_| {
        if listed.objects.is_empty() && listed.malformed.is_empty() {
            return "No node is known yet: do the daemons and the controller run?".to_owned();
        }
        let mut heading = vec![
            "NODE",
            "IDENTITY",
            "TUNNELS",
            "OLDEST HANDSHAKE",
            "KEY AGE",
            "ENDPOINT",
            "MTU",
            "RX",
            "TX",
            "DROPS",
            "AGE",
        ];
        if output == Output::Wide {
            heading.extend(["LANES", "GENERATION", "VERSION", "POD RANGES"]);
        }
        let mut rows = vec![heading.into_iter().map(str::to_owned).collect()];
        rows.extend(listed.objects.iter().map(|peer| row(peer, output, now)));
        for (name, reason) in &listed.malformed {
            let reason: String = reason.chars().take(REASON).collect();
            rows.push(vec![name.clone(), format!("malformed: {reason}")]);
        }
        table(&rows)
    })
}

fn row(peer: &Peer, output: Output, now: UnixTime) -> Vec<String> {
    let or_dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    let none = PeerStatus::default();
    let status = peer.status.as_ref().unwrap_or(&none);
    let number = |number: String| {
        if peer.status.is_some() {
            number
        } else {
            "-".to_owned()
        }
    };
    let mut cells = vec![
        peer.name_any(),
        format!("{:?}", peer.spec.identity),
        or_dash(&status.summary.tunnels),
        age(status.oldest_handshake.as_ref(), now),
        age(status.key_made.as_ref(), now),
        or_dash(&status.endpoint),
        number(status.path_mtu.to_string()),
        or_dash(&status.summary.received),
        or_dash(&status.summary.sent),
        number(status.dropped_packets.to_string()),
        age(peer.metadata.creation_timestamp.as_ref(), now),
    ];
    if output == Output::Wide {
        cells.extend([
            number(status.lanes.to_string()),
            number(status.generation.to_string()),
            or_dash(&status.daemon_version),
            or_dash(&peer.spec.pod_ranges.join(", ")),
        ]);
    }
    cells
}

fn report(peer: &Peer, unread: Option<&str>, living: &Living, now: UnixTime) -> String {
    let mut rows = vec![
        ("Node", peer.name_any()),
        ("UID", peer.spec.node_uid.clone()),
        ("Identity", format!("{:?}", peer.spec.identity)),
        ("Reason", peer.spec.reason.clone()),
        ("Pod ranges", peer.spec.pod_ranges.join(", ")),
        (
            "Certificate",
            match (peer.spec.certificate_serial, &peer.spec.not_after) {
                (Some(serial), Some(end)) => {
                    format!("serial {serial}, ends {}", date(unix(end), now))
                }
                (Some(serial), None) => format!("serial {serial}"),
                (None, _) => "none yet".to_owned(),
            },
        ),
        (
            "Well",
            match health::ailment(peer, living) {
                Some(_) if unread.is_some() => "its daemon's report cannot be read".to_owned(),
                Some(why) => format!("no: {why}"),
                None if living.lacks(peer) => "its Node is gone".to_owned(),
                None => "yes".to_owned(),
            },
        ),
    ];
    match &peer.status {
        Some(status) => rows.extend(status_rows(status, now)),
        None => rows.push((
            "Daemon",
            match unread {
                Some(reason) => format!("left out, it cannot be read: {reason}"),
                None => "has reported nothing yet".to_owned(),
            },
        )),
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let mut text = table(&rows);
    if let Some(status) = &peer.status {
        text.push_str(&details(status, now));
    }
    text
}

fn status_rows(status: &PeerStatus, now: UnixTime) -> Vec<(&'static str, String)> {
    vec![
        ("Endpoint", status.endpoint.clone()),
        (
            "Tunnels",
            format!("{} up of {}", status.tunnels_up, status.tunnels_total),
        ),
        (
            "Oldest handshake",
            age(status.oldest_handshake.as_ref(), now),
        ),
        (
            "Key",
            format!(
                "generation {}, {} old",
                status.generation,
                age(status.key_made.as_ref(), now)
            ),
        ),
        (
            "Traffic",
            format!(
                "{} received, {} sent, {} packets dropped",
                status.summary.received, status.summary.sent, status.dropped_packets
            ),
        ),
        (
            "Daemon",
            format!(
                "{}, {} lanes, MTU {}",
                status.daemon_version, status.lanes, status.path_mtu
            ),
        ),
    ]
}

fn details(status: &PeerStatus, now: UnixTime) -> String {
    let mut text = String::new();
    if !status.conditions.is_empty() {
        let heading = ["CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.extend(status.conditions.iter().map(|one| {
            vec![
                one.type_.clone(),
                one.status.clone(),
                age(Some(&one.last_transition_time), now),
                one.reason.clone(),
                one.message.clone(),
            ]
        }));
        text.push_str("\n\n");
        text.push_str(&table(&rows));
    }
    if !status.unhealthy_peers.is_empty() {
        let mut rows = vec![vec!["PEER NOT WELL".to_owned(), "REASON".to_owned()]];
        rows.extend(
            status
                .unhealthy_peers
                .iter()
                .map(|one| vec![one.node.clone(), one.reason.clone()]),
        );
        text.push_str("\n\n");
        text.push_str(&table(&rows));
    }
    text
}

#[cfg(test)]
mod tests;
