//! Who counts, when several verified peers claim the same thing: [`admit`].
//!
//! The answer is a function of the set, never of the order in which its members came, so that
//! all daemons that hold the same objects agree. When in doubt a claim goes to nobody: an older
//! certificate gets a range back only when the newer one is gone, not when it loses elsewhere.

mod claims;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use crate::{CertificateSerial, Generation, NodeUid, PodCidr, SpiffeId, VerifiedPeer};

/// The peers that may be used, and what stood in the way of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// At most one peer per node, sorted by node UID.
    pub peers: Vec<VerifiedPeer>,
    /// Why verified peers are missing from the list, sorted.
    pub conflicts: Vec<Conflict>,
}

/// Two verified peers that cannot both be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conflict {
    /// Two nodes' ranges overlap; the certificate with the higher serial has it.
    PodRange {
        /// The refused peer's range.
        range: PodCidr,
        /// Who has it.
        holder: SpiffeId,
        /// Who is refused.
        refused: SpiffeId,
    },
    /// Two nodes have one address; the certificate with the higher serial has it.
    Address {
        /// The address.
        address: IpAddr,
        /// Who has it.
        holder: SpiffeId,
        /// Who is refused.
        refused: SpiffeId,
    },
    /// Several statements carry one WireGuard key: none is used.
    TunnelKey {
        /// Everybody who states the key.
        refused: BTreeSet<SpiffeId>,
    },
    /// A tunnel key is somebody's identity key: its statement is not used.
    TunnelKeyIsIdentityKey {
        /// Whose identity key it is.
        owner: SpiffeId,
        /// Who is refused.
        refused: SpiffeId,
    },
    /// A node signed different contents under one number: none is used.
    Equivocation {
        /// The node.
        refused: SpiffeId,
        /// The certificate.
        serial: CertificateSerial,
        /// The generation.
        generation: Generation,
    },
}

impl Conflict {
    /// Whether a human must look: it cannot come from a mere delay or reassignment.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::PodRange { .. } | Self::Address { .. } => false,
            Self::TunnelKey { .. }
            | Self::TunnelKeyIsIdentityKey { .. }
            | Self::Equivocation { .. } => true,
        }
    }
}

/// Settles all claims. Include the node's own envelope, so that nobody else gets its ranges.
#[must_use]
pub fn admit(peers: Vec<VerifiedPeer>) -> Admission {
    let peers = without_repetitions(peers);
    let mut conflicts = BTreeSet::new();
    let mut refused = BTreeSet::new();
    refuse_shared_keys(&peers, &mut refused, &mut conflicts);
    refuse_identity_keys(&peers, &mut refused, &mut conflicts);
    refuse_equivocation(&peers, &mut refused, &mut conflicts);
    let newest = newest_of_each_node(&peers);
    claims::refuse_overlaps(&peers, &newest, &mut refused, &mut conflicts);
    let peers = newest
        .into_values()
        .filter(|at| !refused.contains(at))
        .filter_map(|at| peers.get(at).cloned())
        .collect();
    Admission {
        peers,
        conflicts: conflicts.into_iter().collect(),
    }
}

/// Positions in the sorted list of peers.
type Refused = BTreeSet<usize>;

/// Sorted by node, age and content; the same content under two signatures is one.
fn without_repetitions(mut peers: Vec<VerifiedPeer>) -> Vec<VerifiedPeer> {
    let rank = |peer: &VerifiedPeer| {
        let statement = peer.statement();
        (
            peer.identity().uid,
            statement.certificate_serial,
            statement.generation,
            peer.root(),
            peer.envelope().content_hash(),
        )
    };
    peers.sort_by_cached_key(|peer| (rank(peer), peer.envelope().to_der()));
    peers.dedup_by_key(|peer| rank(peer));
    peers
}

fn newest_of_each_node(peers: &[VerifiedPeer]) -> BTreeMap<NodeUid, usize> {
    // Later ones of the same node replace earlier ones, and the list is sorted by age.
    let of_node = |(at, peer): (usize, &VerifiedPeer)| (peer.identity().uid, at);
    peers.iter().enumerate().map(of_node).collect()
}

fn refuse_shared_keys(
    peers: &[VerifiedPeer],
    refused: &mut Refused,
    conflicts: &mut BTreeSet<Conflict>,
) {
    let mut holders: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    for (at, peer) in peers.iter().enumerate() {
        holders.entry(peer.x25519()).or_default().push(at);
    }
    for sharing in holders.into_values().filter(|holders| holders.len() > 1) {
        let names = sharing.iter().filter_map(|at| peers.get(*at));
        conflicts.insert(Conflict::TunnelKey {
            refused: names.map(|peer| peer.identity().clone()).collect(),
        });
        refused.extend(sharing);
    }
}

fn refuse_identity_keys(
    peers: &[VerifiedPeer],
    refused: &mut Refused,
    conflicts: &mut BTreeSet<Conflict>,
) {
    let owners: BTreeMap<[u8; 32], &SpiffeId> = peers
        .iter()
        .map(|peer| (peer.certificate().terms().key.montgomery(), peer.identity()))
        .collect();
    for (at, peer) in peers.iter().enumerate() {
        if let Some(owner) = owners.get(&peer.x25519()) {
            conflicts.insert(Conflict::TunnelKeyIsIdentityKey {
                owner: (*owner).clone(),
                refused: peer.identity().clone(),
            });
            refused.insert(at);
        }
    }
}

fn refuse_equivocation(
    peers: &[VerifiedPeer],
    refused: &mut Refused,
    conflicts: &mut BTreeSet<Conflict>,
) {
    let number = |peer: &VerifiedPeer| {
        let statement = peer.statement();
        (
            peer.identity().uid,
            statement.certificate_serial,
            statement.generation,
        )
    };
    for ((at, one), other) in peers.iter().enumerate().zip(peers.iter().skip(1)) {
        if number(one) == number(other) {
            conflicts.insert(Conflict::Equivocation {
                refused: one.identity().clone(),
                serial: one.statement().certificate_serial,
                generation: one.statement().generation,
            });
            refused.extend([at, at + 1]);
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodRange {
                range,
                holder,
                refused,
            } => write!(
                f,
                "refuse {refused}: its range {range} belongs to {holder}, whose certificate is newer"
            ),
            Self::Address {
                address,
                holder,
                refused,
            } => write!(
                f,
                "refuse {refused}: its address {address} belongs to {holder}, whose certificate is newer"
            ),
            Self::TunnelKey { refused } => {
                f.write_str("refuse several statements with one tunnel key:")?;
                refused.iter().try_for_each(|one| write!(f, " {one}"))
            }
            Self::TunnelKeyIsIdentityKey { owner, refused } => {
                write!(
                    f,
                    "refuse {refused}: its tunnel key is the identity key of {owner}"
                )
            }
            Self::Equivocation {
                refused,
                serial,
                generation,
            } => write!(
                f,
                "refuse {refused}: two contents for certificate {serial}, generation {generation}"
            ),
        }
    }
}
