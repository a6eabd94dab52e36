//! The judgement over an envelope: chain, dates, revocation, binding, signatures, floor.

use std::{net::IpAddr, sync::Arc, time::Duration};

use thiserror::Error;

use super::{Envelope, Verified, VerifiedPeer};
use crate::{
    CertificateSerial, Floor, FloorError, KeyStatement, NodeCertificate, PodRanges, Revocations,
    RootCertificate, SpiffeId, StatementSigner, TrustedRoots, UnixTime,
};

/// How far in the future a certificate may begin: the clocks of nodes and controller differ.
pub const NOT_BEFORE_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Why an envelope is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// No trusted root has the key that is said to have signed the certificate.
    #[error("verify {0}: its certificate is from no pinned root")]
    UnknownRoot(Box<SpiffeId>),
    /// The root's signature is wrong.
    #[error("verify {0}: the root's signature on its certificate is wrong")]
    CertificateSignature(Box<SpiffeId>),
    /// The node is of another trust domain than its root.
    #[error("verify {0}: its root speaks for another trust domain")]
    TrustDomain(Box<SpiffeId>),
    /// The pod ranges lie outside what the root may give.
    #[error("verify {identity}: its pod ranges {ranges} are outside its root's address blocks")]
    PodRangesOutsideRoot {
        /// Whose.
        identity: Box<SpiffeId>,
        /// The ranges claimed.
        ranges: PodRanges,
    },
    /// The pod ranges lie outside the cluster's.
    #[error("verify {identity}: its pod ranges {ranges} are outside the cluster's")]
    PodRangesOutsideCluster {
        /// Whose.
        identity: Box<SpiffeId>,
        /// The ranges claimed.
        ranges: PodRanges,
    },
    /// An underlay address lies among the cluster's pods.
    #[error("verify {identity}: its address {address} lies in the cluster's pod ranges")]
    AddressInsideCluster {
        /// Whose.
        identity: Box<SpiffeId>,
        /// The address claimed.
        address: IpAddr,
    },
    /// The root has expired, or is not yet valid.
    #[error("verify {0}: its root is outside its dates")]
    RootDates(Box<SpiffeId>),
    /// The certificate begins in the future.
    #[error("verify {identity}: its certificate begins at {not_before}, is the clock right?")]
    NotYetValid {
        /// Whose.
        identity: Box<SpiffeId>,
        /// When it begins.
        not_before: UnixTime,
    },
    /// The certificate has run out.
    #[error("verify {identity}: its certificate ended at {not_after}")]
    Expired {
        /// Whose.
        identity: Box<SpiffeId>,
        /// When it ended.
        not_after: UnixTime,
    },
    /// The identity key or the node is revoked.
    #[error("verify {0}: it is revoked")]
    Revoked(Box<SpiffeId>),
    /// The statement names another node than the certificate.
    #[error("verify {stated}: its certificate is of {certified}")]
    OtherIdentity {
        /// In the statement.
        stated: Box<SpiffeId>,
        /// In the certificate.
        certified: Box<SpiffeId>,
    },
    /// The statement was made for another certificate.
    #[error("verify {identity}: its statement is for certificate {stated}, not {certified}")]
    OtherCertificate {
        /// Whose.
        identity: Box<SpiffeId>,
        /// In the statement.
        stated: CertificateSerial,
        /// In the certificate.
        certified: CertificateSerial,
    },
    /// The statement names another identity key than the certificate.
    #[error("verify {0}: its statement names another identity key than its certificate")]
    OtherIdentityKey(Box<SpiffeId>),
    /// An endpoint is not among the certified addresses.
    #[error("verify {identity}: its endpoint {endpoint} is not certified")]
    EndpointNotCertified {
        /// Whose.
        identity: Box<SpiffeId>,
        /// The endpoint stated.
        endpoint: IpAddr,
    },
    /// The identity key's signature is wrong.
    #[error("verify {0}: the identity key's signature on its statement is wrong")]
    IdentitySignature(Box<SpiffeId>),
    /// The tunnel key's signature is wrong: the node does not have the key it states.
    #[error("verify {0}: the tunnel key's signature on its statement is wrong")]
    TunnelSignature(Box<SpiffeId>),
    /// The tunnel key is an identity key or a root's.
    #[error("verify {0}: its tunnel key is an identity key or a root's")]
    TunnelKeyIsAnother(Box<SpiffeId>),
    /// Something newer was seen from this node, or something else under this number.
    #[error("verify {identity}")]
    Floor {
        /// Whose.
        identity: Box<SpiffeId>,
        /// What was seen.
        #[source]
        source: FloorError,
    },
}

impl VerifyError {
    /// Whether a human must look: somebody with a key signs what an honest node never would.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::Floor { source, .. } => source.is_alarm(),
            Self::TunnelKeyIsAnother(_) => true,
            Self::UnknownRoot(_)
            | Self::CertificateSignature(_)
            | Self::TrustDomain(_)
            | Self::PodRangesOutsideRoot { .. }
            | Self::PodRangesOutsideCluster { .. }
            | Self::AddressInsideCluster { .. }
            | Self::RootDates(_)
            | Self::NotYetValid { .. }
            | Self::Expired { .. }
            | Self::Revoked(_)
            | Self::OtherIdentity { .. }
            | Self::OtherCertificate { .. }
            | Self::OtherIdentityKey(_)
            | Self::EndpointNotCertified { .. }
            | Self::IdentitySignature(_)
            | Self::TunnelSignature(_) => false,
        }
    }
}

impl Envelope {
    /// Judges the envelope; `now` is the wall clock.
    ///
    /// Not-before is judged by the wall clock with a tolerance of five minutes. Not-after is
    /// judged by [`Floor::expiry_clock`], so that a clock set back revives nobody.
    ///
    /// # Errors
    /// Each reason for refusal has its own variant.
    pub fn verify(
        &self,
        roots: &TrustedRoots,
        revocations: &Revocations,
        floor: &Floor,
        now: UnixTime,
    ) -> Result<VerifiedPeer, VerifyError> {
        let root = check_chain(&self.certificate, roots)?;
        check_ranges(&self.certificate, root, roots)?;
        check_dates(&self.certificate, root, floor.expiry_clock(now), now)?;
        let who = || Box::new(self.certificate.terms().identity.clone());
        let terms = self.certificate.terms();
        if revocations.revokes_among(roots, &terms.key.hash(), &terms.identity.uid) {
            return Err(VerifyError::Revoked(who()));
        }
        check_binding(&self.statement, &self.certificate)?;
        self.check_signatures(roots)?;
        let pin = root.pin();
        floor
            .check(&pin, self)
            .map_err(|source| VerifyError::Floor {
                identity: who(),
                source,
            })?;
        Ok(VerifiedPeer(Arc::new(Verified {
            envelope: self.clone(),
            root: pin,
        })))
    }

    fn check_signatures(&self, roots: &TrustedRoots) -> Result<(), VerifyError> {
        let who = || Box::new(self.statement.identity.clone());
        let identity_key = &self.certificate.terms().key;
        let tunnel_key = &self.statement.tunnel_key;
        let signed = self.statement.signed_bytes(StatementSigner::Identity);
        if !identity_key.verify(&signed, &self.identity_signature) {
            return Err(VerifyError::IdentitySignature(who()));
        }
        let signed = self.statement.signed_bytes(StatementSigner::Tunnel);
        if !tunnel_key.verify(&signed, &self.tunnel_signature) {
            return Err(VerifyError::TunnelSignature(who()));
        }
        // Compared in Montgomery form, where a key and its negative are one.
        let x25519 = tunnel_key.x25519();
        let is_root = |root: &RootCertificate| root.key().to_montgomery().to_bytes() == x25519;
        if identity_key.montgomery() == x25519 || roots.iter().any(is_root) {
            return Err(VerifyError::TunnelKeyIsAnother(who()));
        }
        Ok(())
    }
}

fn check_chain<'a>(
    certificate: &NodeCertificate,
    roots: &'a TrustedRoots,
) -> Result<&'a RootCertificate, VerifyError> {
    let who = || Box::new(certificate.terms().identity.clone());
    let candidates: Vec<&RootCertificate> = roots
        .iter()
        .filter(|root| root.key_id() == *certificate.issuer())
        .collect();
    let Some(first) = candidates.first() else {
        return Err(VerifyError::UnknownRoot(who()));
    };
    let (body, signature) = certificate.signed();
    if !first.verify(body, signature) {
        return Err(VerifyError::CertificateSignature(who()));
    }
    // Several certificates of one root key differ in dates or trust domain: the latest counts.
    candidates
        .into_iter()
        .filter(|root| *root.trust_domain() == certificate.terms().identity.trust_domain)
        .max_by_key(|root| root.not_after())
        .ok_or_else(|| VerifyError::TrustDomain(who()))
}

fn check_ranges(
    certificate: &NodeCertificate,
    root: &RootCertificate,
    roots: &TrustedRoots,
) -> Result<(), VerifyError> {
    let terms = certificate.terms();
    let identity = || Box::new(terms.identity.clone());
    let ranges = &terms.pod_ranges;
    if !root.covers(ranges) {
        return Err(VerifyError::PodRangesOutsideRoot {
            identity: identity(),
            ranges: ranges.clone(),
        });
    }
    let Some(cluster) = roots.cluster() else {
        return Ok(());
    };
    if !cluster.covers(ranges) {
        return Err(VerifyError::PodRangesOutsideCluster {
            identity: identity(),
            ranges: ranges.clone(),
        });
    }
    match terms.addresses.iter().find(|at| cluster.contains(**at)) {
        Some(address) => Err(VerifyError::AddressInsideCluster {
            identity: identity(),
            address: *address,
        }),
        None => Ok(()),
    }
}

fn check_dates(
    certificate: &NodeCertificate,
    root: &RootCertificate,
    expiry_clock: UnixTime,
    now: UnixTime,
) -> Result<(), VerifyError> {
    let terms = certificate.terms();
    let identity = || Box::new(terms.identity.clone());
    let latest_start = now.plus(NOT_BEFORE_TOLERANCE);
    if root.not_before() > latest_start || expiry_clock > root.not_after() {
        return Err(VerifyError::RootDates(identity()));
    }
    if terms.not_before > latest_start {
        return Err(VerifyError::NotYetValid {
            identity: identity(),
            not_before: terms.not_before,
        });
    }
    if expiry_clock > terms.not_after {
        return Err(VerifyError::Expired {
            identity: identity(),
            not_after: terms.not_after,
        });
    }
    Ok(())
}

/// Checks that a statement was made for this certificate and claims nothing beside it.
pub(super) fn check_binding(
    statement: &KeyStatement,
    certificate: &NodeCertificate,
) -> Result<(), VerifyError> {
    let terms = certificate.terms();
    let identity = || Box::new(terms.identity.clone());
    if statement.identity != terms.identity {
        return Err(VerifyError::OtherIdentity {
            stated: Box::new(statement.identity.clone()),
            certified: identity(),
        });
    }
    if statement.certificate_serial != terms.serial {
        return Err(VerifyError::OtherCertificate {
            identity: identity(),
            stated: statement.certificate_serial,
            certified: terms.serial,
        });
    }
    if statement.identity_key_hash != terms.key.hash() {
        return Err(VerifyError::OtherIdentityKey(identity()));
    }
    let uncertified = |endpoint: &&IpAddr| !terms.addresses.contains(endpoint);
    match statement.endpoints.iter().find(uncertified) {
        Some(endpoint) => Err(VerifyError::EndpointNotCertified {
            identity: identity(),
            endpoint: *endpoint,
        }),
        None => Ok(()),
    }
}
