//! What becomes of each request: the answer in the store, the line in the log, the count, the event.
//! The requester learns no reason of a refusal from any of them. A grant is told when the ledger has
//! it, anything else when the answer stands: what cannot be written is decided again and again.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use cluster_store::{
    Answer, ClusterStore, Notice, PendingReason, RequestId, Severity, StoreError, StoredRequest,
};
use node_identity::{NodeName, NodeUid};
use service_log::chain;
use tracing::{debug, error, info, warn};

use super::views::stamped_node;
use super::writes::write_all;
use super::{Controller, Decided, KEEP_ANSWERS};
use crate::decide::{Decision, Grant, Refusal};
use crate::ledger::Ledger;

/// What came of answering.
#[derive(Debug)]
pub(super) struct Answering {
    /// The first error of the store as a whole.
    pub(super) failed: Option<StoreError>,
    /// Whether anything was written.
    pub(super) has_written: bool,
}

impl Decided<'_> {
    /// The answer; a certificate only goes into one that speaks of it.
    fn answer<'a>(&self, certificate: &'a [u8]) -> Answer<'a> {
        match &self.decision {
            Decision::Issue(_) | Decision::Again(_) => Answer::Issued(certificate),
            Decision::Pending(reason) => Answer::Pending(*reason),
            Decision::AwaitApproval { .. } => Answer::Pending(PendingReason::AwaitsApproval),
            Decision::Refused(_) => Answer::Refused,
        }
    }
}

impl<S: ClusterStore> Controller<S> {
    /// Answers all but those whose certificate could not be published. A request that refuses its
    /// answer keeps the others from theirs no more than such a node does.
    pub(super) async fn answer_all(
        &mut self,
        answers: &[Decided<'_>],
        ledger: &Ledger,
        unpublished: &BTreeSet<NodeUid>,
    ) -> Result<Answering, StoreError> {
        let mut due = Vec::new();
        for decided in answers {
            let mut certificate = Vec::new();
            if let Some(uid) = decided.granted() {
                certificate = self.newest_certificate(ledger, uid);
                // What could not be signed was said; the request waits for what mends it.
                if certificate.is_empty() || unpublished.contains(uid) {
                    continue;
                }
            }
            if decided.answer(&certificate).state() != decided.request.state {
                due.push((decided, certificate));
            }
        }
        let store = &self.store;
        let written = write_all(due.iter().map(|(decided, certificate)| async move {
            let answer = decided.answer(certificate);
            let id = &decided.request.id;
            (*decided, store.answer_request(id, answer).await)
        }));
        let written = written.await;
        for decided in &written.done {
            self.tell_answered(decided).await;
        }
        self.complain(written.refused.iter().map(|(_, error)| error));
        match written.failed {
            Some(error) if written.gave_up => Err(error),
            failed => Ok(Answering {
                failed,
                has_written: !written.done.is_empty(),
            }),
        }
    }

    async fn tell_answered(&mut self, decided: &Decided<'_>) {
        let Decided { request, decision } = decided;
        let id = request.id;
        match decision {
            // Told as it was entered into the ledger.
            Decision::Issue(_) => {}
            Decision::Again(uid) => debug!(%id, %uid, "Newest certificate stands"),
            Decision::Pending(reason) => {
                warn!(%id, %reason, "Enrolment pending");
                self.tell_pending(request, *reason).await;
            }
            Decision::AwaitApproval { uid, key } => {
                warn!(%id, %uid, %key, "V7: live node asks for another key, approval needed");
                self.tell_pending(request, PendingReason::AwaitsApproval)
                    .await;
            }
            Decision::Refused(reason) => self.tell_refused(request, reason).await,
        }
    }

    /// Counts and names objects that refuse to be written, each once in a while.
    pub(super) fn complain<'a>(&mut self, errors: impl IntoIterator<Item = &'a StoreError>) {
        for error in errors {
            self.tally.change(|counts| counts.refused_writes += 1);
            if self.named_objects.admits(chain(error), Instant::now()) {
                error!(
                    error = chain(error),
                    "An object refuses to be written, the others are; who filled it? Deleted, it is \
                     made anew"
                );
            }
        }
    }

    /// Tells of the grants that the ledger has now.
    pub(super) async fn tell_grants(&self, answers: &[Decided<'_>]) {
        for Decided { request, decision } in answers {
            if let Decision::Issue(grant) = decision {
                self.tell_granted(&request.id, grant).await;
            }
        }
    }

    async fn tell_granted(&self, id: &RequestId, grant: &Grant) {
        let record = &grant.record;
        info!(
            %id, uid = %grant.uid, node = %record.name, serial = %record.serial,
            pod_ranges = %record.pod_ranges, addresses = ?record.addresses,
            "Certificate granted"
        );
        self.tally.change(|counts| counts.issued += 1);
        for (address, owner) in &grant.left_out {
            warn!(node = %record.name, %address, %owner, "Address left out: a live node has it");
            let message = format!(
                "address {address} is certified for node {owner}, which is live; it is left out of \
                 the certificate of {}",
                record.name
            );
            for node in [&record.name, owner] {
                self.notify(node, Severity::Warning, "AddressTaken", message.clone())
                    .await;
            }
        }
        let message = format!("serial {}, pod ranges {}", record.serial, record.pod_ranges);
        self.notify(&record.name, Severity::Normal, "CertificateIssued", message)
            .await;
    }

    async fn tell_pending(&self, request: &StoredRequest, reason: PendingReason) {
        self.tally.change(|counts| counts.pending += 1);
        if let Some((_, node)) = stamped_node(request) {
            self.notify(
                &node,
                Severity::Warning,
                "EnrolmentPending",
                reason.to_string(),
            )
            .await;
        }
    }

    async fn tell_refused(&mut self, request: &StoredRequest, reason: &Refusal) {
        let label = reason.label();
        let total = self.tally.refused(label);
        if !self.named_refusals.admits_one(Instant::now()) {
            return;
        }
        warn!(id = %request.id, reason = label, total, rule = %reason, "Enrolment refused");
        if let Some((_, node)) = stamped_node(request) {
            let message = format!("a request for a node certificate was refused: {label}");
            self.notify(&node, Severity::Warning, "EnrolmentRefused", message)
                .await;
        }
    }

    pub(super) async fn notify(
        &self,
        node: &NodeName,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        let notice = Notice {
            node: node.clone(),
            severity,
            reason,
            message,
        };
        self.store.notify(notice).await;
    }

    /// Removes requests that were answered an hour ago.
    pub(super) async fn sweep(&mut self, requests: &[StoredRequest]) -> Result<(), StoreError> {
        let now = Instant::now();
        let present: HashSet<RequestId> = requests.iter().map(|request| request.id).collect();
        self.answered.retain(|id, _| present.contains(id));
        let mut old = Vec::new();
        for request in requests {
            if request.state.is_open() {
                self.answered.remove(&request.id);
                continue;
            }
            let since = *self.answered.entry(request.id).or_insert(now);
            if now.duration_since(since) >= KEEP_ANSWERS {
                old.push(request.id);
            }
        }
        let store = &self.store;
        let removed = write_all(
            old.iter()
                .map(|id| async move { (*id, store.withdraw_request(id).await) }),
        );
        let removed = removed.await;
        self.complain(removed.refused.iter().map(|(_, error)| error));
        removed.failed.map_or(Ok(()), Err)
    }
}
