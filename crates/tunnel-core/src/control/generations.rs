//! This node's own generations: the newest, and older ones until all peers have moved.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use node_identity::{TunnelKey, UnixTime, VerifiedPeer};
use thiserror::Error;

use crate::moment::Moment;
use crate::session::OwnKey;

/// An old generation is kept at least this long: peers learn of the new one late.
pub(super) const KEEP_OLD_FOR: Duration = Duration::from_secs(600);

/// Own generations at a time.
pub(super) const MAX_OWN: usize = 4;

/// The place of a generation among those of its node: later certificates first, then later keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationRank {
    /// Serial of the certificate.
    pub serial: u64,
    /// Number of the tunnel key.
    pub generation: u64,
}

impl GenerationRank {
    /// The rank of a verified generation.
    #[must_use]
    pub fn of(peer: &VerifiedPeer) -> Self {
        Self {
            serial: peer.statement().certificate_serial.0,
            generation: peer.statement().generation.0,
        }
    }
}

impl std::fmt::Display for GenerationRank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.serial, self.generation)
    }
}

/// A generation of this node: its published envelope, verified like any peer's, and its key.
pub struct OwnGeneration {
    /// What peers will see.
    pub verified: VerifiedPeer,
    /// The tunnel key that it states.
    pub key: TunnelKey,
    /// The highest handshake timestamp known to have been used under it.
    pub highest_stamp: Option<UnixTime>,
}

impl std::fmt::Debug for OwnGeneration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnGeneration")
            .field("rank", &GenerationRank::of(&self.verified))
            .field("key", &format_args!("<redacted>"))
            .field("highest_stamp", &self.highest_stamp)
            .finish()
    }
}

/// Why an own generation is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OwnGenerationError {
    /// The key is not the one that the statement states.
    #[error("use own generation {0}: its statement states another tunnel key")]
    OtherKey(GenerationRank),
    /// The statement is for another number of lanes than the daemon runs.
    #[error("use own generation {generation}: it states {stated} lanes, but {running} run")]
    OtherLanes {
        /// Which generation.
        generation: GenerationRank,
        /// Lanes of the statement.
        stated: u8,
        /// Lanes of the daemon.
        running: u8,
    },
    /// It is not newer than those in use.
    #[error("use own generation {0}: it is not newer than those in use")]
    NotNewer(GenerationRank),
}

/// One own generation in use.
pub(super) struct Own {
    pub(super) rank: GenerationRank,
    pub(super) verified: VerifiedPeer,
    pub(super) statement_hash: [u8; 32],
    pub(super) key: Arc<OwnKey>,
    pub(super) superseded: Option<Moment>,
}

/// Own generations, oldest first.
#[derive(Default)]
pub(super) struct OwnGenerations(Vec<Own>);

impl OwnGenerations {
    /// Takes a newer generation; the newest before it is superseded.
    pub(super) fn add(
        &mut self,
        generation: &OwnGeneration,
        lanes: u8,
        now: Moment,
    ) -> Result<GenerationRank, OwnGenerationError> {
        let rank = GenerationRank::of(&generation.verified);
        let statement = generation.verified.statement();
        if generation.key.public() != statement.tunnel_key {
            return Err(OwnGenerationError::OtherKey(rank));
        }
        if statement.lanes != lanes {
            return Err(OwnGenerationError::OtherLanes {
                generation: rank,
                stated: statement.lanes,
                running: lanes,
            });
        }
        if self.newest().is_some_and(|newest| newest.rank >= rank) {
            return Err(OwnGenerationError::NotNewer(rank));
        }
        if let Some(newest) = self.0.last_mut() {
            newest.superseded = Some(now);
        }
        self.0.push(Own {
            rank,
            verified: generation.verified.clone(),
            statement_hash: generation.verified.statement_hash(),
            key: Arc::new(OwnKey::new(&generation.key.x25519_secret())),
            superseded: None,
        });
        Ok(rank)
    }

    pub(super) fn newest(&self) -> Option<&Own> {
        self.0.last()
    }

    pub(super) fn get(&self, rank: GenerationRank) -> Option<&Own> {
        self.0.iter().find(|it| it.rank == rank)
    }

    /// Newest first: most initiations are for it.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Own> {
        self.0.iter().rev()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn oldest(&self) -> Option<GenerationRank> {
        self.0.first().map(|it| it.rank)
    }

    pub(super) fn remove(&mut self, rank: GenerationRank) {
        self.0.retain(|it| it.rank != rank);
    }

    /// The own address to speak from in a family.
    pub(super) fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        let endpoints = &self.newest()?.verified.statement().endpoints;
        let same_family = |it: &&IpAddr| it.is_ipv4() == destination.is_ipv4();
        endpoints.iter().find(same_family).copied()
    }
}
