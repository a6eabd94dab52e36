//! The node certificate: the root's word for a node's key, addresses and pod ranges.
//!
//! Reading one proves nothing; the chain, dates and revocations are judged in
//! [`Envelope::verify`](crate::Envelope::verify). Everything in a certificate follows from its
//! terms and its root's key, so one that says the same in other bytes, or anything more, is
//! refused.

mod terms;

use std::fmt;

use ed25519_dalek::{Signature, SigningKey};
use thiserror::Error;
use x509_cert::{
    certificate::Version,
    ext::pkix::{AuthorityKeyIdentifier, KeyUsages},
    name::Name,
};

pub(crate) use terms::check_addresses;
pub use terms::{
    CERTIFICATE_LIFETIME, MAX_ADDRESSES, NOT_BEFORE_BACKDATE, NodeCertificateTerms, TermsError,
};

use crate::{
    CertificateSerial, IdentityPublic, KeyError, NameError, PodCidrError, PodRanges, SpiffeId,
    encoding::{self, EncodingError, encode},
    x509::{
        self, CertificateBody, KeyId, SignedPartsError,
        address_blocks::{AddressBlocks, AddressBlocksError},
    },
};

/// A node certificate as read: well-formed, and nothing more.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    der: Vec<u8>,
    body: Vec<u8>,
    signature: Signature,
    issuer: KeyId,
    terms: NodeCertificateTerms,
}

/// Why bytes are not a node certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Not canonical DER of a certificate.
    #[error("read node certificate")]
    Encoding(#[from] EncodingError),
    /// Signed with something else than Ed25519.
    #[error("read node certificate: only Ed25519 signatures are accepted")]
    Algorithm,
    /// Its key is refused.
    #[error("read node certificate: its key is refused")]
    Key(#[source] KeyError),
    /// Its issuer is not named by key.
    #[error("read node certificate: its issuer's key identifier is missing or malformed")]
    Issuer,
    /// Its names are not one URI followed by addresses.
    #[error("read node certificate: one URI name and then addresses are expected")]
    Names,
    /// Its URI is not the SPIFFE id of a node.
    #[error("read node certificate: its URI is refused")]
    Identity(#[source] NameError),
    /// Its address blocks are refused.
    #[error("read node certificate: its address blocks are refused")]
    AddressBlocks(#[source] AddressBlocksError),
    /// Its address blocks hold addresses that pods cannot have.
    #[error("read node certificate: its pod ranges are refused")]
    PodRanges(#[source] PodCidrError),
    /// What it says is impossible.
    #[error("read node certificate {serial} of {identity}")]
    Terms {
        /// Whose it claims to be.
        identity: Box<SpiffeId>,
        /// Its serial.
        serial: CertificateSerial,
        /// What is impossible.
        #[source]
        source: TermsError,
    },
    /// It has other extensions (perhaps critical ones), names or orders than Sotto writes.
    #[error("read node certificate: it has not the form of a Sotto node certificate")]
    Form,
}

impl NodeCertificate {
    /// Reads a node certificate. It stays untrusted.
    ///
    /// # Errors
    /// It is not exactly what a root writes.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let parts = x509::signed_parts(der).map_err(|error| match error {
            SignedPartsError::Encoding(error) => CertificateError::Encoding(error),
            SignedPartsError::Algorithm => CertificateError::Algorithm,
        })?;
        let body: CertificateBody = encoding::decode_canonical(&parts.body)?;
        let issuer = read_issuer(&body).ok_or(CertificateError::Issuer)?;
        let terms = read_terms(&body)?;
        if body.version != Version::V3 || encode(&node_body(&terms, &issuer)) != parts.body {
            return Err(CertificateError::Form);
        }
        terms.check().map_err(|source| CertificateError::Terms {
            identity: Box::new(terms.identity.clone()),
            serial: terms.serial,
            source,
        })?;
        Ok(Self {
            der: der.to_vec(),
            body: parts.body,
            signature: parts.signature,
            issuer,
            terms,
        })
    }

    /// The certificate as DER.
    #[must_use]
    pub fn to_der(&self) -> &[u8] {
        &self.der
    }

    /// What the certificate says.
    #[must_use]
    pub const fn terms(&self) -> &NodeCertificateTerms {
        &self.terms
    }

    pub(crate) fn sign(terms: &NodeCertificateTerms, root: &SigningKey) -> Self {
        let issuer = x509::key_id(&root.verifying_key());
        let (der, body, signature) = x509::sign(&node_body(terms, &issuer), root);
        Self {
            der,
            body,
            signature,
            issuer,
            terms: terms.clone(),
        }
    }

    /// The key identifier of the root that is said to have signed.
    pub(crate) const fn issuer(&self) -> &KeyId {
        &self.issuer
    }

    /// The bytes that the root signed, and the signature.
    pub(crate) fn signed(&self) -> (&[u8], &Signature) {
        (&self.body, &self.signature)
    }
}

fn node_body(terms: &NodeCertificateTerms, issuer: &KeyId) -> CertificateBody {
    let uri = terms.identity.to_string();
    let extensions = vec![
        x509::basic_constraints(None),
        x509::key_usage(KeyUsages::DigitalSignature),
        x509::authority_key(issuer),
        x509::alternative_names(true, &uri, &terms.addresses),
        AddressBlocks::of_ranges(&terms.pod_ranges).to_extension(),
    ];
    CertificateBody::new(
        terms.serial.0,
        x509::root_name(issuer),
        Name::default(),
        (terms.not_before, terms.not_after),
        terms.key.verifying_key(),
        extensions,
    )
}

fn read_issuer(body: &CertificateBody) -> Option<KeyId> {
    let authority: AuthorityKeyIdentifier = x509::find(&body.extensions)?;
    authority.key_identifier?.as_bytes().try_into().ok()
}

fn read_terms(body: &CertificateBody) -> Result<NodeCertificateTerms, CertificateError> {
    let (uri, addresses) =
        x509::read_alternative_names(&body.extensions).ok_or(CertificateError::Names)?;
    let blocks = AddressBlocks::from_extensions(&body.extensions)
        .map_err(CertificateError::AddressBlocks)?;
    let (not_before, not_after) = body.dates();
    Ok(NodeCertificateTerms {
        identity: uri.parse().map_err(CertificateError::Identity)?,
        key: x509::key_from_info(&body.key)
            .map(IdentityPublic::from_strict)
            .map_err(CertificateError::Key)?,
        addresses,
        pod_ranges: PodRanges::from_intervals(blocks.intervals())
            .map_err(CertificateError::PodRanges)?,
        serial: CertificateSerial(body.serial),
        not_before,
        not_after,
    })
}

impl fmt::Debug for NodeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodeCertificateTerms {
            identity, serial, ..
        } = &self.terms;
        write!(f, "NodeCertificate({identity}, {serial})")
    }
}
