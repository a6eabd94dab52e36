//! What a reader of the store finds. All of it is bytes from whoever could write there.

use node_identity::{NodeName, NodeUid, Pin};

/// Everything that is published at one moment, unverified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// One entry per root, in order of pin.
    pub roots: Vec<PublishedRoot>,
    /// One entry per node of which anything is published, in order of UID.
    pub nodes: Vec<PublishedNode>,
    /// What could not be read, by name.
    pub refused: Vec<RefusedEntry>,
}

/// A root certificate and the revocation list it signed, filed under the pin they claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedRoot {
    /// The pin the objects are filed under. The certificate counts only if it hashes to it.
    pub pin: Pin,
    /// The root certificate, DER.
    pub certificate: Option<Vec<u8>>,
    /// The signed revocation list.
    pub revocations: Option<Vec<u8>>,
}

/// What is published of one node, filed under the UID it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedNode {
    /// The UID the objects are filed under.
    pub uid: NodeUid,
    /// The name they are filed under, in a store that files by name. Two entries can then claim
    /// one UID: the one whose content verifies is right.
    pub name: Option<NodeName>,
    /// The node certificate that the controller issued last, DER.
    pub certificate: Option<Vec<u8>>,
    /// The node's own envelopes, at most [`MAX_ENVELOPES`](crate::MAX_ENVELOPES).
    pub envelopes: Vec<Vec<u8>>,
    /// An operator wants the node revoked. The only thing in the store that the controller obeys:
    /// whoever can write it can at most keep nodes out.
    pub revocation_wanted: bool,
}

impl PublishedNode {
    /// An entry with nothing in it.
    #[must_use]
    pub fn empty(uid: NodeUid) -> Self {
        Self {
            uid,
            name: None,
            certificate: None,
            envelopes: Vec::new(),
            revocation_wanted: false,
        }
    }

    /// Whether there is nothing to believe in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificate.is_none() && self.envelopes.is_empty()
    }

    /// Whether the entry can be that node's: it has the UID and no other name.
    #[must_use]
    pub fn may_be(&self, uid: &NodeUid, name: &NodeName) -> bool {
        self.uid == *uid && self.name.as_ref().is_none_or(|filed| filed == name)
    }
}

/// An entry of the store that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefusedEntry {
    /// Its name inside the store, with unprintable characters escaped.
    pub name: String,
    /// Why.
    pub reason: Refusal,
}

/// Why an entry of the store was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// The name is none that Sotto gives.
    #[error("foreign name: remove it")]
    ForeignName,
    /// A link, folder, device or pipe stands where a file belongs.
    #[error("no regular file: remove it")]
    NotAFile,
    /// The file is larger than its kind may be.
    #[error("larger than its kind may be")]
    TooLarge,
    /// The file is empty: a write outside Sotto was cut short.
    #[error("empty")]
    Empty,
    /// The content is not what its kind of entry holds.
    #[error("malformed or truncated")]
    Malformed,
    /// The content is whole but does not belong under its name.
    #[error("filed under a name that is not its own")]
    WrongName,
    /// The system refused to read it.
    #[error("unreadable")]
    Unreadable,
    /// The folder holds more than a store may have; the rest was not looked at.
    #[error("too many or too large entries in this folder: the rest was not read")]
    TooMany,
}
