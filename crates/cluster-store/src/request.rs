//! A node's request for a certificate, the controller's answer, and how both are written down.
//!
//! The encoding is JSON with exactly one form: what does not come out the same when written again
//! is refused. Reading is bounded and never panics; it proves nothing about who asked.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Largest written request. A PKCS#10 request with eight addresses has some 500 bytes; the rest
/// is room for longer names (a guess, generous).
pub(crate) const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Largest written answer.
pub(crate) const MAX_ANSWER_BYTES: usize = 1024;

const VERSION: u32 = 1;

/// What a node asks the controller to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentRequest {
    /// The PKCS#10 request, DER, signed by the node's identity key.
    pub pkcs10: Vec<u8>,
    /// Shows that the node holds a join token. Absent in a renewal, which the identity key that
    /// the controller knows already signs.
    pub token: Option<TokenProof>,
}

/// Names a join token and proves that its secret is known, without showing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenProof {
    /// The token's id.
    pub id: [u8; 16],
    /// The token's MAC over the PKCS#10 request.
    pub mac: [u8; 32],
}

/// Names one request in its store. In a folder it is the first half of the request's SHA-256, so
/// nobody can take another's place; in Kubernetes the UID that the API server gave the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId([u8; 16]);

/// How far the controller is with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestState {
    /// The controller has not looked at it yet.
    Waiting,
    /// What it needs is not true yet. The controller looks again without being asked.
    Pending(PendingReason),
    /// The certificate is published under the node's UID.
    Issued,
    /// The controller refused; only its own log says why.
    Refused,
}

impl RequestState {
    /// Whether an answer is still to come.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Waiting | Self::Pending(_) => true,
            Self::Issued | Self::Refused => false,
        }
    }
}

/// The controller's answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It waits for something.
    Pending(PendingReason),
    /// Here is the certificate, DER. It is published under the node too.
    Issued(&'a [u8]),
    /// Refused, for good.
    Refused,
}

impl Answer<'_> {
    /// The state that the request has afterwards.
    #[must_use]
    pub fn state(self) -> RequestState {
        match self {
            Self::Pending(reason) => RequestState::Pending(reason),
            Self::Issued(_) => RequestState::Issued,
            Self::Refused => RequestState::Refused,
        }
    }
}

/// What a pending request waits for. Told only to those who proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PendingReason {
    /// No pod range is free.
    #[error("no pod range is free: widen cluster_pod_ranges or revoke nodes that are gone")]
    NoFreePodRange,
    /// The node is live with another identity key.
    #[error(
        "the node is live with another key: run `sotto approve NODE` (`sotto-controller approve NODE` where the store is a folder)"
    )]
    AwaitsApproval,
    /// The node had too many certificates in the last hour.
    #[error("too many certificates in the last hour")]
    RateLimited,
    /// Kubernetes has not given the node a pod range.
    #[error("the Node has no spec.podCIDRs: is the node CIDR allocator of the cluster on?")]
    NoNodePodRange,
    /// The Node object has no address that may be certified.
    #[error("the Node has no InternalIP inside underlay_ranges that no other node holds")]
    NoAddress,
    /// A node whose Node object is gone is not revoked yet and has the name or the pod range.
    #[error("a node whose Node is gone still has the name or the pod range, until it is revoked")]
    HeldByDeparted,
}

/// The requests found in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// Those that could be read, in order of id.
    pub requests: Vec<StoredRequest>,
    /// Those that could not, by name.
    pub refused: Vec<crate::RefusedEntry>,
}

/// One request in the store, with the controller's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// Its id.
    pub id: RequestId,
    /// What was asked.
    pub request: EnrolmentRequest,
    /// What the store vouches for about who asked.
    pub requester: crate::Requester,
    /// The answer so far.
    pub state: RequestState,
}

/// Why bytes are no request or no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than its kind may be.
    #[error("decode: {length} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not the fields, types and encodings of its kind.
    #[error("decode: {0}")]
    Malformed(String),
    /// A version that this program does not know.
    #[error("decode: version {0} is unknown, is the other side newer?")]
    UnknownVersion(u32),
    /// Written in another way than this program writes it.
    #[error("decode: not in its one canonical form")]
    NotCanonical,
    /// No request id.
    #[error("parse request id: 32 lower-case hexadecimal digits expected")]
    BadId,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRequest {
    version: u32,
    pkcs10: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<WireProof>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireProof {
    id: String,
    mac: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAnswer {
    version: u32,
    state: WireState,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum WireState {
    Waiting,
    NoFreePodRange,
    AwaitsApproval,
    RateLimited,
    NoNodePodRange,
    NoAddress,
    HeldByDeparted,
    Issued,
    Refused,
}

impl EnrolmentRequest {
    /// Writes the request in its one form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_json(&WireRequest {
            version: VERSION,
            pkcs10: Base64::encode_string(&self.pkcs10),
            token: self.token.map(|proof| WireProof {
                id: Base64::encode_string(&proof.id),
                mac: Base64::encode_string(&proof.mac),
            }),
        })
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`DecodeError`] for everything that [`EnrolmentRequest::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: WireRequest = from_json(bytes, MAX_REQUEST_BYTES)?;
        known_version(wire.version)?;
        let token = match &wire.token {
            Some(proof) => Some(TokenProof {
                id: from_base64_exact(&proof.id)?,
                mac: from_base64_exact(&proof.mac)?,
            }),
            None => None,
        };
        let request = Self {
            pkcs10: from_base64(&wire.pkcs10)?,
            token,
        };
        if request.encode() == bytes {
            Ok(request)
        } else {
            Err(DecodeError::NotCanonical)
        }
    }

    /// The request's id in a folder: asking the same again has the same id.
    #[must_use]
    pub fn id(&self) -> RequestId {
        let digest: [u8; 32] = Sha256::digest(self.encode()).into();
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        RequestId(id)
    }
}

impl RequestState {
    /// Writes the answer in its one form.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let state = match self {
            Self::Waiting => WireState::Waiting,
            Self::Pending(PendingReason::NoFreePodRange) => WireState::NoFreePodRange,
            Self::Pending(PendingReason::AwaitsApproval) => WireState::AwaitsApproval,
            Self::Pending(PendingReason::RateLimited) => WireState::RateLimited,
            Self::Pending(PendingReason::NoNodePodRange) => WireState::NoNodePodRange,
            Self::Pending(PendingReason::NoAddress) => WireState::NoAddress,
            Self::Pending(PendingReason::HeldByDeparted) => WireState::HeldByDeparted,
            Self::Issued => WireState::Issued,
            Self::Refused => WireState::Refused,
        };
        to_json(&WireAnswer {
            version: VERSION,
            state,
        })
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// [`DecodeError`] for everything that [`RequestState::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: WireAnswer = from_json(bytes, MAX_ANSWER_BYTES)?;
        known_version(wire.version)?;
        let state = match wire.state {
            WireState::Waiting => Self::Waiting,
            WireState::NoFreePodRange => Self::Pending(PendingReason::NoFreePodRange),
            WireState::AwaitsApproval => Self::Pending(PendingReason::AwaitsApproval),
            WireState::RateLimited => Self::Pending(PendingReason::RateLimited),
            WireState::NoNodePodRange => Self::Pending(PendingReason::NoNodePodRange),
            WireState::NoAddress => Self::Pending(PendingReason::NoAddress),
            WireState::HeldByDeparted => Self::Pending(PendingReason::HeldByDeparted),
            WireState::Issued => Self::Issued,
            WireState::Refused => Self::Refused,
        };
        if state.encode() == bytes {
            Ok(state)
        } else {
            Err(DecodeError::NotCanonical)
        }
    }
}

impl RequestId {
    /// The id of these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for RequestId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = match text.len() {
            32 => u128::from_str_radix(text, 16).map_err(|_| DecodeError::BadId)?,
            _ => return Err(DecodeError::BadId),
        };
        let id = Self(value.to_be_bytes());
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(DecodeError::BadId)
        }
    }
}

pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, DecodeError> {
    Base64::decode_vec(text).map_err(|error| DecodeError::Malformed(error.to_string()))
}

fn from_base64_exact<const N: usize>(text: &str) -> Result<[u8; N], DecodeError> {
    from_base64(text)?.try_into().map_err(|bytes: Vec<u8>| {
        DecodeError::Malformed(format!("{} bytes, {N} expected", bytes.len()))
    })
}

pub(crate) fn known_version(version: u32) -> Result<(), DecodeError> {
    if version == VERSION {
        Ok(())
    } else {
        Err(DecodeError::UnknownVersion(version))
    }
}

pub(crate) fn from_json<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    limit: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge {
            length: bytes.len(),
            limit,
        });
    }
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used)]
    let mut bytes = serde_json::to_vec(value).expect("strings and numbers always serialize");
    bytes.push(b'\n');
    bytes
}
