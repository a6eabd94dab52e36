//! Which nodes whose Node object is gone are revoked, and when that needs a person. Pure.
//!
//! An empty list or an etcd restored from yesterday must not revoke a cluster for good: when more
//! than a tenth of the nodes, and more than three, go within ten minutes, those that are not revoked
//! yet are held. What is held is noted in the ledger, so that the next leader knows.

use std::collections::BTreeSet;
use std::time::Duration;

use node_identity::{NodeUid, UnixTime};

use crate::ledger::{Departure, Ledger};
use crate::revocations;

/// The time in which departures are counted.
const WINDOW: Duration = Duration::from_secs(600);

/// So many are no accident of the API's.
const MOST: usize = 3;

/// Every tenth of the nodes.
const SHARE: usize = 10;

/// What is known of nodes that the store does not list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Absent {
    /// Asked for, and gone.
    pub(crate) gone: BTreeSet<NodeUid>,
    /// Not asked for in this look, or without an answer.
    pub(crate) unasked: BTreeSet<NodeUid>,
}

/// What was done about the nodes that are gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Braked {
    /// Revoked in this ledger.
    pub(crate) revoked: Vec<NodeUid>,
    /// Held since this moment.
    pub(crate) newly_held: Vec<NodeUid>,
}

/// Notes which nodes are gone, and revokes them, unless there are too many. Those that are only
/// missing count as well: they may be asked for in the next look.
pub(crate) fn revoke_departed(ledger: &mut Ledger, absent: &Absent, now: UnixTime) -> Braked {
    let believed = ledger
        .nodes
        .iter_mut()
        .filter(|(_, node)| node.revoked_until.is_none());
    let mut only_missing = 0;
    for (uid, node) in believed {
        let is_missing = absent.unasked.contains(uid);
        node.departed = match (absent.gone.contains(uid), node.departed) {
            (true, None) => Some(Departure {
                at: now,
                held: false,
            }),
            (true, noted) => noted,
            (false, noted) if is_missing => {
                only_missing += usize::from(noted.is_none());
                noted
            }
            (false, _) => None,
        };
    }
    let is_recent = |departure: &Departure| departure.at.plus(WINDOW) > now;
    let recent = ledger.nodes.values().filter_map(|node| node.departed);
    let recent = recent.filter(is_recent).count() + only_missing;
    let believed = ledger
        .nodes
        .values()
        .filter(|node| node.revoked_until.is_none());
    let revoked_of_late = ledger.nodes.values().filter(|node| {
        node.revoked_until.is_some() && node.departed.as_ref().is_some_and(is_recent)
    });
    let all = believed.count() + revoked_of_late.count();
    let brakes = recent > MOST && recent * SHARE > all;
    let mut braked = Braked::default();
    for (uid, node) in &mut ledger.nodes {
        let (is_believed, is_unrevoked) = (node.is_live(now), node.revoked_until.is_none());
        match &mut node.departed {
            // Nobody believes its certificates any more: only its name and ranges are at stake.
            Some(_) if !is_believed && absent.gone.contains(uid) && is_unrevoked => {
                braked.revoked.push(*uid);
            }
            Some(departure) if is_unrevoked && !departure.held => {
                if brakes {
                    departure.held = true;
                    braked.newly_held.push(*uid);
                } else {
                    braked.revoked.push(*uid);
                }
            }
            Some(_) | None => {}
        }
    }
    for uid in &braked.revoked {
        revocations::revoke(ledger, uid, now);
    }
    braked
}

/// The nodes that wait for an operator.
pub(crate) fn held(ledger: &Ledger) -> impl Iterator<Item = &NodeUid> {
    let is_held = |departure: Departure| departure.held;
    let nodes = ledger.nodes.iter();
    let held = nodes.filter(move |(_, node)| {
        node.revoked_until.is_none() && node.departed.is_some_and(is_held)
    });
    held.map(|(uid, _)| uid)
}

#[cfg(test)]
mod tests;
