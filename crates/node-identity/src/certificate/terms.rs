//! What a node certificate says, and what it can say at all, whoever signs it.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use thiserror::Error;

use crate::{CertificateSerial, IdentityPublic, PodRanges, SpiffeId, UnixTime, x509::LAST_DATE};

/// How long a node certificate is valid: three times its renewal interval of a day, so that a
/// control plane may be away for a weekend; it also bounds what a withheld revocation costs.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(72 * 3600);

/// How far not-before lies behind the moment of issue, for nodes whose clocks are behind.
pub const NOT_BEFORE_BACKDATE: Duration = Duration::from_secs(5 * 60);

/// The most underlay addresses of one node: a guess that leaves room for several networks.
pub const MAX_ADDRESSES: usize = 8;

/// What a node certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificateTerms {
    /// Whose it is.
    pub identity: SpiffeId,
    /// The node's identity key.
    pub key: IdentityPublic,
    /// The node's underlay addresses, among which its endpoints must be.
    pub addresses: Vec<IpAddr>,
    /// The ranges its pods live in.
    pub pod_ranges: PodRanges,
    /// Its place in the order of issue.
    pub serial: CertificateSerial,
    /// The first second of validity.
    pub not_before: UnixTime,
    /// The last second of validity.
    pub not_after: UnixTime,
}

/// Why the terms of a certificate are impossible, whoever signed them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TermsError {
    /// No address, or too many.
    #[error("check certificate terms: {0} addresses, 1 to {MAX_ADDRESSES} are allowed")]
    AddressCount(usize),
    /// An address that no node can be reached at.
    #[error("check certificate terms: no node can be reached at {0}")]
    Address(IpAddr),
    /// An address stands twice.
    #[error("check certificate terms: the address {0} stands twice")]
    AddressTwice(IpAddr),
    /// An address lies in the node's own pod ranges.
    #[error("check certificate terms: the address {0} lies in the node's own pod ranges")]
    AddressInPodRanges(IpAddr),
    /// No pod range.
    #[error("check certificate terms: there is no pod range")]
    NoPodRanges,
    /// The end is not behind the beginning, or past the year 9999.
    #[error(
        "check certificate terms: not-after {not_after} does not follow not-before {not_before}"
    )]
    Dates {
        /// The first second.
        not_before: UnixTime,
        /// The last second.
        not_after: UnixTime,
    },
    /// Valid for longer than 72 hours and the backdating.
    #[error("check certificate terms: valid for {0:?}, longer than node certificates may be")]
    Lifetime(Duration),
}

impl NodeCertificateTerms {
    /// Checks what must hold whoever signs.
    ///
    /// # Errors
    /// Addresses, ranges or dates are impossible.
    pub fn check(&self) -> Result<(), TermsError> {
        check_addresses(&self.addresses)?;
        if let Some(inside) = self
            .addresses
            .iter()
            .find(|at| self.pod_ranges.contains(**at))
        {
            return Err(TermsError::AddressInPodRanges(*inside));
        }
        if self.pod_ranges.is_empty() {
            return Err(TermsError::NoPodRanges);
        }
        if self.not_after <= self.not_before || self.not_after > LAST_DATE {
            return Err(TermsError::Dates {
                not_before: self.not_before,
                not_after: self.not_after,
            });
        }
        let lifetime = self.not_after.duration_since(self.not_before);
        if lifetime > CERTIFICATE_LIFETIME.saturating_add(NOT_BEFORE_BACKDATE) {
            return Err(TermsError::Lifetime(lifetime));
        }
        Ok(())
    }
}

/// Checks underlay addresses: some, not too many, each once, each one a node can be reached at.
pub(crate) fn check_addresses(addresses: &[IpAddr]) -> Result<(), TermsError> {
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
        return Err(TermsError::AddressCount(addresses.len()));
    }
    let mut seen = BTreeSet::new();
    for address in addresses {
        if !is_reachable(address) {
            return Err(TermsError::Address(*address));
        }
        if !seen.insert(address) {
            return Err(TermsError::AddressTwice(*address));
        }
    }
    Ok(())
}

/// Unspecified, loopback, multicast and link-local addresses reach nobody from elsewhere, and a
/// v4-mapped address would be a second spelling.
fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.is_link_local()
                || address.is_broadcast())
        }
        IpAddr::V6(address) => {
            !(address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some())
        }
    }
}
