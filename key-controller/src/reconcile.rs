//! Brings ledger and store together. Decisions are made elsewhere; here they are carried out, in
//! the one order that is safe: the ledger first, then what is published, then the answers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use cluster_store::{
    Answer, ClusterStore, PendingReason, Published, PublishedNode, PublishedRoot, RefusedEntry,
    RequestId, RequestState, StoreError, StoredRequest,
};
use node_identity::{NodeName, NodeUid, RevocationList, UnixTime};
use rand_core::CryptoRng;
use tracing::{debug, error, info, warn};

use crate::config::Settings;
use crate::decide::{Decision, decide};
use crate::evidence::{self, Evidence};
use crate::ledger::{Ledger, LedgerError, LedgerFile};
use crate::naming::Naming;
use crate::revocations;
use crate::signer::Signer;

/// How long an answer stays for the node to read.
const KEEP_ANSWERS: Duration = Duration::from_secs(3600);

/// How often it is said that nothing is granted (a guess).
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// A controller at work on one ledger and one store.
pub(crate) struct Controller<S> {
    store: S,
    file: LedgerFile,
    settings: Settings,
    signer: Signer,
    refusals: BTreeMap<&'static str, u64>,
    named_refusals: Naming,
    reported: BTreeSet<RefusedEntry>,
    named_entries: Naming,
    answered: HashMap<RequestId, Instant>,
    alarmed: Option<Instant>,
}

/// What one look at the requests came to.
struct Settled<'a> {
    ledger: Ledger,
    answers: Vec<Decided<'a>>,
    evidence: Evidence,
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
    /// Whether trying again can help: a full disk may, a damaged ledger is for a person.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Store(_) => true,
            Self::Ledger(error) => match error {
                LedgerError::Read { .. }
                | LedgerError::Write { .. }
                | LedgerError::Conflict { .. } => true,
                LedgerError::Missing { .. }
                | LedgerError::Damaged { .. }
                | LedgerError::Unsafe(_)
                | LedgerError::Exists { .. } => false,
            },
        }
    }
}

/// What becomes of one request.
struct Decided<'a> {
    request: &'a StoredRequest,
    decision: Decision,
}

impl<S: ClusterStore> Controller<S> {
    pub(crate) fn new(store: S, file: LedgerFile, settings: Settings, signer: Signer) -> Self {
        Self {
            store,
            file,
            settings,
            signer,
            refusals: BTreeMap::new(),
            named_refusals: Naming::default(),
            reported: BTreeSet::new(),
            named_entries: Naming::default(),
            answered: HashMap::new(),
            alarmed: None,
        }
    }

    /// Looks at everything once: requests, the list that may be due, what is published.
    pub(crate) async fn step(
        &mut self,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Result<(), StepError> {
        let found = self.store.requests().await?;
        let open: Vec<&StoredRequest> = found
            .requests
            .iter()
            .filter(|request| is_open(request.state))
            .collect();
        // Read before the ledger, which is then at least as new as anything published from it.
        let published = self.store.published().await?;
        let signed = evidence::own_list(&published, self.signer.root());
        let signed = signed.as_ref();
        let settled = self.settle(&open, &published, signed, now, random)?;
        self.alarm(&settled.evidence);
        self.publish(&settled, &published, signed, now).await?;
        self.report(found.refused.iter().chain(&published.refused));
        let Settled {
            answers, ledger, ..
        } = settled;
        for answer in answers {
            self.answer(answer, &ledger).await?;
        }
        if let Some(more) = self.named_refusals.rest(Instant::now()) {
            warn!(more, totals = ?self.refusals, "More enrolments refused than are named");
        }
        self.sweep(&found.requests).await
    }

    /// Decides all open requests on one copy of the ledger and writes that, or decides again on
    /// what somebody else wrote in between. A ledger that is proven old decides nothing.
    fn settle<'a>(
        &self,
        open: &[&'a StoredRequest],
        published: &Published,
        signed: Option<&RevocationList>,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Result<Settled<'a>, LedgerError> {
        let root = self.signer.root();
        let newest = signed.map(|list| list.number);
        loop {
            let before = self.file.read()?;
            let mut ledger = before.clone();
            let evidence = Evidence::against(&before, published, signed, root, now);
            let open = if evidence.is_empty() { open } else { &[] };
            let answers = open
                .iter()
                .map(|request| {
                    let decision = decide(&request.request, &ledger, &self.settings, now, random);
                    enter(&decision, &mut ledger);
                    Decided { request, decision }
                })
                .collect();
            if revocations::catch_up(&mut ledger, newest) {
                warn!(
                    ?newest,
                    "Ledger is older than the last revocation list, a new one is made"
                );
            }
            revocations::renew_list(&mut ledger, now);
            let settled = |ledger| Settled {
                ledger,
                answers,
                evidence,
            };
            if ledger == before {
                return Ok(settled(ledger));
            }
            match self.file.replace(ledger) {
                Ok(ledger) => return Ok(settled(ledger)),
                Err(LedgerError::Conflict { .. }) => {
                    debug!("Ledger was changed by another process, deciding again");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that nothing is granted, and what is to be done.
    fn alarm(&mut self, evidence: &Evidence) {
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

    /// Publishes what is missing or differs, and takes away what belongs to revoked nodes. What
    /// proves the ledger old stays as it is.
    async fn publish(
        &self,
        settled: &Settled<'_>,
        found: &Published,
        signed: Option<&RevocationList>,
        now: UnixTime,
    ) -> Result<(), StepError> {
        let ledger = &settled.ledger;
        self.publish_root(ledger, found, signed).await?;
        let newer = settled.evidence.nodes();
        let known = ledger.nodes.iter().filter(|(uid, _)| !newer.contains(uid));
        for (uid, node) in known {
            let mut there = entries(found, uid, &node.name);
            if node.revoked_until.is_some() {
                if there.any(|there| !there.is_empty()) {
                    self.store.withdraw_node(uid, &node.name).await?;
                    info!(%uid, node = %node.name, "Revoked node taken out of the store");
                }
            } else if now <= node.not_after {
                let wanted = match self.signer.certificate(uid, node) {
                    Ok(wanted) => wanted,
                    Err(error) => {
                        error!(%uid, node = %node.name, %error, "Certificate not signed");
                        continue;
                    }
                };
                if !there.any(|there| there.certificate.as_ref() == Some(&wanted)) {
                    self.store.publish_certificate(uid, &wanted).await?;
                    info!(%uid, node = %node.name, serial = %node.serial, "Certificate published");
                }
            }
        }
        Ok(())
    }

    async fn publish_root(
        &self,
        ledger: &Ledger,
        found: &Published,
        signed: Option<&RevocationList>,
    ) -> Result<(), StepError> {
        let mut list = revocations::list(ledger);
        if let Some(signed) = signed {
            list.entries.extend(revocations::missing(ledger, signed));
        }
        let root = PublishedRoot {
            pin: ledger.pin,
            certificate: Some(self.signer.root_certificate()),
            revocations: Some(self.signer.revocation_list(&list)),
        };
        if !found.roots.contains(&root) {
            self.store.publish_root(&root).await?;
            info!(
                number = ledger.revocations.number,
                "Root and revocation list published"
            );
        }
        Ok(())
    }

    async fn answer(&mut self, decided: Decided<'_>, ledger: &Ledger) -> Result<(), StoreError> {
        let Decided { request, decision } = decided;
        let id = request.id;
        let certificate;
        let answer = match decision {
            Decision::Issue(grant) => {
                let record = &grant.record;
                info!(
                    %id, uid = %grant.uid, node = %record.name, serial = %record.serial,
                    pod_ranges = %record.pod_ranges, addresses = ?record.addresses,
                    "Certificate granted"
                );
                certificate = self.newest_certificate(ledger, &grant.uid);
                Answer::Issued(&certificate)
            }
            Decision::Again(uid) => {
                debug!(%id, %uid, "Newest certificate stands");
                certificate = self.newest_certificate(ledger, &uid);
                Answer::Issued(&certificate)
            }
            Decision::Pending(reason) => {
                self.log_pending(request, reason);
                Answer::Pending(reason)
            }
            Decision::AwaitApproval { uid, key } => {
                let reason = PendingReason::AwaitsApproval;
                if request.state != RequestState::Pending(reason) {
                    warn!(%id, %uid, %key, "V7: live node asks for another key, approval needed");
                }
                Answer::Pending(reason)
            }
            Decision::Refused(reason) => {
                let total = self.refusals.entry(reason.label()).or_default();
                *total = total.saturating_add(1);
                if self.named_refusals.admits_one(Instant::now()) {
                    warn!(%id, reason = reason.label(), total, rule = %reason, "Enrolment refused");
                }
                Answer::Refused
            }
        };
        if answer.state() == request.state {
            Ok(())
        } else {
            self.store.answer_request(&id, answer).await
        }
    }

    /// The certificate that was published a moment ago; empty when it could not be signed, which
    /// was said then.
    fn newest_certificate(&self, ledger: &Ledger, uid: &NodeUid) -> Vec<u8> {
        let node = ledger.nodes.get(uid);
        node.and_then(|node| self.signer.certificate(uid, node).ok())
            .unwrap_or_default()
    }

    fn log_pending(&self, request: &StoredRequest, reason: PendingReason) {
        if request.state != RequestState::Pending(reason) {
            warn!(id = %request.id, %reason, "Enrolment pending");
        }
    }

    /// Removes requests that were answered an hour ago.
    async fn sweep(&mut self, requests: &[StoredRequest]) -> Result<(), StepError> {
        let now = Instant::now();
        let present: HashSet<RequestId> = requests.iter().map(|request| request.id).collect();
        self.answered.retain(|id, _| present.contains(id));
        for request in requests {
            if is_open(request.state) {
                self.answered.remove(&request.id);
                continue;
            }
            let since = *self.answered.entry(request.id).or_insert(now);
            if now.duration_since(since) >= KEEP_ANSWERS {
                self.store.withdraw_request(&request.id).await?;
            }
        }
        Ok(())
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

fn entries<'a>(
    found: &'a Published,
    uid: &NodeUid,
    name: &NodeName,
) -> impl Iterator<Item = &'a PublishedNode> {
    let (uid, name) = (*uid, name.clone());
    found
        .nodes
        .iter()
        .filter(move |node| node.may_be(&uid, &name))
}

fn is_open(state: RequestState) -> bool {
    match state {
        RequestState::Waiting | RequestState::Pending(_) => true,
        RequestState::Issued | RequestState::Refused => false,
    }
}

fn enter(decision: &Decision, ledger: &mut Ledger) {
    match decision {
        Decision::Issue(grant) => grant.clone().enter(ledger),
        Decision::AwaitApproval { uid, key } => {
            if let Some(node) = ledger.nodes.get_mut(uid) {
                node.awaiting = Some(*key);
            }
        }
        Decision::Again(_) | Decision::Pending(_) | Decision::Refused(_) => {}
    }
}
