//! The controller's only memory: who has which key, serial, range and address, which tokens are
//! out, what is revoked. What is published is made from it. Only what its own root has signed is read
//! back, and only into a ledger that is thereby proven old (`recover`).
//!
//! This file holds the content and questions about it; `ledger/home` keeps it, on disk or in a
//! Secret.

mod error;
mod file;
mod home;
mod packed;

use std::collections::BTreeMap;
use std::net::IpAddr;

use node_identity::{
    CertificateSerial, IdentityPublic, IkHash, JoinToken, JoinTokenId, NodeName, NodeUid, Pin,
    PodCidr, PodRanges, TrustDomain, UnixTime,
};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

pub(crate) use error::LedgerError;
pub(crate) use file::LedgerFile;
pub(crate) use home::LedgerHome;
#[cfg(test)]
pub(crate) use home::MemoryLedger;
pub(crate) use packed::{pack, unpack};

/// Everything that the controller remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    /// Counts writes; a writer that read an older version than the one on disk has lost.
    pub(crate) version: u64,
    /// The cluster that the root was made for.
    pub(crate) trust_domain: TrustDomain,
    /// The root that the ledger belongs to.
    pub(crate) pin: Pin,
    /// The revocation list as it was last signed.
    pub(crate) revocations: ListRecord,
    /// Every node that ever got a certificate and may still be remembered by somebody.
    pub(crate) nodes: BTreeMap<NodeUid, NodeRecord>,
    /// Join tokens, used ones included, until they are long expired.
    #[serde(with = "tokens_by_id")]
    pub(crate) tokens: BTreeMap<JoinTokenId, TokenRecord>,
    /// Keys that an operator let a node replace; nobody may use them again while they live.
    pub(crate) retired: Vec<RetiredKey>,
    /// Revoked nodes of which nothing else is known, and until when lists name them: their revocations
    /// were found in a list that the root signed from a newer ledger. Never forgotten.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) revoked_strangers: BTreeMap<NodeUid, UnixTime>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeRecord {
    /// Its name; no two nodes that are not revoked share one.
    pub(crate) name: NodeName,
    /// Its identity key. The whole key, so that the certificate can be signed again, byte for
    /// byte, when the published one is gone.
    #[serde(with = "key_as_hex")]
    pub(crate) key: IdentityPublic,
    /// Serial of its newest certificate.
    pub(crate) serial: CertificateSerial,
    /// When the newest certificate was signed.
    pub(crate) issued: UnixTime,
    /// Start of the newest certificate.
    pub(crate) not_before: UnixTime,
    /// End of the newest certificate.
    pub(crate) not_after: UnixTime,
    /// End of the last of all its certificates.
    pub(crate) last_not_after: UnixTime,
    /// Its underlay addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Those it may have; empty: any of the underlay.
    pub(crate) allowed_addresses: Vec<IpAddr>,
    /// Its pod ranges.
    pub(crate) pod_ranges: PodRanges,
    /// When certificates were signed in the last hour.
    pub(crate) recent: Vec<UnixTime>,
    /// Set once revoked, for good: when the last certificate ends. Remembered until nobody can ask in
    /// the node's name any more.
    pub(crate) revoked_until: Option<UnixTime>,
    /// Another key that has asked, with authority, to take this one's place.
    pub(crate) awaiting: Option<IkHash>,
    /// The key that an operator allowed to.
    pub(crate) approved: Option<IkHash>,
    /// Set while its Node object is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) departed: Option<Departure>,
}

/// That a Node object was found gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Departure {
    /// When that was first seen.
    pub(crate) at: UnixTime,
    /// Too many went at once: an operator has to revoke the node by name.
    pub(crate) held: bool,
}

/// One join token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRecord {
    /// The node it is for.
    pub(crate) uid: NodeUid,
    /// That node's name.
    pub(crate) name: NodeName,
    /// The addresses it allows; empty: any of the underlay.
    pub(crate) addresses: Vec<IpAddr>,
    /// From when on it is worth nothing.
    pub(crate) expires: UnixTime,
    /// The token itself, until it is used.
    #[serde(with = "token_as_text")]
    pub(crate) secret: Option<JoinToken>,
    /// The key that used it.
    pub(crate) used_by: Option<IkHash>,
}

/// A key that an operator let a node replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetiredKey {
    /// The key.
    pub(crate) key: IkHash,
    /// When its last certificate ends.
    pub(crate) until: UnixTime,
}

/// The revocation list as it was last signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListRecord {
    /// Its number.
    pub(crate) number: u64,
    /// When it was signed.
    pub(crate) issued: UnixTime,
    /// Set when something was revoked since.
    pub(crate) outdated: bool,
}

/// Why a node cannot be found by what an operator typed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("find node {0:?}: no node of that name or UID in the ledger, see `sotto-controller nodes`")]
pub(crate) struct UnknownNode(String);

impl Ledger {
    /// The ledger of a root that has signed nothing yet.
    pub(crate) fn empty(trust_domain: TrustDomain, pin: Pin) -> Self {
        Self {
            version: 0,
            trust_domain,
            pin,
            revocations: ListRecord {
                number: 0,
                issued: UnixTime(0),
                outdated: true,
            },
            nodes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            retired: Vec::new(),
            revoked_strangers: BTreeMap::new(),
        }
    }

    /// The UID of the node of that name that is not revoked: enrolled, or with an unused token.
    pub(crate) fn uid_of(&self, name: &NodeName) -> Option<NodeUid> {
        let enrolled = self
            .nodes
            .iter()
            .find(|(_, node)| node.name == *name && node.revoked_until.is_none())
            .map(|(uid, _)| *uid);
        let invited = || {
            let unused = |token: &&TokenRecord| token.name == *name && token.secret.is_some();
            self.tokens.values().find(unused).map(|token| token.uid)
        };
        enrolled.or_else(invited)
    }

    /// Finds a node by name or by UID.
    pub(crate) fn find(&self, text: &str) -> Result<NodeUid, UnknownNode> {
        let by_uid = text.parse().ok().filter(|uid| self.nodes.contains_key(uid));
        by_uid
            .or_else(|| text.parse().ok().and_then(|name| self.uid_of(&name)))
            .ok_or_else(|| UnknownNode(text.to_owned()))
    }

    /// Hands the ledger over to another root. Each certificate will be signed anew, so each gets a
    /// serial of its own: peers take one of the same serial and other content for a forgery.
    pub(crate) fn hand_over(&mut self, pin: Pin, now: UnixTime, random: &mut impl CryptoRng) {
        self.pin = pin;
        self.revocations.outdated = true;
        for node in self.nodes.values_mut() {
            if node.revoked_until.is_none() {
                node.serial = CertificateSerial::next(now, Some(node.serial), random);
            }
        }
    }

    /// Every pod range that anybody may still believe to be somebody's.
    pub(crate) fn taken_ranges(&self) -> Vec<PodCidr> {
        self.nodes
            .values()
            .flat_map(|node| node.pod_ranges.iter().copied())
            .collect()
    }

    /// What contradicts itself, if anything does: two owners of a range or of a key. A revoked node
    /// owns no range: Kubernetes gives those of a deleted Node to the next one.
    fn contradiction(&self) -> Option<String> {
        let owners = self
            .nodes
            .values()
            .filter(|node| node.revoked_until.is_none());
        let mut ranges: Vec<PodCidr> = owners.flat_map(|node| &node.pod_ranges).copied().collect();
        ranges.sort_unstable();
        let pairs = ranges.iter().zip(ranges.iter().skip(1));
        if let Some((one, other)) = pairs.clone().find(|(one, other)| one.overlaps(other)) {
            return Some(format!("{one} and {other} have two owners"));
        }
        let mut owners = BTreeMap::new();
        for (uid, node) in &self.nodes {
            if let Some(other) = owners.insert(node.key.hash(), uid) {
                return Some(format!("nodes {uid} and {other} have one key"));
            }
        }
        None
    }
}

impl NodeRecord {
    /// Whether a certificate of the node is valid or could still be.
    pub(crate) fn is_live(&self, now: UnixTime) -> bool {
        self.revoked_until.is_none() && now <= self.last_not_after
    }
}

/// A ledger of so many nodes as controllers make them, for tests.
#[cfg(test)]
pub(crate) fn test_ledger(nodes: usize, now: UnixTime) -> Ledger {
    tests::realistic(nodes, now)
}

#[cfg(test)]
mod tests;

mod key_as_hex {
    use node_identity::IdentityPublic;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &IdentityPublic, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&super::file::hex(&key.to_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<IdentityPublic, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = super::file::from_hex(&text)
            .ok_or_else(|| D::Error::custom("64 hexadecimal digits expected"))?;
        IdentityPublic::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

mod tokens_by_id {
    use std::collections::BTreeMap;

    use node_identity::JoinTokenId;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::TokenRecord;

    pub(super) fn serialize<S: Serializer>(
        tokens: &BTreeMap<JoinTokenId, TokenRecord>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(tokens.iter().map(|(id, token)| (id.to_string(), token)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<JoinTokenId, TokenRecord>, D::Error> {
        let id = |text: String| {
            super::file::from_hex(&text)
                .map(JoinTokenId::from_bytes)
                .ok_or_else(|| D::Error::custom("32 hexadecimal digits expected"))
        };
        BTreeMap::<String, TokenRecord>::deserialize(from)?
            .into_iter()
            .map(|(text, token)| Ok((id(text)?, token)))
            .collect()
    }
}

mod token_as_text {
    use node_identity::JoinToken;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        token: &Option<JoinToken>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        token.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<JoinToken>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}
