//! The envelope: statement, both signatures and the node certificate, as published and read.
//!
//! It proves itself, so it may come by any road. [`Envelope::verify`] is the one place where a
//! stranger's bytes become a [`VerifiedPeer`]; nothing else makes one.
//!
//! ```text
//! pin ── root certificate ── node certificate ── identity key ─┐
//!                              addresses, ranges               ├── statement ── tunnel key
//!                                          tunnel key itself ──┘
//! ```

mod refusal;
mod verify;

use std::{fmt, sync::Arc};

use der::{Any, Decode, Sequence, asn1::OctetString};
use ed25519_dalek::Signature;
use thiserror::Error;

pub use refusal::VerifyError;
pub use verify::NOT_BEFORE_TOLERANCE;

use crate::{
    CertificateError, IdentityKey, KeyStatement, NodeCertificate, Pin, PodRanges, Revocations,
    SpiffeId, StatementError, StatementSigner, TunnelKey, UnixTime,
    encoding::{self, EncodingError, encode, octets, sha256},
};

/// A statement with its proofs. Untrusted until [`verify`](Self::verify).
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    statement: KeyStatement,
    identity_signature: Signature,
    tunnel_signature: Signature,
    certificate: NodeCertificate,
}

/// A peer whose envelope was verified. It can be had only from [`Envelope::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedPeer(Arc<Verified>);

#[derive(PartialEq, Eq)]
struct Verified {
    envelope: Envelope,
    root: Pin,
}

/// Why an envelope cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// Not canonical DER of an envelope.
    #[error("read envelope")]
    Encoding(#[from] EncodingError),
    /// Its statement is refused.
    #[error("read envelope: its statement is refused")]
    Statement(#[from] StatementError),
    /// Its certificate is refused.
    #[error("read envelope: its certificate is refused")]
    Certificate(#[from] CertificateError),
}

/// Why a node cannot seal its own statement: keys, statement and certificate do not belong
/// together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// The statement is impossible.
    #[error("seal statement")]
    Statement(#[from] StatementError),
    /// The identity key is not the certified one.
    #[error("seal statement: the certificate is over another identity key")]
    IdentityKey,
    /// The tunnel key is not the stated one.
    #[error("seal statement: it states another tunnel key")]
    TunnelKey,
    /// The statement does not fit the certificate.
    #[error("seal statement: it does not fit the certificate")]
    Binding(#[source] VerifyError),
}

#[derive(Sequence)]
struct EnvelopeBody {
    statement: Any,
    identity_signature: OctetString,
    tunnel_signature: OctetString,
    certificate: Any,
}

impl Envelope {
    /// Signs a statement with both keys and adds the certificate.
    ///
    /// # Errors
    /// The four do not belong together.
    pub fn seal(
        statement: &KeyStatement,
        identity_key: &IdentityKey,
        tunnel_key: &TunnelKey,
        certificate: &NodeCertificate,
    ) -> Result<Self, SealError> {
        statement.check()?;
        if identity_key.public() != certificate.terms().key {
            return Err(SealError::IdentityKey);
        }
        if tunnel_key.public() != statement.tunnel_key {
            return Err(SealError::TunnelKey);
        }
        verify::check_binding(statement, certificate).map_err(SealError::Binding)?;
        let identity_signature =
            identity_key.sign(&statement.signed_bytes(StatementSigner::Identity));
        let tunnel_signature = tunnel_key.sign(&statement.signed_bytes(StatementSigner::Tunnel));
        Ok(Self {
            statement: statement.clone(),
            identity_signature,
            tunnel_signature,
            certificate: certificate.clone(),
        })
    }

    /// The envelope as DER.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        encode(&EnvelopeBody {
            statement: any(&self.statement.to_der()),
            identity_signature: octets(&self.identity_signature.to_bytes()),
            tunnel_signature: octets(&self.tunnel_signature.to_bytes()),
            certificate: any(self.certificate.to_der()),
        })
    }

    /// Reads an envelope. It stays untrusted.
    ///
    /// # Errors
    /// The bytes are not the canonical encoding of an envelope.
    pub fn from_der(der: &[u8]) -> Result<Self, EnvelopeError> {
        let body: EnvelopeBody = encoding::decode_canonical(der)?;
        let signature = |octets: &OctetString| {
            encoding::fixed(octets, "signature").map(|bytes| Signature::from_bytes(&bytes))
        };
        Ok(Self {
            statement: KeyStatement::from_der(&encode(&body.statement))?,
            identity_signature: signature(&body.identity_signature)?,
            tunnel_signature: signature(&body.tunnel_signature)?,
            certificate: NodeCertificate::from_der(&encode(&body.certificate))?,
        })
    }

    /// What the envelope states; unproven before [`verify`](Self::verify). For messages and for
    /// a node's own envelope.
    #[must_use]
    pub const fn statement(&self) -> &KeyStatement {
        &self.statement
    }

    /// The certificate inside; unproven before [`verify`](Self::verify).
    #[must_use]
    pub const fn certificate(&self) -> &NodeCertificate {
        &self.certificate
    }

    /// SHA-256 over statement and certificate: two envelopes of one generation must agree in it.
    pub(crate) fn content_hash(&self) -> [u8; 32] {
        sha256(&[&self.statement.to_der(), self.certificate.to_der()].concat())
    }
}

#[expect(clippy::expect_used, reason = "both parts were written by this crate")]
fn any(der: &[u8]) -> Any {
    Any::from_der(der).expect("what this crate encoded is DER")
}

impl VerifiedPeer {
    /// Who the peer is.
    #[must_use]
    pub fn identity(&self) -> &SpiffeId {
        &self.0.envelope.statement.identity
    }

    /// What the peer states.
    #[must_use]
    pub fn statement(&self) -> &KeyStatement {
        &self.0.envelope.statement
    }

    /// SHA-256 of the statement without label and signatures.
    #[must_use]
    pub fn statement_hash(&self) -> [u8; 32] {
        self.statement().hash()
    }

    /// The peer's certificate.
    #[must_use]
    pub fn certificate(&self) -> &NodeCertificate {
        &self.0.envelope.certificate
    }

    /// The ranges that the peer's pods live in.
    #[must_use]
    pub fn pod_ranges(&self) -> &PodRanges {
        &self.certificate().terms().pod_ranges
    }

    /// The last second the peer may be used.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.certificate().terms().not_after
    }

    /// The peer's WireGuard public key.
    #[must_use]
    pub fn x25519(&self) -> [u8; 32] {
        self.statement().tunnel_key.x25519()
    }

    /// The root that vouches for the peer.
    #[must_use]
    pub fn root(&self) -> Pin {
        self.0.root
    }

    /// The envelope, to keep on disk and verify again.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.0.envelope
    }

    /// Whether the peer was revoked since it was verified.
    #[must_use]
    pub fn is_revoked(&self, revocations: &Revocations) -> bool {
        revocations.revokes(&self.statement().identity_key_hash, &self.identity().uid)
    }

    /// Whether the certificate has run out; `now` is [`Floor::expiry_clock`](crate::Floor::expiry_clock).
    #[must_use]
    pub fn is_expired(&self, now: UnixTime) -> bool {
        now > self.not_after()
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyStatement {
            identity,
            certificate_serial,
            generation,
            ..
        } = &self.statement;
        write!(
            f,
            "Envelope({identity}, {certificate_serial}, {generation})"
        )
    }
}

impl fmt::Debug for VerifiedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedPeer({:?})", self.0.envelope)
    }
}
