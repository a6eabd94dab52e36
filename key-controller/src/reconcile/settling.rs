//! Decides on one copy of the ledger and writes it, by compare and swap. A ledger that is nearly full
//! takes fewer requests, so that what must be revoked always fits.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cluster_store::{ClusterStore, Requester, StoredRequest};
use node_identity::{NodeCertificateTerms, NodeName, NodeUid, UnixTime};
use rand_core::CryptoRng;
use tracing::{debug, warn};

use super::departures::{self, Revoked};
use super::{Controller, Decided, Found, StepError};
use crate::config::Home;
use crate::decide::{Decision, decide};
use crate::evidence::Evidence;
use crate::ledger::{Ledger, LedgerError};
use crate::recover::{take_over, take_revocations};
use crate::revocations;

/// How often a step decides again because somebody else wrote the ledger: a person's verbs do it
/// once or twice (a guess).
const MOST_TRIES: usize = 10;

/// How old what is said of Pods and Nodes may be when it is decided on: the longest look of the store
/// and the questions after it (a guess).
const OLDEST_STAMPS: Duration = Duration::from_secs(30);

/// What a ledger keeps free of newcomers, for renewals and revocations: hundreds of nodes (a guess).
const KEPT_OF_NEWCOMERS: usize = 64 * 1024;

/// What it keeps free of all grants, for revocations: a few bytes each (a guess).
const KEPT_OF_GRANTS: usize = 32 * 1024;

/// What one look at the requests came to.
pub(super) struct Settled<'a> {
    pub(super) ledger: Ledger,
    pub(super) answers: Vec<Decided<'a>>,
    /// How many requests wait for the next look, for what is known of their Pods and Nodes is old.
    pub(super) waiting: usize,
    /// How many grants wait, for the ledger has no room for them, and the error that says so.
    held_back: usize,
    pub(super) full: Option<LedgerError>,
    /// Whether the ledger was written.
    pub(super) has_written: bool,
    pub(super) evidence: Evidence,
    pub(super) revoked: Revoked,
    /// Nodes whose certificate is newer than the ledger was.
    pub(super) recovered: Vec<NodeName>,
}

/// How much room the ledger has.
#[derive(Debug, Clone, Copy)]
enum Room {
    /// Anybody may be granted what it asks.
    Ample,
    /// Nodes that the ledger knows may.
    Scarce,
    /// Nobody may; revocations are made.
    None,
}

impl Room {
    /// What the ledger keeps free beside what is written.
    fn kept_free(self) -> usize {
        match self {
            Self::Ample => KEPT_OF_NEWCOMERS,
            Self::Scarce => KEPT_OF_GRANTS,
            Self::None => 0,
        }
    }

    fn less(self) -> Option<Self> {
        match self {
            Self::Ample => Some(Self::Scarce),
            Self::Scarce => Some(Self::None),
            Self::None => None,
        }
    }

    fn admits(self, decision: &Decision, ledger: &Ledger) -> bool {
        let Decision::Issue(grant) = decision else {
            return true;
        };
        match self {
            Self::Ample => true,
            Self::Scarce => ledger.nodes.contains_key(&grant.uid),
            Self::None => false,
        }
    }
}

impl<S: ClusterStore> Controller<S> {
    /// Decides on one copy of the ledger and writes that, or decides again on what somebody else
    /// wrote in between.
    pub(super) async fn settle<'a>(
        &mut self,
        mut before: Ledger,
        found: &Found<'a>,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Result<Settled<'a>, StepError> {
        let mut alive = BTreeSet::new();
        let (mut room, mut full) = (Room::Ample, None);
        for _ in 0..MOST_TRIES {
            let mut settled = self.judge(&before, found, room, &alive, now, random);
            let strangers = settled.evidence.strangers(&settled.ledger);
            if !strangers.is_empty() && matches!(self.settings.home, Home::Kubernetes(_)) {
                alive.extend(self.alive(strangers).await?);
                settled = self.judge(&before, found, room, &alive, now, random);
            }
            if settled.held_back > 0 {
                settled.full = full.take();
            }
            if settled.ledger == before {
                return Ok(settled);
            }
            let next = settled.ledger.clone();
            match self.home.replace(next, room.kept_free()).await {
                Ok(ledger) => {
                    settled.ledger = ledger;
                    settled.has_written = true;
                    return Ok(settled);
                }
                Err(error @ LedgerError::Full { .. }) => match room.less() {
                    Some(less) => (room, full) = (less, Some(error)),
                    None => return Err(error.into()),
                },
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
        room: Room,
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
        let young = |one: &&&StoredRequest| is_young(&one.requester, moment);
        let (mut answers, mut decided) = (Vec::with_capacity(open.len()), 0);
        for request in open.iter().filter(young) {
            let (asked, requester) = (&request.request, &request.requester);
            let decision = decide(asked, requester, &ledger, &self.settings, now, random);
            decided += 1;
            if room.admits(&decision, &ledger) {
                enter(&decision, requester, &mut ledger);
                answers.push(Decided { request, decision });
            }
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
            waiting: open.len() - decided,
            held_back: decided - answers.len(),
            full: None,
            has_written: false,
            ledger,
            answers,
            evidence,
            revoked,
            recovered,
        }
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
