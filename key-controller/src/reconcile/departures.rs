//! Nodes that are to go: their Node object is gone, or an operator says so in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use cluster_store::{ClusterStore, Departed, Severity, StoreError};
use node_identity::{NodeName, NodeUid, UnixTime};
use service_log::chain;
use tracing::{error, info, warn};

use super::settling::Settled;
use super::{ALARM_EVERY, Controller, Found};
use crate::brake::{self, Absent, Braked};
use crate::ledger::Ledger;
use crate::revocations;

/// The least time between two questions which nodes are gone: whoever may wake the controller often
/// must not make it ask as often. A deleted Node is to be out within 15 seconds.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How many held nodes are named in a line of the log, or get an event.
const MOST_NAMED: usize = 16;

/// Most nodes that are asked for in one look (a guess: eight at a time, they take a second).
const MOST_ASKED: usize = 256;

/// When what was last done about departures.
#[derive(Debug, Default)]
pub(super) struct Departures {
    asked: Option<Instant>,
    /// When to ask again, if a step came too early for that: what woke it may be a Node that went.
    put_off: Option<Instant>,
    /// Who was asked for last.
    last: Option<NodeUid>,
    alarmed: Option<Instant>,
    /// When it was last said that the store could not tell of some.
    complained: Option<Instant>,
}

impl Departures {
    /// Which of the missing nodes are asked for: those after the last ones, round and round. Who is
    /// held was asked for, and is again when its certificates have ended.
    fn turn(
        &mut self,
        missing: &BTreeSet<NodeUid>,
        ledger: &Ledger,
        now: UnixTime,
    ) -> Vec<(NodeUid, NodeName)> {
        let from = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let after = missing.range((from, Bound::Unbounded));
        let up_to = self.last.map(|last| missing.range(..=last));
        let named = after.chain(up_to.into_iter().flatten()).filter_map(|uid| {
            let node = ledger.nodes.get(uid)?;
            let is_held = node.departed.is_some_and(|it| it.held) && node.is_live(now);
            (!is_held).then(|| (*uid, node.name.clone()))
        });
        let asked: Vec<(NodeUid, NodeName)> = named.take(MOST_ASKED).collect();
        self.last = asked.last().map(|(uid, _)| *uid);
        asked
    }
}

#[cfg(test)]
impl Departures {
    /// As if the time to ask again had come.
    pub(super) fn forget_when(&mut self) {
        self.asked = None;
    }
}

/// What was revoked in one look.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    wanted: BTreeSet<NodeUid>,
    braked: Braked,
}

impl<S: ClusterStore> Controller<S> {
    /// Which of the nodes are gone, where it is time to ask.
    pub(super) async fn gone(
        &mut self,
        ledger: &Ledger,
        now: UnixTime,
    ) -> Result<Option<Absent>, StoreError> {
        let due = self.departures.asked.map(|last| last + ASK_EVERY);
        self.departures.put_off = due.filter(|due| *due > Instant::now());
        if self.departures.put_off.is_some() {
            return Ok(None);
        }
        let is_named = |until| ledger.revocations.names(until);
        // Of the revoked ones those that only their Node keeps in the ledger.
        let of_interest = ledger
            .nodes
            .iter()
            .filter(|(_, node)| !node.revoked_until.is_some_and(is_named));
        let nodes: Vec<(NodeUid, NodeName)> = of_interest
            .map(|(uid, node)| (*uid, node.name.clone()))
            .collect();
        let missing = self.store.missing(&nodes).await?;
        let mut unasked: BTreeSet<NodeUid> = missing.into_iter().collect();
        let asked = self.departures.turn(&unasked, ledger, now);
        let Departed { gone, unknown } = self.ask_for(&asked).await?;
        for (uid, _) in &asked {
            unasked.remove(uid);
        }
        unasked.extend(unknown.iter().map(|(uid, _)| *uid));
        self.departures.asked = Some(Instant::now());
        let gone = gone.into_iter().collect();
        Ok(Some(Absent { gone, unasked }))
    }

    /// When the next step is due, whatever changes until then: the last one did not ask who is gone.
    pub(crate) fn asks_at(&self) -> Option<Instant> {
        self.departures.put_off
    }

    /// Which of these have a Node now. Of more than are asked for in one look the rest has none yet,
    /// and who could not be asked for has none either.
    pub(super) async fn alive(
        &mut self,
        nodes: BTreeMap<NodeUid, NodeName>,
    ) -> Result<BTreeSet<NodeUid>, StoreError> {
        let asked: Vec<(NodeUid, NodeName)> = nodes.into_iter().take(MOST_ASKED).collect();
        let Departed { gone, unknown } = self.ask_for(&asked).await?;
        let mut alive: BTreeSet<NodeUid> = asked.into_iter().map(|(uid, _)| uid).collect();
        for uid in gone.iter().chain(unknown.iter().map(|(uid, _)| uid)) {
            alive.remove(uid);
        }
        Ok(alive)
    }

    /// Asks for these nodes and says of whom the store could not tell.
    async fn ask_for(&mut self, nodes: &[(NodeUid, NodeName)]) -> Result<Departed, StoreError> {
        let departed = self.store.departed(nodes).await?;
        let unknown = &departed.unknown;
        let Some((uid, error)) = unknown.first() else {
            return Ok(departed);
        };
        self.tally
            .change(|counts| counts.unknown_nodes += unknown.len() as u64);
        let is_due = |last: Instant| last.elapsed() >= ALARM_EVERY;
        if self.departures.complained.is_none_or(is_due) {
            self.departures.complained = Some(Instant::now());
            warn!(
                nodes = unknown.len(), %uid, error = chain(error),
                "Not known whether these nodes are gone, the first is named; none of them is revoked"
            );
        }
        Ok(departed)
    }

    /// Says what was revoked, and what waits for a person.
    pub(super) async fn tell_revoked(&mut self, settled: &Settled<'_>) {
        let Settled {
            ledger, revoked, ..
        } = settled;
        let Braked {
            revoked: departed,
            newly_held,
        } = &revoked.braked;
        let name = |uid: &NodeUid| ledger.nodes.get(uid).map(|node| node.name.clone());
        let wanted = revoked
            .wanted
            .iter()
            .map(|uid| (uid, "by order of an operator"));
        let departed = departed.iter().map(|uid| (uid, "its Node was deleted"));
        for (uid, why) in wanted.chain(departed) {
            let Some(node) = name(uid) else {
                continue;
            };
            info!(%uid, %node, why, "Node revoked");
            self.tally.change(|counts| counts.revoked += 1);
            let message = format!("revoked for good: {why}");
            self.notify(&node, Severity::Warning, "NodeRevoked", message)
                .await;
        }
        for node in newly_held.iter().filter_map(name).take(MOST_NAMED) {
            let message = "its Node is gone, as are many others within ten minutes: not revoked \
                           until an operator does it by name"
                .to_owned();
            self.notify(&node, Severity::Warning, "RevocationsHeld", message)
                .await;
        }
        self.alarm_held(ledger);
    }

    /// Says that the ledger was older than what was signed from it.
    pub(super) async fn tell_recovered(&self, nodes: &[NodeName]) {
        if nodes.is_empty() {
            return;
        }
        let names = nodes.iter().map(NodeName::as_str).take(MOST_NAMED);
        error!(
            count = nodes.len(),
            nodes = names.collect::<Vec<_>>().join(", "),
            "The ledger was older than what its root has signed, and goes on from the certificates \
             that nodes show: was etcd restored? Nodes revoked since the backup are believed again \
             unless their Node is gone: `sotto revoke` them again"
        );
        for node in nodes.iter().take(MOST_NAMED) {
            let message =
                "the ledger did not know the node's newest certificate and goes on from it";
            self.notify(node, Severity::Warning, "LedgerOld", message.to_owned())
                .await;
        }
    }

    fn alarm_held(&mut self, ledger: &Ledger) {
        let held: Vec<&NodeUid> = brake::held(ledger).collect();
        self.tally.change(|counts| counts.held = held.len() as u64);
        let is_due = |last: Instant| last.elapsed() >= ALARM_EVERY;
        if held.is_empty() {
            if self.departures.alarmed.take().is_some() {
                info!("No revocation waits for an operator any more");
            }
        } else if self.departures.alarmed.is_none_or(is_due) {
            self.departures.alarmed = Some(Instant::now());
            let nodes = held.iter().filter_map(|uid| ledger.nodes.get(*uid));
            let named: Vec<&str> = nodes
                .map(|one| one.name.as_str())
                .take(MOST_NAMED)
                .collect();
            error!(
                held = held.len(),
                nodes = named.join(", "),
                "Many Nodes are gone at once and none of them is revoked: is the API server's \
                 state right? If they are to go, `sotto revoke` each by name"
            );
        }
    }
}

/// Forgets revoked nodes of which nothing is left: no certificate that lives, no Node, nothing published.
/// A live Node's daemon would ask again, and be granted what it asks.
pub(super) fn forget(ledger: &mut Ledger, found: &Found<'_>) {
    let Some(absent) = found.absent else {
        return;
    };
    let shown: BTreeSet<NodeUid> = found.published.nodes.iter().map(|node| node.uid).collect();
    revocations::forget_nodes(ledger, |uid| {
        !absent.gone.contains(uid) || shown.contains(uid)
    });
}

/// Revokes in the ledger whom an operator wants revoked, and those that are gone.
pub(super) fn revoke(ledger: &mut Ledger, found: &Found<'_>, now: UnixTime) -> Revoked {
    let named = found
        .published
        .nodes
        .iter()
        .filter(|node| node.revocation_wanted);
    // Two objects can claim one node.
    let wanted: BTreeSet<NodeUid> = named
        .filter(|node| {
            let record = ledger.nodes.get(&node.uid);
            record.is_some_and(|record| {
                record.revoked_until.is_none() && node.may_be(&node.uid, &record.name)
            })
        })
        .map(|node| node.uid)
        .collect();
    for uid in &wanted {
        revocations::revoke(ledger, uid, now);
    }
    let braked = found
        .absent
        .map(|absent| brake::revoke_departed(ledger, absent, now))
        .unwrap_or_default();
    Revoked { wanted, braked }
}
