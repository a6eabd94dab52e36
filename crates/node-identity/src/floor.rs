//! The floor: what a node has shown last, below which it is not believed again.
//!
//! A store, or whoever writes to it, can show an old envelope whose tunnel key was stolen in the
//! meantime. A daemon that has seen the newer one refuses. Kept on disk; a daemon that never saw
//! a node has no floor for it, and may be shown an older envelope that has not expired.

use std::collections::BTreeMap;

use der::{Sequence, asn1::OctetString};
use thiserror::Error;

use crate::{
    CertificateSerial, Envelope, Generation, NodeUid, Pin, UnixTime, VerifiedPeer,
    encoding::{self, EncodingError, encode, octets},
};

/// How many tunnel keys of a node are remembered: with a new one each 12 hours and with each
/// daily certificate, more than a certificate's 72 hours hold.
const REMEMBERED_KEYS: usize = 12;

/// Per root and node the highest (serial, generation) seen, and the newest not-before accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    nodes: BTreeMap<(Pin, NodeUid), Seen>,
    newest_not_before: UnixTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    place: Place,
    content_hash: [u8; 32],
    not_after: UnixTime,
    /// Tunnel keys in Montgomery form, oldest first.
    keys: Vec<(Place, [u8; 32])>,
}

type Place = (CertificateSerial, Generation);

/// Why the floor refuses an envelope whose signatures are good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FloorError {
    /// Something newer was seen.
    #[error("check floor: certificate {serial}, generation {generation} is superseded")]
    Superseded {
        /// The serial shown.
        serial: CertificateSerial,
        /// The generation shown.
        generation: Generation,
    },
    /// Two different contents under one number: the node's key is in two hands.
    #[error(
        "check floor: certificate {serial}, generation {generation} was seen with other content"
    )]
    Equivocation {
        /// The serial shown.
        serial: CertificateSerial,
        /// The generation shown.
        generation: Generation,
    },
    /// A tunnel key under a second number; each signs one statement in its life.
    #[error("check floor: its tunnel key was seen under another generation, {0}")]
    TunnelKeyReused(Generation),
}

impl FloorError {
    /// Whether a human must look.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::Superseded { .. } => false,
            Self::Equivocation { .. } | Self::TunnelKeyReused(_) => true,
        }
    }
}

#[derive(Sequence)]
struct FloorBody {
    newest_not_before: u64,
    nodes: Vec<NodeBody>,
}

#[derive(Sequence)]
struct NodeBody {
    root: OctetString,
    uid: OctetString,
    serial: u64,
    generation: u64,
    content_hash: OctetString,
    not_after: u64,
    keys: Vec<KeyBody>,
}

#[derive(Sequence)]
struct KeyBody {
    serial: u64,
    generation: u64,
    key: OctetString,
}

impl Floor {
    /// The time by which certificates end: the wall clock, or the newest not-before of an
    /// accepted certificate if that is later. A clock that was set back revives nobody.
    #[must_use]
    pub fn expiry_clock(&self, wall_clock: UnixTime) -> UnixTime {
        wall_clock.max(self.newest_not_before)
    }

    /// Raises the floor to a verified peer. Keep the result on disk before the peer is used.
    pub fn observe(&mut self, peer: &VerifiedPeer) {
        let terms = peer.certificate().terms();
        self.newest_not_before = self.newest_not_before.max(terms.not_before);
        let place = place_of(peer.envelope());
        let seen = self
            .nodes
            .entry((peer.root(), terms.identity.uid))
            .or_insert_with(|| Seen {
                place,
                content_hash: peer.envelope().content_hash(),
                not_after: terms.not_after,
                keys: Vec::new(),
            });
        let key = peer.x25519();
        if !seen.keys.iter().any(|(_, known)| *known == key) {
            seen.keys.push((place, key));
            seen.keys.sort_unstable();
            let excess = seen.keys.len().saturating_sub(REMEMBERED_KEYS);
            seen.keys.drain(..excess);
        }
        seen.not_after = seen.not_after.max(terms.not_after);
        if place > seen.place {
            seen.place = place;
            seen.content_hash = peer.envelope().content_hash();
        }
    }

    pub(crate) fn check(&self, root: &Pin, envelope: &Envelope) -> Result<(), FloorError> {
        let uid = envelope.certificate().terms().identity.uid;
        let Some(seen) = self.nodes.get(&(*root, uid)) else {
            return Ok(());
        };
        let place = place_of(envelope);
        let (serial, generation) = place;
        if place < seen.place {
            return Err(FloorError::Superseded { serial, generation });
        }
        if place == seen.place && envelope.content_hash() != seen.content_hash {
            return Err(FloorError::Equivocation { serial, generation });
        }
        let key = envelope.statement().tunnel_key.x25519();
        match seen.keys.iter().find(|(_, known)| *known == key) {
            Some((before, _)) if *before != place => Err(FloorError::TunnelKeyReused(before.1)),
            Some(_) | None => Ok(()),
        }
    }

    /// Forgets nodes none of whose certificates can be valid any more. Without this the floor
    /// grows with every node there ever was.
    pub fn forget_expired(&mut self, wall_clock: UnixTime) {
        let clock = self.expiry_clock(wall_clock);
        self.nodes.retain(|_, seen| seen.not_after >= clock);
    }

    /// The floor as bytes for the disk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let nodes = self.nodes.iter().map(|((root, uid), seen)| NodeBody {
            root: octets(root.as_bytes()),
            uid: octets(uid.as_bytes()),
            serial: seen.place.0.0,
            generation: seen.place.1.0,
            content_hash: octets(&seen.content_hash),
            not_after: seen.not_after.0,
            keys: seen.keys.iter().map(write_key).collect(),
        });
        encode(&FloorBody {
            newest_not_before: self.newest_not_before.0,
            nodes: nodes.collect(),
        })
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// The bytes are damaged. A floor must not be replaced by an empty one in silence.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EncodingError> {
        let body: FloorBody = encoding::decode_canonical(bytes)?;
        let mut floor = Self {
            nodes: BTreeMap::new(),
            newest_not_before: UnixTime(body.newest_not_before),
        };
        for node in &body.nodes {
            let uid = NodeUid::from_bytes(encoding::fixed(&node.uid, "node UID")?)
                .map_err(|_| EncodingError::NotCanonical)?;
            let seen = Seen {
                place: (CertificateSerial(node.serial), Generation(node.generation)),
                content_hash: encoding::fixed(&node.content_hash, "content hash")?,
                not_after: UnixTime(node.not_after),
                keys: node.keys.iter().map(read_key).collect::<Result<_, _>>()?,
            };
            let root = Pin(encoding::fixed(&node.root, "pin")?);
            floor.nodes.insert((root, uid), seen);
        }
        if floor.to_bytes() == bytes {
            Ok(floor)
        } else {
            Err(EncodingError::NotCanonical)
        }
    }
}

fn place_of(envelope: &Envelope) -> Place {
    let statement = envelope.statement();
    (statement.certificate_serial, statement.generation)
}

fn write_key((place, key): &(Place, [u8; 32])) -> KeyBody {
    KeyBody {
        serial: place.0.0,
        generation: place.1.0,
        key: octets(key),
    }
}

fn read_key(body: &KeyBody) -> Result<(Place, [u8; 32]), EncodingError> {
    let place = (CertificateSerial(body.serial), Generation(body.generation));
    Ok((place, encoding::fixed(&body.key, "tunnel key")?))
}
