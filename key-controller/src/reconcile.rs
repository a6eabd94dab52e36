//! Brings ledger and store together. Decisions are made elsewhere; here they are carried out, in
//! the one order that is safe: the ledger first, then what is published, then the answers.

mod answers;
mod departures;
mod publishing;
mod views;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_store::{
    ClusterStore, Published, RefusedEntry, RequestId, RequestState, Requester, Requests,
    StoreError, StoredRequest,
};
use node_identity::{
    NodeCertificate, NodeCertificateTerms, NodeName, NodeUid, RevocationList, UnixTime,
};
use rand_core::CryptoRng;
use tracing::{debug, error, info, warn};

use crate::brake::Absent;
use crate::config::{Home, Settings};
use crate::decide::{Decision, decide};
use crate::evidence::{self, Evidence, Parsed};
use crate::ledger::{Ledger, LedgerError, LedgerHome, NodeRecord};
use crate::naming::Naming;
use crate::recover::{take_over, take_revocations};
use crate::revocations;
use crate::signer::Signer;
use crate::tally::Tally;
use departures::{Departures, Revoked};

/// How long an answer stays for the node to read.
const KEEP_ANSWERS: Duration = Duration::from_secs(3600);

/// How often a step decides again because somebody else wrote the ledger: a person's verbs do it
/// once or twice (a guess).
const MOST_TRIES: usize = 10;

/// How old what is said of Pods and Nodes may be when it is decided on: the longest look of the store
/// and the questions after it (a guess).
const OLDEST_STAMPS: Duration = Duration::from_secs(30);

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
}

/// Whether requests may be granted; lists are signed and revocations made all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    /// They may.
    Allowed,
    /// They wait: what keeps others from asking in a node's name is not there.
    Withheld,
}

/// What one look at the requests came to.
struct Settled<'a> {
    ledger: Ledger,
    answers: Vec<Decided<'a>>,
    /// How many requests wait for the next look, for what is known of their Pods and Nodes is old.
    waiting: usize,
    evidence: Evidence,
    revoked: Revoked,
    /// Nodes whose certificate is newer than the ledger was.
    recovered: Vec<NodeName>,
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
        }
    }

    /// Looks at everything once: requests, the list that may be due, what is published.
    pub(crate) async fn step(
        &mut self,
        signing: Signing,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Result<(), StepError> {
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
        let is_waiting = |request: &&StoredRequest| is_open(request.state);
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
        self.tell_revoked(&settled).await;
        let unpublished = self.publish(&settled, &published, signed, now).await?;
        self.report(found.refused.iter().chain(&published.refused));
        let views = views::views(&settled.ledger, &settled.answers, now);
        let Settled {
            answers, ledger, ..
        } = settled;
        let failed = self.answer_all(answers, &ledger, &unpublished).await?;
        let failed = unpublished.into_error().or(failed);
        self.store.show_nodes(&views).await?;
        if let Some(more) = self.named_refusals.rest(Instant::now()) {
            let totals = self.tally.read().refused;
            warn!(more, ?totals, "More enrolments refused than are named");
        }
        if signing == Signing::Allowed {
            self.sweep(&found.requests).await?;
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
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

    /// Decides on one copy of the ledger and writes that, or decides again on what somebody else
    /// wrote in between.
    async fn settle<'a>(
        &mut self,
        mut before: Ledger,
        found: &Found<'a>,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Result<Settled<'a>, StepError> {
        let mut alive = BTreeSet::new();
        for _ in 0..MOST_TRIES {
            let mut settled = self.judge(&before, found, &alive, now, random);
            let strangers = settled.evidence.strangers(&settled.ledger);
            if !strangers.is_empty() && matches!(self.settings.home, Home::Kubernetes(_)) {
                alive.extend(self.alive(strangers).await?);
                settled = self.judge(&before, found, &alive, now, random);
            }
            if settled.ledger == before {
                return Ok(settled);
            }
            match self.home.replace(settled.ledger.clone()).await {
                Ok(ledger) => {
                    settled.ledger = ledger;
                    return Ok(settled);
                }
                Err(LedgerError::Conflict { .. }) => {
                    debug!("Ledger was changed by another process, deciding again");
                    before = self.ledger().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let expected = before.version;
        Err(LedgerError::Conflict { expected }.into())
    }

    /// What becomes of a copy of the ledger. One that is proven old decides nothing, after what its
    /// proof says was taken over where that may be done.
    fn judge<'a>(
        &self,
        before: &Ledger,
        found: &Found<'a>,
        alive: &BTreeSet<NodeUid>,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Settled<'a> {
        let mut ledger = before.clone();
        let root = self.signer.root();
        let against = |ledger: &Ledger| {
            Evidence::against(ledger, found.certificates, found.signed, root, now)
        };
        let mut evidence = against(before);
        let mut recovered = Vec::new();
        if matches!(self.settings.home, Home::Kubernetes(_)) && !evidence.is_empty() {
            if let Some(signed) = found.signed {
                take_revocations(&mut ledger, signed);
            }
            let certificates = evidence.certificates().iter();
            // The root may sign for another cluster too.
            let is_here = |ledger: &Ledger, terms: &NodeCertificateTerms| {
                let uid = &terms.identity.uid;
                ledger.nodes.contains_key(uid)
                    || ledger.revoked_strangers.contains_key(uid)
                    || alive.contains(uid)
            };
            let taken = certificates
                .filter(|terms| is_here(&ledger, terms) && take_over(&mut ledger, terms, now));
            recovered = taken.map(|terms| terms.identity.name.clone()).collect();
            evidence = against(&ledger);
        }
        let revoked = departures::revoke(&mut ledger, found, now);
        let open = if evidence.is_empty() { found.open } else { &[] };
        let moment = Instant::now();
        let young = open.iter().filter(|one| is_young(&one.requester, moment));
        let mut answers = Vec::with_capacity(open.len());
        for request in young {
            let (asked, requester) = (&request.request, &request.requester);
            let decision = decide(asked, requester, &ledger, &self.settings, now, random);
            enter(&decision, requester, &mut ledger);
            answers.push(Decided { request, decision });
        }
        let newest = found.signed.map(|list| list.number);
        if revocations::catch_up(&mut ledger, newest) {
            warn!(
                ?newest,
                "Ledger is older than the last revocation list, a new one is made"
            );
        }
        revocations::renew_list(&mut ledger, now);
        match self.settings.home {
            Home::Folders { .. } => revocations::forget_nodes(&mut ledger, |_| false),
            Home::Kubernetes(_) => departures::forget(&mut ledger, found),
        }
        Settled {
            waiting: open.len() - answers.len(),
            ledger,
            answers,
            evidence,
            revoked,
            recovered,
        }
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

fn is_open(state: RequestState) -> bool {
    match state {
        RequestState::Waiting | RequestState::Pending(_) => true,
        RequestState::Issued | RequestState::Refused => false,
    }
}

/// Whether what is said of the requester may still be decided on.
fn is_young(requester: &Requester, now: Instant) -> bool {
    match requester {
        Requester::Anybody => true,
        Requester::Stamped(stamp) => stamp
            .looked_up
            .is_some_and(|at| now.saturating_duration_since(at) <= OLDEST_STAMPS),
    }
}

fn enter(decision: &Decision, requester: &Requester, ledger: &mut Ledger) {
    match decision {
        Decision::Issue(grant) => grant.clone().enter(ledger),
        // In Kubernetes the operator approves the request itself.
        Decision::AwaitApproval { uid, key } if *requester == Requester::Anybody => {
            if let Some(node) = ledger.nodes.get_mut(uid) {
                node.awaiting = Some(*key);
            }
        }
        Decision::AwaitApproval { .. }
        | Decision::Again(_)
        | Decision::Pending(_)
        | Decision::Refused(_) => {}
    }
}

#[cfg(test)]
mod tests;
