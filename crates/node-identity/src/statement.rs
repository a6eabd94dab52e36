//! The key statement: a node's tunnel key, endpoints and lanes, under one certificate.
//!
//! It is signed twice: by the identity key, which the certificate certifies, and by the tunnel
//! key, which so proves that the node has it. A statement never changes; anything new is a new
//! generation.

use std::{fmt, net::IpAddr};

use der::{Sequence, asn1::OctetString};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    CertificateSerial, IkHash, KeyError, NameError, NodeUid, SpiffeId, TermsError, TunnelPublic,
    UnixTime,
    certificate::check_addresses,
    encoding::{self, EncodingError, encode, octets, sha256},
};

/// The only version of the format; it also stands for the protocol between the nodes.
const VERSION: u8 = 1;

/// Counts a node's tunnel keys: each key has its own number, and it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// What a node says about one generation of its tunnel key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatement {
    /// Who says it.
    pub identity: SpiffeId,
    /// The certificate it counts with, and with no other.
    pub certificate_serial: CertificateSerial,
    /// The identity key that signs.
    pub identity_key_hash: IkHash,
    /// Which of the node's tunnel keys this is.
    pub generation: Generation,
    /// The tunnel key.
    pub tunnel_key: TunnelPublic,
    /// Where the node is reached, in order of preference; among the certificate's addresses.
    pub endpoints: Vec<IpAddr>,
    /// The UDP port of lane 0; lane i has the port i further.
    pub base_port: u16,
    /// The number of lanes.
    pub lanes: u8,
}

/// Which of the two keys signs; each signs under its own label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementSigner {
    /// The identity key.
    Identity,
    /// The tunnel key.
    Tunnel,
}

/// Why a key statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StatementError {
    /// Not canonical DER of a statement.
    #[error("read key statement")]
    Encoding(#[from] EncodingError),
    /// Another version.
    #[error("read key statement: version {0} is not known, only {VERSION}")]
    Version(u8),
    /// A name in it is refused.
    #[error("read key statement: a name is refused")]
    Name(#[from] NameError),
    /// The tunnel key is refused.
    #[error("read key statement: the tunnel key is refused")]
    TunnelKey(#[source] KeyError),
    /// The endpoints are impossible.
    #[error("read key statement: the endpoints are refused")]
    Endpoints(#[source] TermsError),
    /// Port 0, no lanes, or ports past 65535.
    #[error("read key statement: {lanes} lanes from port {base_port} are impossible")]
    Ports {
        /// The first port.
        base_port: u16,
        /// The number of lanes.
        lanes: u8,
    },
}

#[derive(Sequence)]
struct StatementBody {
    version: u8,
    trust_domain: String,
    node_uid: OctetString,
    node_name: String,
    certificate_serial: u64,
    identity_key_hash: OctetString,
    generation: u64,
    tunnel_key: OctetString,
    endpoints: Vec<OctetString>,
    base_port: u16,
    lanes: u8,
}

impl Generation {
    /// The number of a new tunnel key: above the previous, and near the wall clock so that a
    /// node that lost its disk still goes forward.
    #[must_use]
    pub fn next(now: UnixTime, previous: Option<Self>) -> Self {
        let least = previous.map_or(0, |previous| previous.0.saturating_add(1));
        Self(now.0.max(least))
    }
}

impl StatementSigner {
    /// A label begins with a letter, as no DER does, so no other object that the same key
    /// signs can pass for a statement.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Identity => b"sotto statement identity v1\0",
            Self::Tunnel => b"sotto statement tunnel v1\0",
        }
    }
}

impl KeyStatement {
    /// The statement's DER, without label and signatures.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        encode(&StatementBody {
            version: VERSION,
            trust_domain: self.identity.trust_domain.to_string(),
            node_uid: octets(self.identity.uid.as_bytes()),
            node_name: self.identity.name.to_string(),
            certificate_serial: self.certificate_serial.0,
            identity_key_hash: octets(self.identity_key_hash.as_bytes()),
            generation: self.generation.0,
            tunnel_key: octets(&self.tunnel_key.to_bytes()),
            endpoints: self
                .endpoints
                .iter()
                .map(encoding::address_octets)
                .collect(),
            base_port: self.base_port,
            lanes: self.lanes,
        })
    }

    /// Reads a statement. Its signatures stand beside it, in the envelope.
    ///
    /// # Errors
    /// The bytes are not the canonical encoding of a possible statement.
    pub fn from_der(der: &[u8]) -> Result<Self, StatementError> {
        let body: StatementBody = encoding::decode_canonical(der)?;
        if body.version != VERSION {
            return Err(StatementError::Version(body.version));
        }
        let tunnel_key = encoding::fixed(&body.tunnel_key, "tunnel key")?;
        let endpoints = body.endpoints.iter().map(encoding::address_from);
        let statement = Self {
            identity: SpiffeId {
                trust_domain: body.trust_domain.parse()?,
                uid: NodeUid::from_bytes(encoding::fixed(&body.node_uid, "node UID")?)?,
                name: body.node_name.parse()?,
            },
            certificate_serial: CertificateSerial(body.certificate_serial),
            identity_key_hash: IkHash(encoding::fixed(
                &body.identity_key_hash,
                "identity key hash",
            )?),
            generation: Generation(body.generation),
            tunnel_key: TunnelPublic::from_bytes(&tunnel_key).map_err(StatementError::TunnelKey)?,
            endpoints: endpoints.collect::<Result<_, _>>()?,
            base_port: body.base_port,
            lanes: body.lanes,
        };
        statement.check()?;
        Ok(statement)
    }

    /// Checks what must hold whoever signs.
    ///
    /// # Errors
    /// Endpoints or ports are impossible.
    pub fn check(&self) -> Result<(), StatementError> {
        check_addresses(&self.endpoints).map_err(StatementError::Endpoints)?;
        let last = self
            .base_port
            .checked_add(u16::from(self.lanes).saturating_sub(1));
        if self.base_port == 0 || self.lanes == 0 || last.is_none() {
            return Err(StatementError::Ports {
                base_port: self.base_port,
                lanes: self.lanes,
            });
        }
        Ok(())
    }

    /// The bytes that one of the two keys signs: its label, then the statement.
    #[must_use]
    pub fn signed_bytes(&self, signer: StatementSigner) -> Vec<u8> {
        [signer.label(), &self.to_der()].concat()
    }

    /// SHA-256 of the statement without label and signatures.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.to_der())
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
