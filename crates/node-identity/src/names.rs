//! Trust domains, node names, node UIDs and the SPIFFE id made of them.
//!
//! Each has one spelling. Names come from strangers' certificates and land in logs, paths and
//! tables, so anything outside a small alphabet is refused here, once, for everybody behind.

use std::{fmt, str::FromStr};

use rand_core::CryptoRng;
use thiserror::Error;
use uuid::{Builder, Uuid};

use crate::encoding::serde_as_text;

/// SPIFFE-ID section 2.1: a trust domain has at most 255 bytes.
const MAX_TRUST_DOMAIN: usize = 255;
/// RFC 1123 as Kubernetes applies it to node names: at most 253 bytes.
const MAX_NODE_NAME: usize = 253;

/// The name of one cluster of nodes that trust the same roots, such as `sotto.test`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

/// The name of a node: a lower-case RFC 1123 subdomain, such as `alice`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// The UID of a node: it changes when a node is deleted and made again under its old name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeUid(Uuid);

/// `spiffe://<trust domain>/node/<uid>/<name>`, the identity that a node certificate carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The cluster.
    pub trust_domain: TrustDomain,
    /// The node's UID.
    pub uid: NodeUid,
    /// The node's name.
    pub name: NodeName,
}

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Not a trust domain.
    #[error(
        "read trust domain {0:?}: 1 to 255 of a-z, 0-9, dot, hyphen and underscore are allowed"
    )]
    TrustDomain(String),
    /// Not a node name.
    #[error(
        "read node name {0:?}: 1 to 253 of a-z, 0-9, dot and hyphen are allowed, with a letter or digit at both ends of each label"
    )]
    NodeName(String),
    /// Not a UID.
    #[error("read node UID {0:?}: a lower-case UUID with hyphens is expected, not all zero")]
    NodeUid(String),
    /// Not one of our SPIFFE ids.
    #[error("read SPIFFE id {0:?}: spiffe://<trust domain>/node/<uid>/<name> is expected")]
    SpiffeId(String),
}

impl TrustDomain {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NodeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NodeUid {
    /// Makes a random UID (UUID version 4).
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The 16 bytes of the UUID.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Takes the 16 bytes of a UUID.
    ///
    /// # Errors
    /// The all-zero UUID is nobody's.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, NameError> {
        let uuid = Uuid::from_bytes(bytes);
        if uuid.is_nil() {
            return Err(NameError::NodeUid(uuid.to_string()));
        }
        Ok(Self(uuid))
    }
}

impl FromStr for TrustDomain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if text.is_empty() || text.len() > MAX_TRUST_DOMAIN || !text.bytes().all(allowed) {
            return Err(NameError::TrustDomain(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NODE_NAME || !text.split('.').all(is_label) {
            return Err(NameError::NodeName(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_label(label: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !label.is_empty()
        && label.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl FromStr for NodeUid {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = || NameError::NodeUid(text.to_owned());
        let uuid = Uuid::try_parse(text).map_err(|_| refuse())?;
        if uuid.is_nil() || uuid.hyphenated().to_string() != text {
            return Err(refuse());
        }
        Ok(Self(uuid))
    }
}

impl FromStr for SpiffeId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = || NameError::SpiffeId(text.to_owned());
        let parts: Vec<&str> = text
            .strip_prefix("spiffe://")
            .ok_or_else(refuse)?
            .split('/')
            .collect();
        let [trust_domain, "node", uid, name] = parts.as_slice() else {
            return Err(refuse());
        };
        Ok(Self {
            trust_domain: trust_domain.parse()?,
            uid: uid.parse()?,
            name: name.parse()?,
        })
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NodeUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trust_domain,
            uid,
            name,
        } = self;
        write!(f, "spiffe://{trust_domain}/node/{uid}/{name}")
    }
}

serde_as_text!(TrustDomain, NodeName, NodeUid, SpiffeId);

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11";

    #[test]
    fn a_spiffe_id_reads_back_as_it_was_written() {
        let text = format!("spiffe://sotto.test/node/{UID}/alice.example");

        let id: SpiffeId = text.parse().unwrap();

        assert_eq!(id.to_string(), text);
        assert_eq!(id.name.as_str(), "alice.example");
    }

    #[test]
    fn spiffe_ids_of_another_shape_are_refused() {
        for text in [
            format!("spiffe://sotto.test/node/{UID}/alice/"),
            format!("spiffe://sotto.test/node/{UID}/al%69ce"),
            format!("spiffe://sotto.test/pod/{UID}/alice"),
            format!("SPIFFE://sotto.test/node/{UID}/alice"),
            format!("spiffe:///node/{UID}/alice"),
            format!("spiffe://sotto.test:443/node/{UID}/alice"),
            format!("spiffe://sotto.test/node/{UID}/alice?x"),
            format!("spiffe://sotto.test/node/{}/alice", UID.to_uppercase()),
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_outside_the_alphabet_are_refused() {
        for text in [
            "", "Alice", "-a", "a-", "a..b", ".a", "a/b", "a_b", "ä", "a\0",
        ] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(254).parse::<NodeName>().is_err());
        assert!("a".repeat(253).parse::<NodeName>().is_ok());
        for text in ["", "Sotto.test", "sotto test", "a/b"] {
            assert!(text.parse::<TrustDomain>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_uid_has_one_spelling() {
        assert!(UID.parse::<NodeUid>().is_ok());
        assert!(UID.replace('-', "").parse::<NodeUid>().is_err());
        assert!(format!("{{{UID}}}").parse::<NodeUid>().is_err());
        assert!(Uuid::nil().to_string().parse::<NodeUid>().is_err());
    }
}
