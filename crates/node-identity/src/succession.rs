//! Succession: a live node's old identity key names the new one, so that the controller may
//! replace it without an operator.
//!
//! A thief of the old key can sign one too: after a compromise the operator revokes the node's
//! UID and makes the node anew.

use der::{Sequence, asn1::OctetString};
use ed25519_dalek::Signature;
use thiserror::Error;

use crate::{
    IdentityKey, IdentityPublic, IkHash, NodeUid, SpiffeId,
    encoding::{self, EncodingError, encode, octets},
};

/// Before the signed bytes; begins with a letter, as no DER does.
const LABEL: &[u8] = b"sotto succession v1\0";

/// "My next identity key is this", signed by the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    node: NodeUid,
    old_key: IkHash,
    new_key: IkHash,
    signature: Signature,
}

/// Why a succession is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SuccessionError {
    /// Not canonical DER of a succession.
    #[error("read succession")]
    Encoding(#[from] EncodingError),
    /// It names the all-zero UID.
    #[error("read succession: it names no node")]
    Node,
    /// It is for another node or another key.
    #[error("verify succession of {node}: it is for another node or another key")]
    OtherSubject {
        /// The node that asks.
        node: NodeUid,
    },
    /// The old key did not sign it.
    #[error("verify succession of {node}: the old identity key's signature is wrong")]
    Signature {
        /// The node that asks.
        node: NodeUid,
    },
}

#[derive(Sequence)]
struct SuccessionBody {
    node: OctetString,
    old_key: OctetString,
    new_key: OctetString,
}

#[derive(Sequence)]
struct SignedBody {
    body: SuccessionBody,
    signature: OctetString,
}

impl Succession {
    /// Names `new_key` the successor of `old_key` on this node.
    #[must_use]
    pub fn sign(old_key: &IdentityKey, node: &SpiffeId, new_key: &IdentityPublic) -> Self {
        let (old_hash, new_hash) = (old_key.public().hash(), new_key.hash());
        Self {
            node: node.uid,
            old_key: old_hash,
            new_key: new_hash,
            signature: old_key.sign(&signed_bytes(&node.uid, &old_hash, &new_hash)),
        }
    }

    /// Checks that the node's old key named the new one.
    ///
    /// # Errors
    /// It is for another node or key, or the old key did not sign.
    pub fn verify(
        &self,
        node: &NodeUid,
        old_key: &IdentityPublic,
        new_key: &IdentityPublic,
    ) -> Result<(), SuccessionError> {
        let (old_hash, new_hash) = (old_key.hash(), new_key.hash());
        if (self.node, self.old_key, self.new_key) != (*node, old_hash, new_hash) {
            return Err(SuccessionError::OtherSubject { node: *node });
        }
        if !old_key.verify(&signed_bytes(node, &old_hash, &new_hash), &self.signature) {
            return Err(SuccessionError::Signature { node: *node });
        }
        Ok(())
    }

    /// The succession as DER.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        encode(&SignedBody {
            body: body(&self.node, &self.old_key, &self.new_key),
            signature: octets(&self.signature.to_bytes()),
        })
    }

    /// Reads a succession. It stays untrusted.
    ///
    /// # Errors
    /// The bytes are not the canonical encoding of one.
    pub fn from_der(der: &[u8]) -> Result<Self, SuccessionError> {
        let signed: SignedBody = encoding::decode_canonical(der)?;
        let node = NodeUid::from_bytes(encoding::fixed(&signed.body.node, "node UID")?);
        let signature = encoding::fixed(&signed.signature, "signature")?;
        Ok(Self {
            node: node.map_err(|_| SuccessionError::Node)?,
            old_key: IkHash(encoding::fixed(&signed.body.old_key, "old key hash")?),
            new_key: IkHash(encoding::fixed(&signed.body.new_key, "new key hash")?),
            signature: Signature::from_bytes(&signature),
        })
    }
}

fn body(node: &NodeUid, old_key: &IkHash, new_key: &IkHash) -> SuccessionBody {
    SuccessionBody {
        node: octets(node.as_bytes()),
        old_key: octets(old_key.as_bytes()),
        new_key: octets(new_key.as_bytes()),
    }
}

fn signed_bytes(node: &NodeUid, old_key: &IkHash, new_key: &IkHash) -> Vec<u8> {
    [LABEL, &encode(&body(node, old_key, new_key))].concat()
}
