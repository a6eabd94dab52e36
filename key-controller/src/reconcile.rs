//! Brings ledger and store together. Decisions are made elsewhere; here they are carried out, in
//! the one order that is safe: the ledger first, then what is published, then the answers.

mod answers;
mod departures;
mod publishing;
mod settling;
mod views;
mod writes;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_store::{
    ClusterStore, NodeView, Published, RefusedEntry, RequestId, Requests, StoreError, StoredRequest,
};
use node_identity::{NodeCertificate, NodeUid, RevocationList, UnixTime};
use rand_core::CryptoRng;
use service_log::Once;
use tracing::{error, info, warn};

use crate::brake::Absent;
use crate::config::Settings;
use crate::decide::Decision;
use crate::evidence::{self, Evidence, Parsed};
use crate::ledger::{Ledger, LedgerError, LedgerHome, NodeRecord};
use crate::naming::Naming;
use crate::signer::Signer;
use crate::tally::Tally;
use departures::Departures;
use settling::Settled;
use writes::Refusing;

/// How long an answer stays for the node to read.
const KEEP_ANSWERS: Duration = Duration::from_secs(3600);

/// How often it is said that nothing is granted (a guess).
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// A controller at work on one ledger and one store.
pub(crate) struct Controller<S> {
    store: S,
    home: LedgerHome,
    settings: Settings,
    signer: Signer,
    tally: Tally,
    signed: HashMap<NodeUid, (NodeRecord, Vec<u8>)>,
    named_refusals: Naming,
    reported: BTreeSet<RefusedEntry>,
    named_entries: Naming,
    answered: HashMap<RequestId, Instant>,
    alarmed: Option<Instant>,
    departures: Departures,
    parsed: Parsed,
    withdrawn: HashSet<NodeUid>,
    refusing: Refusing,
    named_objects: Once,
}

/// Whether a step changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It wrote something.
    Changed,
    /// It found nothing to do.
    Idle,
}

/// Whether requests may be granted; lists are signed and revocations made all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    /// They may.
    Allowed,
    /// They wait: what keeps others from asking in a node's name is not there.
    Withheld,
}

/// What one look at the store found.
struct Found<'a> {
    open: &'a [&'a StoredRequest],
    published: &'a Published,
    certificates: &'a [Arc<NodeCertificate>],
    signed: Option<&'a RevocationList>,
    absent: Option<&'a Absent>,
}

/// Why a step was not finished. The next one starts over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("keep the ledger")]
    Ledger(#[from] LedgerError),
    #[error("reach the store")]
    Store(#[from] StoreError),
}

impl StepError {
    /// Whether trying again can help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Store(_) => true,
            Self::Ledger(error) => error.may_pass(),
        }
    }
}

/// What becomes of one request.
struct Decided<'a> {
    request: &'a StoredRequest,
    decision: Decision,
}

impl Decided<'_> {
    /// The node whose certificate the answer speaks of.
    fn granted(&self) -> Option<&NodeUid> {
        match &self.decision {
            Decision::Issue(grant) => Some(&grant.uid),
            Decision::Again(uid) => Some(uid),
            Decision::Pending(_) | Decision::AwaitApproval { .. } | Decision::Refused(_) => None,
        }
    }
}

impl<S: ClusterStore> Controller<S> {
    pub(crate) fn new(
        store: S,
        home: LedgerHome,
        settings: Settings,
        signer: Signer,
        tally: Tally,
    ) -> Self {
        Self {
            store,
            home,
            settings,
            signer,
            tally,
            signed: HashMap::new(),
            named_refusals: Naming::default(),
            reported: BTreeSet::new(),
            named_entries: Naming::default(),
            answered: HashMap::new(),
            alarmed: None,
            departures: Departures::default(),
            parsed: Parsed::default(),
            withdrawn: HashSet::new(),
            refusing: Refusing::default(),
            named_objects: Once::default(),
        }
    }

    /// Looks at everything once: requests, the list that may be due, what is published.
    pub(crate) async fn step(
        &mut self,
        signing: Signing,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Result<Outcome, StepError> {
        // The ledger is read after what is published, so it is at least as new as anything published
        // from it, and so is one that is read anew after a conflict. Nothing is written on the word of
        // one that is old by then: the write fails, and who is gone is judged against the newer one.
        let published = self.store.published().await?;
        let ledger = self.ledger().await?;
        let absent = self.gone(&ledger, now).await?;
        // Last, as what is said of Pods and Nodes is to be young. What cannot be granted is not asked.
        let found = match signing {
            Signing::Allowed => self.store.requests().await?,
            Signing::Withheld => Requests::default(),
        };
        let is_waiting = |request: &&StoredRequest| request.state.is_open();
        let open: Vec<&StoredRequest> = found.requests.iter().filter(is_waiting).collect();
        let signed = evidence::own_list(&published, self.signer.root());
        let signed = signed.as_ref();
        let look = Found {
            open: &open,
            published: &published,
            certificates: &self.parsed.certificates(&published),
            signed,
            absent: absent.as_ref(),
        };
        let settled = self.settle(ledger, &look, now, random).await?;
        self.tell(&settled).await;
        let publishing = self.publish(&settled, &published, signed, now).await?;
        self.report(found.refused.iter().chain(&published.refused));
        let (answers, ledger) = (&settled.answers, &settled.ledger);
        let unpublished = &publishing.unpublished;
        let answering = self.answer_all(answers, ledger, unpublished).await?;
        self.show(&views::views(ledger, answers, now)).await?;
        if signing == Signing::Allowed {
            self.sweep(&found.requests).await?;
        }
        if let Some(error) = settled.full {
            return Err(error.into());
        }
        if let Some(error) = publishing.failed.or(answering.failed) {
            return Err(error.into());
        }
        let has_written = settled.has_written || publishing.has_written || answering.has_written;
        Ok(if has_written {
            Outcome::Changed
        } else {
            Outcome::Idle
        })
    }

    /// Says what was decided and is in the ledger.
    async fn tell(&mut self, settled: &Settled<'_>) {
        self.alarm(&settled.evidence);
        if settled.waiting > 0 {
            let requests = settled.waiting;
            warn!(
                requests,
                "Pods and Nodes were asked for too long ago, these requests wait for the next look"
            );
        }
        self.tell_recovered(&settled.recovered).await;
        self.tally.change(|counts| {
            counts.ledger_version = settled.ledger.version;
            counts.ledger_nodes = settled.ledger.nodes.len() as u64;
            counts.ledger_bytes = self.home.bytes();
        });
        self.tell_revoked(settled).await;
        self.tell_grants(&settled.answers).await;
    }

    /// Shows people each node, and says how many refusals went unnamed.
    async fn show(&mut self, views: &[NodeView]) -> Result<(), StoreError> {
        if let Some(more) = self.named_refusals.rest(Instant::now()) {
            let totals = self.tally.read().refused;
            warn!(more, ?totals, "More enrolments refused than are named");
        }
        match self.store.show_nodes(views).await {
            Err(error) if error.is_of_one_object() => self.complain([&error]),
            shown => shown?,
        }
        Ok(())
    }

    /// Reads the ledger, which must be this root's: a leader that still has the old one ends.
    async fn ledger(&self) -> Result<Ledger, LedgerError> {
        let ledger = self.home.read().await?;
        let own = self.signer.root().pin();
        if ledger.pin == own {
            return Ok(ledger);
        }
        let (found, own) = (Box::new(ledger.pin), Box::new(own));
        Err(LedgerError::OtherRoot { found, own })
    }

    /// Says that nothing is granted, and what is to be done.
    fn alarm(&mut self, evidence: &Evidence) {
        self.tally
            .change(|counts| counts.ledger_old = !evidence.is_empty());
        if evidence.is_empty() {
            if self.alarmed.take().is_some() {
                info!("Nothing speaks against the ledger, requests are decided again");
            }
            return;
        }
        let due = |last: Instant| last.elapsed() >= ALARM_EVERY;
        if self.alarmed.is_none_or(due) {
            self.alarmed = Some(Instant::now());
            error!(
                %evidence,
                "Nothing is granted: the ledger is older than what its root has signed; stop the \
                 controller and put back a newer backup of it; without one, revoke what is listed \
                 as revoked again, and wait until the certificates have ended"
            );
        }
    }

    /// Names each bad entry once, and again when it comes back after it was gone.
    fn report<'a>(&mut self, refused: impl Iterator<Item = &'a RefusedEntry>) {
        let now = Instant::now();
        let found: BTreeSet<RefusedEntry> = refused.cloned().collect();
        for entry in found.difference(&self.reported) {
            if self.named_entries.admits_one(now) {
                warn!(name = %entry.name, reason = %entry.reason, "Entry of the store passed over");
            }
        }
        if let Some(more) = self.named_entries.rest(now) {
            warn!(more, "More entries of the store passed over than are named");
        }
        self.reported = found;
    }
}

#[cfg(test)]
mod tests;
