//! How this node comes by its certificate, and by the next one.
//!
//! Pure: [`Enrolment`] says what to ask of the store and when; the store task asks. A certificate
//! counts when peers would believe it: the envelope made with it has to verify against the pins.
//! Nothing the store answers is trusted; a state other than "here is a certificate" only sets the
//! pace.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use cluster_store::{EnrolmentRequest, RequestId, RequestState, TokenProof};
use node_identity::{CertificateRequest, JoinToken, NodeCertificate, UnixTime};
use tracing::{debug, error, info, warn};
use tunnel_core::moment::Moment;

use crate::keys::Identity;

/// A certificate lasts 72 hours and is renewed every 24, so two renewals may fail.
const RENEW_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Renewals are spread by up to so much, so that a cluster made at once does not renew at once.
const SPREAD: Duration = Duration::from_secs(3600);
/// Controllers backdate by so much, so a certificate's age starts later than its date.
const BACKDATED: Duration = Duration::from_secs(300);
/// The first question about a request comes after so much, then always twice as late.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest pause between two questions.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A certificate that lacks an endpoint which only the controller can add is asked for again so
/// seldom (a guess: an operator who corrected the Node waits, or restarts the daemon).
const LACKING_AGAIN: Duration = Duration::from_secs(3600);
/// A certificate that the store does not show is asked for again so seldom (a guess: whoever keeps
/// taking it away costs the controller a signature in so long).
const MISSING_AGAIN: Duration = LONGEST_WAIT;

/// What the store has to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Leave this request there.
    Submit(EnrolmentRequest),
    /// Look what became of it.
    State(RequestId),
    /// Take it away, it is answered.
    Withdraw(RequestId),
}

/// Where this node stands on the way to its next certificate.
#[derive(Debug, Default)]
pub(crate) struct Enrolment {
    pending: Option<Pending>,
    last_said: Option<RequestState>,
    not_before: Moment,
    /// When a certificate was last asked for, by why.
    asked_at: BTreeMap<Due, Moment>,
}

/// What is asked for.
pub(crate) struct Wish<'a> {
    /// Why.
    pub(crate) due: Due,
    /// The node's endpoints.
    pub(crate) endpoints: &'a [IpAddr],
    /// Who says which of them are certified.
    pub(crate) addresses: Addresses,
    /// What invites a node that the controller does not know.
    pub(crate) token: Option<&'a JoinToken>,
}

#[derive(Debug)]
struct Pending {
    request: EnrolmentRequest,
    ask_at: Moment,
    wait: Duration,
    /// What the store calls it, once it has it.
    id: Option<RequestId>,
}

/// Who says which addresses a certificate names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// The node asks for its endpoints.
    Asked,
    /// The controller, which knows the Node object. It leaves out what is not the Node's, so asking
    /// again seldom helps.
    OfController,
}

/// Why a certificate is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// There is none, or it ages.
    Age,
    /// The store has no place for what this node publishes: only the controller makes one.
    Missing,
    /// It lacks an endpoint.
    Endpoint,
}

/// Whether the store has a place for what this node publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has, or nothing is known, or the node makes it itself.
    Kept,
    /// It has not: an older copy of the store was put back, or somebody removed it.
    Missing,
}

impl Due {
    /// How long after one request for this reason there is no other.
    fn again(self, addresses: Addresses) -> Duration {
        match (self, addresses) {
            (Self::Age, _) | (Self::Endpoint, Addresses::Asked) => Duration::ZERO,
            (Self::Missing, _) => MISSING_AGAIN,
            (Self::Endpoint, Addresses::OfController) => LACKING_AGAIN,
        }
    }
}

impl Enrolment {
    /// Why a certificate is due, if it is.
    pub(crate) fn due(
        certificate: Option<&NodeCertificate>,
        endpoints: &[IpAddr],
        place: Place,
        now: UnixTime,
    ) -> Option<Due> {
        let Some(terms) = certificate.map(NodeCertificate::terms) else {
            return Some(Due::Age);
        };
        let age = now.duration_since(terms.not_before.plus(BACKDATED));
        let [spread, ..] = terms.serial.0.to_le_bytes();
        if age >= RENEW_AFTER.saturating_sub(SPREAD * u32::from(spread) / 256) {
            return Some(Due::Age);
        }
        if place == Place::Missing {
            return Some(Due::Missing);
        }
        let lacks = |endpoint: &IpAddr| !terms.addresses.contains(endpoint);
        endpoints.iter().any(lacks).then_some(Due::Endpoint)
    }

    /// Whether half of the certificate's life is over: by then two renewals have failed.
    pub(crate) fn is_overdue(certificate: Option<&NodeCertificate>, now: UnixTime) -> bool {
        certificate
            .map(NodeCertificate::terms)
            .is_some_and(|terms| {
                let life = terms.not_after.duration_since(terms.not_before);
                now >= terms.not_before.plus(life / 2)
            })
    }

    /// Begins to ask for a certificate, unless that is under way already.
    ///
    /// # Errors
    /// When the request cannot be made.
    pub(crate) fn begin(
        &mut self,
        identity: &Identity,
        wish: Wish<'_>,
        now: Moment,
    ) -> anyhow::Result<()> {
        if self.pending.is_some() || now < self.not_before {
            return Ok(());
        }
        let again = wish.due.again(wish.addresses);
        let asked_at = self.asked_at.get(&wish.due);
        if asked_at.is_some_and(|at| now.duration_since(*at) < again) {
            return Ok(());
        }
        let endpoints = match wish.addresses {
            Addresses::Asked => wish.endpoints,
            Addresses::OfController => &[],
        };
        let pkcs10 = CertificateRequest::create(&identity.key, &identity.id, endpoints)?
            .to_der()
            .to_vec();
        let token = wish.token.map(|token| TokenProof {
            id: *token.id.as_bytes(),
            mac: token.request_mac(&pkcs10),
        });
        let request = EnrolmentRequest { pkcs10, token };
        self.asked_at.insert(wish.due, now);
        info!(due = ?wish.due, "Certificate wanted");
        self.pending = Some(Pending {
            request,
            ask_at: now,
            wait: FIRST_WAIT,
            id: None,
        });
        Ok(())
    }

    /// What to ask the store now, if anything. Each call at or after the deadline moves it on.
    pub(crate) fn poll(&mut self, now: Moment) -> Option<Ask> {
        let pending = self
            .pending
            .as_mut()
            .filter(|pending| pending.ask_at <= now)?;
        pending.ask_at = now + pending.wait;
        pending.wait = (pending.wait * 2).min(LONGEST_WAIT);
        Some(match pending.id {
            None => Ask::Submit(pending.request.clone()),
            Some(id) => Ask::State(id),
        })
    }

    /// When [`Enrolment::poll`] next has something.
    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        self.pending.as_ref().map(|pending| pending.ask_at)
    }

    /// The store took the request.
    pub(crate) fn handle_submitted(&mut self, request: &EnrolmentRequest, id: RequestId) {
        if let Some(pending) = self
            .pending
            .as_mut()
            .filter(|pending| pending.request == *request)
        {
            pending.id = Some(id);
        }
    }

    /// The store told what became of the request; `None` means it is not there.
    ///
    /// A refused request is given up and, with what token or approval there is by then, made anew
    /// later.
    pub(crate) fn handle_state(&mut self, id: RequestId, state: Option<RequestState>, now: Moment) {
        let Some(pending) = self
            .pending
            .as_mut()
            .filter(|pending| pending.id == Some(id))
        else {
            return;
        };
        if state.is_none() {
            pending.id = None;
        }
        if state == Some(RequestState::Refused) {
            self.pending = None;
            self.not_before = now + LONGEST_WAIT;
        }
        if state == self.last_said {
            return;
        }
        self.last_said = state;
        match state {
            None => {
                debug!(request = %id, "Certificate request is not in the store, it is left there again")
            }
            Some(RequestState::Waiting) => {
                info!(request = %id, "Certificate request waits for the controller")
            }
            Some(RequestState::Pending(reason)) => {
                warn!(request = %id, %reason, "Certificate request is pending")
            }
            Some(RequestState::Issued) => debug!(request = %id, "Certificate issued"),
            Some(RequestState::Refused) => {
                error!(request = %id, "Certificate request refused: the controller's log says why")
            }
        }
    }

    /// What keeps the certificate back, as far as the controller has said.
    pub(crate) fn obstacle(&self) -> Option<String> {
        match self.last_said? {
            RequestState::Waiting => Some("the controller has not answered yet".to_owned()),
            RequestState::Pending(reason) => Some(reason.to_string()),
            RequestState::Refused => Some(format!(
                "its request was refused, the controller's log says why; asked again each {} s",
                LONGEST_WAIT.as_secs()
            )),
            RequestState::Issued => None,
        }
    }

    /// A certificate was accepted: nothing is pending any more.
    pub(crate) fn handle_accepted(&mut self) -> Option<Ask> {
        self.last_said = None;
        self.pending.take()?.id.map(Ask::Withdraw)
    }
}
