//! The join token: one opaque string that lets one node enrol once, without Kubernetes.
//!
//! It tells the node which root to trust and who it is; its secret never travels. The request
//! carries a MAC by it instead.

use std::{fmt, net::IpAddr, str::FromStr};

use base64ct::{Base64UrlUnpadded, Encoding};
use der::{Sequence, asn1::OctetString};
use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    NameError, NodeUid, Pin, SpiffeId, TermsError,
    certificate::check_addresses,
    encoding::{self, EncodingError, encode, hex, octets, serde_as_text},
};

const PREFIX: &str = "sotto1.";
const MAC_LABEL: &[u8] = b"sotto join v1";

/// Names a token in the controller's books; not secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinTokenId([u8; 16]);

/// What a new node needs to enrol. Prints as `<redacted>` except through `Display`.
#[derive(Clone)]
pub struct JoinToken {
    /// The root to trust.
    pub pin: Pin,
    /// Who the node is: its UID is made with the token.
    pub identity: SpiffeId,
    /// The addresses that the node may be reached at; empty leaves it to the underlay ranges.
    pub endpoints: Vec<IpAddr>,
    /// The token's name.
    pub id: JoinTokenId,
    secret: Zeroizing<[u8; 32]>,
}

/// Why text is not a join token. The text itself is a secret and is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JoinTokenError {
    /// Another beginning or alphabet.
    #[error("read join token: sotto1. and base64url are expected, was all of it copied?")]
    Text,
    /// Not canonical DER inside.
    #[error("read join token: its content is damaged, was all of it copied?")]
    Encoding(#[from] EncodingError),
    /// A name in it is refused.
    #[error("read join token: a name is refused")]
    Name(#[from] NameError),
    /// The endpoints are impossible.
    #[error("make or read join token: the endpoints are refused")]
    Endpoints(#[source] TermsError),
}

#[derive(Sequence)]
struct TokenBody {
    pin: OctetString,
    trust_domain: String,
    node_uid: OctetString,
    node_name: String,
    endpoints: Vec<OctetString>,
    id: OctetString,
    secret: OctetString,
}

impl JoinToken {
    /// Makes a token with a new id and secret.
    ///
    /// # Errors
    /// The endpoints are impossible.
    pub fn generate(
        pin: Pin,
        identity: SpiffeId,
        endpoints: Vec<IpAddr>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, JoinTokenError> {
        check(&endpoints)?;
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut());
        Ok(Self {
            pin,
            identity,
            endpoints,
            id: JoinTokenId(id),
            secret,
        })
    }

    /// HMAC-SHA256 over a certificate request's DER: proves the token without showing it.
    #[must_use]
    pub fn request_mac(&self, request: &[u8]) -> [u8; 32] {
        self.mac(request).finalize().into_bytes().into()
    }

    /// Whether a request's MAC is by this token, in constant time.
    #[must_use]
    pub fn verifies_request(&self, request: &[u8], mac: &[u8; 32]) -> bool {
        self.request_mac(request).ct_eq(mac).into()
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, request: &[u8]) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(self.secret.as_ref())
            .expect("HMAC takes keys of any length")
            .chain_update(MAC_LABEL)
            .chain_update(request)
    }
}

impl JoinTokenId {
    /// Wraps an id that was read elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// In constant time as far as the secret goes.
impl PartialEq for JoinToken {
    fn eq(&self, other: &Self) -> bool {
        let secret: bool = self.secret.ct_eq(&*other.secret).into();
        secret
            && self.id == other.id
            && self.pin == other.pin
            && self.identity == other.identity
            && self.endpoints == other.endpoints
    }
}

impl Eq for JoinToken {}

/// No endpoints are allowed here: then the underlay ranges decide.
fn check(endpoints: &[IpAddr]) -> Result<(), JoinTokenError> {
    if endpoints.is_empty() {
        return Ok(());
    }
    check_addresses(endpoints).map_err(JoinTokenError::Endpoints)
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(JoinTokenError::Text)?;
        let der = Base64UrlUnpadded::decode_vec(encoded).map_err(|_| JoinTokenError::Text)?;
        let der = Zeroizing::new(der);
        let body: TokenBody = encoding::decode_canonical(&der)?;
        let endpoints = body.endpoints.iter().map(encoding::address_from);
        let token = Self {
            pin: Pin(encoding::fixed(&body.pin, "pin")?),
            identity: SpiffeId {
                trust_domain: body.trust_domain.parse()?,
                uid: NodeUid::from_bytes(encoding::fixed(&body.node_uid, "node UID")?)?,
                name: body.node_name.parse()?,
            },
            endpoints: endpoints.collect::<Result<_, _>>()?,
            id: JoinTokenId(encoding::fixed(&body.id, "token id")?),
            secret: Zeroizing::new(encoding::fixed(&body.secret, "secret")?),
        };
        body.secret.into_bytes().zeroize();
        check(&token.endpoints)?;
        Ok(token)
    }
}

/// Writes the whole token, secret included: only for the operator's terminal.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = TokenBody {
            pin: octets(self.pin.as_bytes()),
            trust_domain: self.identity.trust_domain.to_string(),
            node_uid: octets(self.identity.uid.as_bytes()),
            node_name: self.identity.name.to_string(),
            endpoints: self
                .endpoints
                .iter()
                .map(encoding::address_octets)
                .collect(),
            id: octets(&self.id.0),
            secret: octets(self.secret.as_ref()),
        };
        let der = Zeroizing::new(encode(&body));
        body.secret.into_bytes().zeroize();
        let text = Zeroizing::new(Base64UrlUnpadded::encode_string(&der));
        write!(f, "{PREFIX}{}", text.as_str())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, {}, <redacted>)", self.id, self.identity)
    }
}

impl fmt::Display for JoinTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for JoinTokenId {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        encoding::from_hex(text)
            .map(Self)
            .ok_or(JoinTokenError::Text)
    }
}

serde_as_text!(JoinTokenId);

impl fmt::Debug for JoinTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinTokenId({self})")
    }
}
