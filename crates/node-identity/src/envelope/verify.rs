//! The judgement over an envelope: chain, dates, revocation, binding, signatures, floor.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{Envelope, Verified, VerifiedPeer, VerifyError};
use crate::{
    Floor, KeyStatement, NodeCertificate, Revocations, RootCertificate, StatementSigner,
    TrustedRoots, UnixTime,
};

/// How far in the future a certificate may begin: the clocks of nodes and controller differ.
pub const NOT_BEFORE_TOLERANCE: Duration = Duration::from_secs(5 * 60);

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
