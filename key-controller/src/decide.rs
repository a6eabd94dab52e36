//! Grants, delays or refuses one request for a certificate. Pure: the same request, ledger,
//! settings, time and randomness give the same decision, and nothing here changes anything.
//!
//! The checks, V1 to V10, are numbered as in `docs/enrolment.md`, which says each in a line.

mod grant;
mod refusal;
mod stamped;

use std::net::IpAddr;

use cluster_store::{EnrolmentRequest, PendingReason, Requester, TokenProof};
use node_identity::{
    CertificateRequest, IdentityPublic, IkHash, JoinTokenId, MAX_ADDRESSES, NodeName, NodeUid,
    PodRanges, SpiffeId, UnixTime,
};
use rand_core::CryptoRng;

use crate::config::{Home, Settings};
use crate::ledger::{Ledger, NodeRecord};

pub(crate) use grant::Grant;
pub(crate) use refusal::Refusal;

/// How long the same question gets the same certificate instead of a new one: longer than any
/// retry of a node, shorter than any renewal (a guess).
const REPEAT_WINDOW_SECONDS: u64 = 600;

/// Certificates for one node in [`RATE_WINDOW_SECONDS`].
const RATE_LIMIT: usize = 6;
const RATE_WINDOW_SECONDS: u64 = 3600;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A certificate is to be signed, once the ledger holds the grant.
    Issue(Box<Grant>),
    /// The node has what it asks for: its newest certificate.
    Again(NodeUid),
    /// Not yet possible.
    Pending(PendingReason),
    /// A live node wants another key: an operator must say so.
    AwaitApproval {
        /// The node.
        uid: NodeUid,
        /// The key it wants.
        key: IkHash,
    },
    /// Never for this request.
    Refused(Refusal),
}

/// A request that parsed, with what it is judged by.
struct Question<'a> {
    identity: &'a SpiffeId,
    key: &'a IdentityPublic,
    addresses: &'a [IpAddr],
    request: &'a EnrolmentRequest,
    ledger: &'a Ledger,
    settings: &'a Settings,
    now: UnixTime,
}

/// By what right a certificate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authority {
    /// The key that the ledger knows.
    Renewal,
    /// A join token.
    Token(JoinTokenId),
    /// The API server vouches for the node, which has no valid certificate.
    Stamps,
    /// An operator approved exactly this key.
    Approval,
}

/// Decides. `random` only makes the serial.
pub(crate) fn decide(
    request: &EnrolmentRequest,
    requester: &Requester,
    ledger: &Ledger,
    settings: &Settings,
    now: UnixTime,
    random: &mut impl CryptoRng,
) -> Decision {
    let parsed = match CertificateRequest::from_der(&request.pkcs10) {
        Ok(parsed) => parsed,
        Err(error) => return Decision::Refused(Refusal::Malformed(error.to_string())),
    };
    let question = Question {
        identity: parsed.identity(),
        key: parsed.key(),
        addresses: parsed.addresses(),
        request,
        ledger,
        settings,
        now,
    };
    let decision = match (&settings.home, requester) {
        (Home::Folders { .. }, Requester::Anybody) => question.decide(random),
        (Home::Kubernetes(home), Requester::Stamped(stamp)) => {
            question.decide_stamped(home, stamp, random)
        }
        (Home::Kubernetes(_), Requester::Anybody) => Err(Refusal::NotStamped),
        (Home::Folders { .. }, Requester::Stamped(_)) => Err(Refusal::StampedInFolder),
    };
    decision.unwrap_or_else(Decision::Refused)
}

impl Question<'_> {
    fn decide(&self, random: &mut impl CryptoRng) -> Result<Decision, Refusal> {
        self.check_key()?;
        let authority = self.authority()?;
        self.check_name()?;
        if self.needs_approval(authority) {
            let (uid, key) = (self.identity.uid, self.key.hash());
            return Ok(Decision::AwaitApproval { uid, key });
        }
        let allowed = self.allowed_addresses(authority);
        // Whoever names no address wants those that the token names.
        let addresses = if self.addresses.is_empty() {
            allowed
        } else {
            self.addresses
        };
        self.check_addresses(addresses, allowed)?;
        if self.has_it_already(addresses) {
            return Ok(Decision::Again(self.identity.uid));
        }
        let Some(pod_ranges) = self.pod_ranges()? else {
            return Ok(Decision::Pending(PendingReason::NoFreePodRange));
        };
        let Some(recent) = self.recent() else {
            return Ok(Decision::Pending(PendingReason::RateLimited));
        };
        let terms = grant::Terms {
            pod_ranges,
            recent,
            addresses: addresses.to_vec(),
            allowed: allowed.to_vec(),
            left_out: Vec::new(),
        };
        Ok(Decision::Issue(Box::new(
            self.grant(authority, terms, random),
        )))
    }

    fn record(&self) -> Option<&NodeRecord> {
        self.ledger.nodes.get(&self.identity.uid)
    }

    /// V8. A key that anybody else has, or had, is nobody's to ask with.
    fn check_key(&self) -> Result<(), Refusal> {
        let hash = self.key.hash();
        if hash.as_bytes() == self.ledger.pin.as_bytes() {
            return Err(Refusal::KeyOfRoot);
        }
        let others = |(uid, node): (&NodeUid, &NodeRecord)| {
            *uid != self.identity.uid && node.key == *self.key
        };
        if self.ledger.nodes.iter().any(others) {
            return Err(Refusal::KeyOfAnotherNode);
        }
        if self
            .ledger
            .retired
            .iter()
            .any(|retired| retired.key == hash)
        {
            return Err(Refusal::RetiredKey);
        }
        Ok(())
    }

    /// V2 to V5.
    fn authority(&self) -> Result<Authority, Refusal> {
        let record = self.record();
        self.check_not_revoked()?;
        if record.is_some_and(|record| record.key == *self.key) {
            return Ok(Authority::Renewal);
        }
        if record.is_some_and(|record| record.approved == Some(self.key.hash())) {
            return Ok(Authority::Approval);
        }
        match &self.request.token {
            Some(proof) => self.check_token(proof).map(Authority::Token),
            None => Err(Refusal::NoAuthority),
        }
    }

    /// V5.
    fn check_not_revoked(&self) -> Result<(), Refusal> {
        let uid = &self.identity.uid;
        let is_revoked = |record: &NodeRecord| record.revoked_until.is_some();
        if self.record().is_some_and(is_revoked) || self.ledger.revoked_strangers.contains_key(uid)
        {
            Err(Refusal::Revoked)
        } else {
            Ok(())
        }
    }

    fn check_token(&self, proof: &TokenProof) -> Result<JoinTokenId, Refusal> {
        let id = JoinTokenId::from_bytes(proof.id);
        let record = self.ledger.tokens.get(&id).ok_or(Refusal::UnknownToken)?;
        let token = record.secret.as_ref().ok_or(Refusal::TokenUsed)?;
        if !token.verifies_request(&self.request.pkcs10, &proof.mac) {
            return Err(Refusal::WrongMac);
        }
        if self.now > record.expires {
            return Err(Refusal::TokenExpired);
        }
        if record.uid != self.identity.uid {
            return Err(Refusal::WrongUid);
        }
        if record.name != self.identity.name {
            return Err(Refusal::WrongName);
        }
        Ok(id)
    }

    /// V6. The name is what ledger and token say, and nobody else's.
    fn check_name(&self) -> Result<(), Refusal> {
        if self.identity.trust_domain != self.ledger.trust_domain {
            return Err(Refusal::ForeignTrustDomain);
        }
        if self
            .record()
            .is_some_and(|record| record.name != self.identity.name)
        {
            return Err(Refusal::WrongName);
        }
        let others = |(uid, node): (&NodeUid, &NodeRecord)| {
            *uid != self.identity.uid
                && node.name == self.identity.name
                && node.revoked_until.is_none()
        };
        if self.ledger.nodes.iter().any(others) {
            Err(Refusal::NameTaken)
        } else {
            Ok(())
        }
    }

    /// V7. Only a token's word is too little to take a live node's key away.
    fn needs_approval(&self, authority: Authority) -> bool {
        match authority {
            Authority::Token(_) => self.record().is_some_and(|record| record.is_live(self.now)),
            Authority::Renewal | Authority::Stamps | Authority::Approval => false,
        }
    }

    fn allowed_addresses(&self, authority: Authority) -> &[IpAddr] {
        let by_token = match authority {
            Authority::Token(id) => self.ledger.tokens.get(&id).map(|token| &token.addresses),
            Authority::Renewal | Authority::Stamps | Authority::Approval => None,
        };
        let by_record = || self.record().map(|record| &record.allowed_addresses);
        by_token.or_else(by_record).map_or(&[], Vec::as_slice)
    }

    /// V9, addresses.
    fn check_addresses(&self, addresses: &[IpAddr], allowed: &[IpAddr]) -> Result<(), Refusal> {
        let count = addresses.len();
        if count == 0 || count > MAX_ADDRESSES {
            return Err(Refusal::AddressCount(count));
        }
        for address in addresses {
            let listed = allowed.is_empty() || allowed.contains(address);
            if !listed || !self.settings.may_be_underlay(*address) {
                return Err(Refusal::AddressNotAllowed(*address));
            }
            if let Some(owner) = self.holder_of(*address) {
                let (address, owner) = (*address, owner.clone());
                return Err(Refusal::AddressTaken { address, owner });
            }
        }
        Ok(())
    }

    /// Another live node that has the address.
    fn holder_of(&self, address: IpAddr) -> Option<&NodeName> {
        let holds = |(uid, node): &(&NodeUid, &NodeRecord)| {
            **uid != self.identity.uid
                && node.is_live(self.now)
                && node.addresses.contains(&address)
        };
        self.ledger
            .nodes
            .iter()
            .find(holds)
            .map(|(_, node)| &node.name)
    }

    /// The same question a short while ago, answered with a certificate that is good now.
    fn has_it_already(&self, addresses: &[IpAddr]) -> bool {
        self.record().is_some_and(|record| {
            record.key == *self.key
                && record.addresses == addresses
                && record.issued <= self.now
                && self.now.0 - record.issued.0 < REPEAT_WINDOW_SECONDS
        })
    }

    /// V9, ranges: the ones it has, or free ones. `None`: there are none left.
    fn pod_ranges(&self) -> Result<Option<PodRanges>, Refusal> {
        match self.record() {
            Some(record) if self.settings.covers(&record.pod_ranges) => {
                Ok(Some(record.pod_ranges.clone()))
            }
            Some(_) => Err(Refusal::RangesOutsideCluster),
            None => {
                let taken = self.ledger.taken_ranges();
                Ok(self.settings.allocate(&self.identity.uid, &taken))
            }
        }
    }

    /// V10: when certificates were signed in the last hour. `None`: too many.
    fn recent(&self) -> Option<Vec<UnixTime>> {
        let within = |at: &&UnixTime| **at <= self.now && self.now.0 - at.0 < RATE_WINDOW_SECONDS;
        let recent: Vec<UnixTime> = self.record().map_or(Vec::new(), |node| {
            node.recent.iter().filter(within).copied().collect()
        });
        (recent.len() < RATE_LIMIT).then_some(recent)
    }
}

#[cfg(test)]
mod tests;
