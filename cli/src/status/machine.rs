//! `sotto status` of this machine: what its daemon says.

use anyhow::Result;
use node_status::{GuardStatus, NodeStatus, TunnelStatus};

use crate::output::{Output, render};
use crate::table::{span, table, until};

/// Prints the node's own state.
///
/// # Errors
/// When it cannot be written as JSON or YAML.
pub(crate) fn print(status: &NodeStatus, output: Output) -> Result<String> {
    render(status, output, text)
}

fn text(status: &NodeStatus) -> String {
    let mut rows = identity_rows(status);
    rows.extend(network_rows(status));
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let mut text = table(&rows);
    if status.guard.plaintext_leaks > 0 {
        text.push_str("\n\nALARM: pod packets left this node in clear, look at the daemon's log.");
    }
    text
}

fn identity_rows(status: &NodeStatus) -> Vec<(&'static str, String)> {
    let state = if status.is_ready() {
        "ready".to_owned()
    } else {
        format!("waits for {}", status.waiting_for.join(", "))
    };
    let certificate = status.certificate.as_ref().map(|certificate| {
        format!(
            "serial {}, ends {}",
            certificate.serial,
            until(certificate.not_after)
        )
    });
    let generation = status.generation.as_ref().map(|generation| {
        format!(
            "{}, {} old",
            generation.number,
            span(generation.age_seconds)
        )
    });
    vec![
        ("Node", status.node.clone()),
        ("State", state),
        ("Identity", status.identity.clone()),
        (
            "Certificate",
            certificate.unwrap_or_else(|| "none yet".to_owned()),
        ),
        (
            "Generation",
            generation.unwrap_or_else(|| "none yet".to_owned()),
        ),
    ]
}

fn network_rows(status: &NodeStatus) -> Vec<(&'static str, String)> {
    let endpoints: Vec<String> = status.endpoints.iter().map(ToString::to_string).collect();
    let up = status
        .peers
        .iter()
        .filter(|peer| peer.tunnel == TunnelStatus::Up)
        .count();
    let daemon = format!(
        "{}, process {}, up {}",
        status.daemon_version,
        status.process_id,
        span(status.uptime_seconds)
    );
    vec![
        ("Pod ranges", status.pod_ranges.join(", ")),
        (
            "Endpoints",
            format!(
                "{}, UDP port {}, {} lanes",
                endpoints.join(", "),
                status.port,
                status.lanes
            ),
        ),
        ("MTU", status.mtu.to_string()),
        ("Guard", guard(&status.guard)),
        (
            "Tunnels",
            format!(
                "{up} up of {} peers, {} refused",
                status.peers.len(),
                status.refused.len()
            ),
        ),
        ("Daemon", daemon),
    ]
}

fn guard(guard: &GuardStatus) -> String {
    let state = if guard.stands {
        "stands"
    } else {
        "is broken, the daemon's log says why"
    };
    format!(
        "{state}, {} repairs, {} clear packets leaked, {} injected ones dropped",
        guard.repairs, guard.plaintext_leaks, guard.injected_dropped
    )
}
