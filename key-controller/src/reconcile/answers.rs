//! What becomes of each request: the answer in the store, the line in the log, the count, the event.
//! The requester learns no reason of a refusal from any of them.

use std::collections::HashSet;
use std::time::Instant;

use cluster_store::{
    Answer, ClusterStore, Notice, PendingReason, RequestId, RequestState, Severity, StoreError,
    StoredRequest,
};
use node_identity::NodeName;
use tracing::{debug, info, warn};

use super::publishing::{MOST_FAILED, Unpublished};
use super::views::stamped_node;
use super::{Controller, Decided, KEEP_ANSWERS, StepError, is_open};
use crate::decide::{Decision, Grant, Refusal};
use crate::ledger::Ledger;

impl<S: ClusterStore> Controller<S> {
    /// Answers all but those whose certificate could not be published. A request that refuses its
    /// answer keeps the others from theirs no more than such a node does; the first error comes back.
    pub(super) async fn answer_all(
        &mut self,
        answers: Vec<Decided<'_>>,
        ledger: &Ledger,
        unpublished: &Unpublished,
    ) -> Result<Option<StoreError>, StoreError> {
        let (mut first, mut failed) = (None, 0);
        for answer in answers {
            if answer
                .granted()
                .is_some_and(|uid| unpublished.contains(uid))
            {
                continue;
            }
            if let Err(error) = self.answer(answer, ledger).await {
                failed += 1;
                if failed > MOST_FAILED {
                    return Err(error);
                }
                first.get_or_insert(error);
            }
        }
        Ok(first)
    }

    async fn answer(&mut self, decided: Decided<'_>, ledger: &Ledger) -> Result<(), StoreError> {
        let Decided { request, decision } = decided;
        let id = request.id;
        let certificate;
        let answer = match decision {
            Decision::Issue(grant) => {
                self.tell_granted(&id, &grant).await;
                certificate = self.newest_certificate(ledger, &grant.uid);
                Answer::Issued(&certificate)
            }
            Decision::Again(uid) => {
                debug!(%id, %uid, "Newest certificate stands");
                certificate = self.newest_certificate(ledger, &uid);
                Answer::Issued(&certificate)
            }
            Decision::Pending(reason) => {
                if request.state != RequestState::Pending(reason) {
                    warn!(%id, %reason, "Enrolment pending");
                    self.tell_pending(request, reason).await;
                }
                Answer::Pending(reason)
            }
            Decision::AwaitApproval { uid, key } => {
                let reason = PendingReason::AwaitsApproval;
                if request.state != RequestState::Pending(reason) {
                    warn!(%id, %uid, %key, "V7: live node asks for another key, approval needed");
                    self.tell_pending(request, reason).await;
                }
                Answer::Pending(reason)
            }
            Decision::Refused(reason) => {
                self.tell_refused(request, &reason).await;
                Answer::Refused
            }
        };
        if answer.state() == request.state {
            return Ok(());
        }
        if matches!(answer, Answer::Issued([])) {
            // What could not be signed was said; the request waits for what mends it.
            return Ok(());
        }
        self.store.answer_request(&id, answer).await
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
    pub(super) async fn sweep(&mut self, requests: &[StoredRequest]) -> Result<(), StepError> {
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
}
