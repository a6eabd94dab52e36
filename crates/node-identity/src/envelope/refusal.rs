//! Every reason for which an envelope is refused.

use std::net::IpAddr;

use thiserror::Error;

use crate::{CertificateSerial, FloorError, PodRanges, SpiffeId, UnixTime};

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
