//! The verbs that a person types beside a running controller. They change the ledger by compare
//! and swap; the running controller notices.

use std::time::Duration;

use node_identity::{IkHash, NodeUid, UnixTime};

use crate::ledger::{Ledger, LedgerError, LedgerFile, NodeRecord, UnknownNode};
use crate::revocations;

/// Why a verb was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerbError {
    #[error("change the ledger")]
    Ledger(#[from] LedgerError),
    #[error("look up the node")]
    Unknown(#[from] UnknownNode),
    #[error("revoke node {name}: it is revoked already")]
    AlreadyRevoked { name: String },
    #[error(
        "approve node {name}: it has not asked for a new key; let it ask first, with a new token"
    )]
    NothingToApprove { name: String },
}

/// What `revoke` did.
pub(crate) struct Revoked {
    pub(crate) uid: NodeUid,
    /// When its last certificate ends; `None`: it only had a token.
    pub(crate) until: Option<UnixTime>,
}

/// Revokes a node and the tokens that could bring it back.
pub(crate) fn revoke(file: &LedgerFile, node: &str, now: UnixTime) -> Result<Revoked, VerbError> {
    file.update(|ledger| {
        let uid = ledger.find(node)?;
        if ledger
            .nodes
            .get(&uid)
            .is_some_and(|record| record.revoked_until.is_some())
        {
            return Err(VerbError::AlreadyRevoked {
                name: node.to_owned(),
            });
        }
        let until = revocations::revoke(ledger, &uid, now);
        Ok(Revoked { uid, until })
    })
}

/// Says how long peers that cannot be told still believe the node.
pub(crate) fn until_when(revoked: &Revoked, now: UnixTime) -> String {
    match revoked.until {
        Some(until) => format!(
            "a running controller publishes it at once; its last certificate ends in {}",
            rough(until.duration_since(now))
        ),
        None => "which had a token but no certificate".to_owned(),
    }
}

/// Lets a node have the key it last asked for.
pub(crate) fn approve(file: &LedgerFile, node: &str) -> Result<(NodeUid, IkHash), VerbError> {
    file.update(|ledger| {
        let uid = ledger.find(node)?;
        let record = ledger.nodes.get_mut(&uid);
        let key = record.and_then(|record| {
            record.approved = record.awaiting.or(record.approved);
            record.approved
        });
        key.map(|key| (uid, key))
            .ok_or_else(|| VerbError::NothingToApprove {
                name: node.to_owned(),
            })
    })
}

/// Draws the table of nodes.
pub(crate) fn nodes(ledger: &Ledger, now: UnixTime) -> String {
    let head = ["NAME", "UID", "STATE", "POD RANGES", "ADDRESSES", "KEY"].map(str::to_owned);
    let rows = ledger.nodes.iter().map(|(uid, node)| {
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        let key: String = node.key.hash().to_string().chars().take(19).collect();
        [
            node.name.to_string(),
            uid.to_string(),
            state(node, now),
            node.pod_ranges.to_string(),
            addresses.join(", "),
            key,
        ]
    });
    table(std::iter::once(head).chain(rows).collect())
}

/// Draws the table of tokens, which shows no secret.
pub(crate) fn tokens(ledger: &Ledger, now: UnixTime) -> String {
    let head = ["ID", "NODE", "UID", "STATE", "ADDRESSES"].map(str::to_owned);
    let rows = ledger.tokens.iter().map(|(id, token)| {
        let state = match (&token.used_by, token.expires.duration_since(now)) {
            (Some(_), _) => "used".to_owned(),
            (None, Duration::ZERO) => "expired".to_owned(),
            (None, left) => format!("unused, {} left", rough(left)),
        };
        let addresses: Vec<String> = token.addresses.iter().map(ToString::to_string).collect();
        let addresses = if addresses.is_empty() {
            "any".to_owned()
        } else {
            addresses.join(", ")
        };
        [
            id.to_string(),
            token.name.to_string(),
            token.uid.to_string(),
            state,
            addresses,
        ]
    });
    table(std::iter::once(head).chain(rows).collect())
}

fn state(node: &NodeRecord, now: UnixTime) -> String {
    if node.revoked_until.is_some() {
        "revoked".to_owned()
    } else if node.approved.is_some() {
        "new key approved".to_owned()
    } else if node.awaiting.is_some() {
        "awaits approval of a new key".to_owned()
    } else if now > node.not_after {
        "expired".to_owned()
    } else {
        format!("valid, {} left", rough(node.not_after.duration_since(now)))
    }
}

fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3600),
    }
}

fn table<const N: usize>(rows: Vec<[String; N]>) -> String {
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
