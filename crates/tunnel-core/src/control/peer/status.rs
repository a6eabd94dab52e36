//! What people are shown of a peer.

use std::net::SocketAddr;

use node_identity::{SpiffeId, UnixTime};

use super::Peer;
use crate::control::generations::GenerationRank;
use crate::moment::Moment;
use crate::plane::{PeerIndex, Role, Suite, TransportId};

/// The transport that a peer is sent under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportStatus {
    /// The transport.
    pub id: TransportId,
    /// Its AEAD.
    pub suite: Suite,
    /// Our role in its agreement.
    pub role: Role,
    /// When it was agreed.
    pub born: Moment,
}

/// One peer as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its number.
    pub index: PeerIndex,
    /// Who it is.
    pub identity: SpiffeId,
    /// Its newest generation.
    pub generation: GenerationRank,
    /// When that one's certificate runs out.
    pub not_after: UnixTime,
    /// Where it is reached: its lane 0.
    pub endpoint: Option<SocketAddr>,
    /// What it is sent under.
    pub sending: Option<TransportStatus>,
    /// Transports that are received under.
    pub receiving: usize,
    /// When the last handshake was completed.
    pub last_handshake: Option<Moment>,
    /// When anything of it was last opened.
    pub last_heard: Option<Moment>,
}

impl Peer {
    /// The status of this peer.
    pub(in crate::control) fn status(&self) -> Option<PeerStatus> {
        let newest = self.generations.last()?;
        let statement = newest.verified.statement();
        let held = || self.pairs.iter().flat_map(|it| it.held());
        let sending = self.choice.and_then(|choice| {
            let held = held().find(|it| it.id == choice.id)?;
            Some(TransportStatus {
                id: held.id,
                suite: held.suite,
                role: held.role(),
                born: held.born,
            })
        });
        let endpoint = statement.endpoints.first();
        Some(PeerStatus {
            index: self.index,
            identity: newest.verified.identity().clone(),
            generation: newest.rank,
            not_after: newest.verified.not_after(),
            endpoint: endpoint.map(|it| SocketAddr::new(*it, statement.base_port)),
            sending,
            receiving: held().count(),
            last_handshake: self.pairs.iter().filter_map(|it| it.last_completed()).max(),
            last_heard: self.last.opened,
        })
    }
}
