//! The revocation list of a root: which identity keys and nodes are out, and until when.
//!
//! By identity key and node UID, never by serial: three certificates of one key live at once.
//! [`Revocations`] is what a daemon keeps of all lists it ever verified.

mod kept;

use der::{Any, Choice, Decode, Sequence, asn1::OctetString};
use ed25519_dalek::Signature;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use kept::Revocations;

use crate::{
    IkHash, NodeUid, Pin, RootCertificate, TrustedRoots, UnixTime,
    encoding::{self, EncodingError, encode, octets, sha256},
};

/// Before the signed bytes; begins with a letter, as no DER does.
const LABEL: &[u8] = b"sotto revocations v1\0";

/// Who is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevokedSubject {
    /// An identity key, in every certificate over it.
    IdentityKey(IkHash),
    /// A node, with every key it ever had.
    Node(NodeUid),
}

/// One revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RevocationEntry {
    /// Who is revoked.
    pub subject: RevokedSubject,
    /// The last not-after of a certificate that it concerns.
    pub until: UnixTime,
}

/// What a root says about who is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// Grows with each list: max(previous + 1, Unix seconds).
    pub number: u64,
    /// When it was signed.
    pub issued: UnixTime,
    /// When the next one is due at the latest.
    pub next_update: UnixTime,
    /// The entries, in any order; each subject once.
    pub entries: Vec<RevocationEntry>,
}

/// A revocation list with its signature, as published. Untrusted until verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRevocationList {
    list: RevocationList,
    signature: Signature,
}

/// A revocation list that a trusted root signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRevocationList {
    list: RevocationList,
    root: Pin,
}

/// Why a revocation list is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RevocationError {
    /// Not canonical DER of a list: damaged, entries out of order or doubled.
    #[error("read revocation list")]
    Encoding(#[from] EncodingError),
    /// An entry names the all-zero UID.
    #[error("read revocation list: an entry names no node")]
    Subject,
    /// Due again before it was issued.
    #[error("read revocation list {0}: its next update lies before its issue")]
    Dates(u64),
    /// No trusted root signed it.
    #[error("verify revocation list {0}: no pinned root signed it")]
    Signature(u64),
    /// A newer list of the same root was accepted before.
    #[error("accept revocation list {number} of {root}: list {newest} was accepted before")]
    Older {
        /// The root.
        root: Pin,
        /// The number shown.
        number: u64,
        /// The number accepted before.
        newest: u64,
    },
    /// Another list of the same number was accepted before: the root's key is in two hands.
    #[error("accept revocation list {number} of {root}: another list has this number")]
    Equivocation {
        /// The root.
        root: Pin,
        /// The number shown.
        number: u64,
    },
}

impl RevocationError {
    /// Whether a human must look.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::Equivocation { .. } => true,
            Self::Encoding(_)
            | Self::Subject
            | Self::Dates(_)
            | Self::Signature(_)
            | Self::Older { .. } => false,
        }
    }
}

#[derive(Sequence)]
struct SignedBody {
    list: Any,
    signature: OctetString,
}

#[derive(Sequence)]
struct ListBody {
    number: u64,
    issued: u64,
    next_update: u64,
    entries: Vec<EntryBody>,
}

#[derive(Sequence)]
struct EntryBody {
    subject: SubjectBody,
    until: u64,
}

#[derive(Choice)]
enum SubjectBody {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    IdentityKey(OctetString),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT")]
    Node(OctetString),
}

impl RevocationList {
    /// The number of the next list.
    #[must_use]
    pub fn next_number(now: UnixTime, previous: Option<u64>) -> u64 {
        now.0
            .max(previous.map_or(0, |number| number.saturating_add(1)))
    }

    /// The list's DER: entries sorted by subject, the longest revocation of each.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut entries = self.entries.clone();
        entries.sort_unstable_by_key(|entry| (entry.subject, std::cmp::Reverse(entry.until)));
        entries.dedup_by_key(|entry| entry.subject);
        encode(&ListBody {
            number: self.number,
            issued: self.issued.0,
            next_update: self.next_update.0,
            entries: entries.iter().map(write_entry).collect(),
        })
    }

    fn from_der(der: &[u8]) -> Result<Self, RevocationError> {
        let body: ListBody = encoding::decode_canonical(der)?;
        let list = Self {
            number: body.number,
            issued: UnixTime(body.issued),
            next_update: UnixTime(body.next_update),
            entries: body
                .entries
                .iter()
                .map(read_entry)
                .collect::<Result<_, _>>()?,
        };
        if list.next_update < list.issued {
            return Err(RevocationError::Dates(list.number));
        }
        if list.to_der() != der {
            return Err(EncodingError::NotCanonical.into());
        }
        Ok(list)
    }

    /// The bytes that the root signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        [LABEL, &self.to_der()].concat()
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        sha256(&self.to_der())
    }
}

fn write_entry(entry: &RevocationEntry) -> EntryBody {
    let subject = match &entry.subject {
        RevokedSubject::IdentityKey(hash) => SubjectBody::IdentityKey(octets(hash.as_bytes())),
        RevokedSubject::Node(uid) => SubjectBody::Node(octets(uid.as_bytes())),
    };
    EntryBody {
        subject,
        until: entry.until.0,
    }
}

fn read_entry(body: &EntryBody) -> Result<RevocationEntry, RevocationError> {
    let subject = match &body.subject {
        SubjectBody::IdentityKey(hash) => {
            RevokedSubject::IdentityKey(IkHash(encoding::fixed(hash, "identity key hash")?))
        }
        SubjectBody::Node(uid) => {
            let uid = NodeUid::from_bytes(encoding::fixed(uid, "node UID")?);
            RevokedSubject::Node(uid.map_err(|_| RevocationError::Subject)?)
        }
    };
    Ok(RevocationEntry {
        subject,
        until: UnixTime(body.until),
    })
}

impl SignedRevocationList {
    pub(crate) fn sign(list: &RevocationList, sign: impl FnOnce(&[u8]) -> Signature) -> Self {
        Self {
            list: list.clone(),
            signature: sign(&list.signed_bytes()),
        }
    }

    /// The list and its signature as DER.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the list was encoded a line before")]
    pub fn to_der(&self) -> Vec<u8> {
        let list = self.list.to_der();
        encode(&SignedBody {
            list: Any::from_der(&list).expect("what was just encoded is DER"),
            signature: octets(&self.signature.to_bytes()),
        })
    }

    /// Reads a list. It stays untrusted.
    ///
    /// # Errors
    /// The bytes are not the canonical encoding of a list.
    pub fn from_der(der: &[u8]) -> Result<Self, RevocationError> {
        let body: SignedBody = encoding::decode_canonical(der)?;
        let signature = encoding::fixed(&body.signature, "signature")?;
        Ok(Self {
            list: RevocationList::from_der(&encode(&body.list))?,
            signature: Signature::from_bytes(&signature),
        })
    }

    /// What the list says; unproven before [`verify`](Self::verify).
    #[must_use]
    pub const fn list(&self) -> &RevocationList {
        &self.list
    }

    /// Checks that one of the trusted roots signed.
    ///
    /// # Errors
    /// None did.
    pub fn verify(&self, roots: &TrustedRoots) -> Result<VerifiedRevocationList, RevocationError> {
        let signed = self.list.signed_bytes();
        roots
            .iter()
            .find(|root| root.verify(&signed, &self.signature))
            .map(|root: &RootCertificate| VerifiedRevocationList {
                list: self.list.clone(),
                root: root.pin(),
            })
            .ok_or(RevocationError::Signature(self.list.number))
    }
}

impl VerifiedRevocationList {
    /// What the list says.
    #[must_use]
    pub const fn list(&self) -> &RevocationList {
        &self.list
    }

    /// The root that signed.
    #[must_use]
    pub const fn root(&self) -> Pin {
        self.root
    }
}
