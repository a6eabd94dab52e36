//! What the control side wants carried out, in the order in which it came up.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use node_identity::{NodeName, SpiffeId};

use super::generations::GenerationRank;
use crate::owner::OwnerTableError;
use crate::plane::{LaneCommand, LaneIndex, PeerIndex, Role, Suite, TransportId};
use crate::session::DatagramRefusal;

/// A datagram to send by lane 0's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The own address to send from.
    pub source: Option<IpAddr>,
    /// The peer's lane 0.
    pub destination: SocketAddr,
    /// The datagram.
    pub payload: Vec<u8>,
}

/// Why a new own generation is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewGenerationReason {
    /// The wall clock is more than 30 s behind a handshake timestamp that the present one has used:
    /// peers that remember that one refuse what this clock stamps.
    ClockBehind,
    /// The machine's memory was copied: both copies would seal under the same keys.
    MemoryCopied,
}

/// Why a peer, or one of its generations, is not used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// It is not among the admitted peers.
    NotAdmitted,
    /// Its certificate has run out.
    Expired,
    /// It was revoked.
    Revoked,
    /// Its successor has taken over.
    Superseded,
}

/// What happened, for logs, metrics and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// A generation of a peer may be spoken with.
    PeerAdded {
        /// The peer.
        peer: PeerIndex,
        /// Who it is.
        identity: SpiffeId,
        /// Which generation.
        generation: GenerationRank,
    },
    /// A generation of a peer is spoken with no longer.
    PeerGenerationEnded {
        /// The peer.
        peer: PeerIndex,
        /// Its name.
        name: NodeName,
        /// Which generation.
        generation: GenerationRank,
        /// Why.
        reason: PeerEnd,
    },
    /// No generation of the peer is left.
    PeerRemoved {
        /// The peer.
        peer: PeerIndex,
        /// Its name.
        name: NodeName,
    },
    /// A peer's key is not used: it is our own, of small order, or another peer's too.
    PeerKeyRefused {
        /// Who has it.
        identity: SpiffeId,
    },
    /// The peer and this node have no endpoint of the same family.
    NoCommonFamily {
        /// The peer.
        peer: PeerIndex,
        /// Its name.
        name: NodeName,
    },
    /// A handshake is complete.
    SessionCompleted {
        /// The peer.
        peer: PeerIndex,
    },
    /// The lanes were given the receiving keys of a transport.
    TransportInstalled {
        /// The peer.
        peer: PeerIndex,
        /// The transport.
        transport: TransportId,
        /// Our role in its agreement.
        role: Role,
        /// Its AEAD.
        suite: Suite,
    },
    /// The lanes send under this transport now.
    TransportChosen {
        /// The peer.
        peer: PeerIndex,
        /// The transport.
        transport: TransportId,
    },
    /// The lanes have no transport to send under any more.
    SendingStopped {
        /// The peer.
        peer: PeerIndex,
    },
    /// A transport's keys were erased.
    TransportForgotten {
        /// The peer.
        peer: PeerIndex,
        /// The transport.
        transport: TransportId,
    },
    /// 90 s of trying came to nothing.
    AgreementGivenUp {
        /// The peer.
        peer: PeerIndex,
        /// Its name.
        name: NodeName,
    },
    /// Own, peers' or Services' ranges overlap: the own ones are left out, and if that does not help
    /// the lanes keep the owners they have.
    OwnersOverlap(OwnerTableError),
    /// A new own generation is to be made and published.
    NewGenerationWanted(NewGenerationReason),
    /// An own generation is not used any more: its key can be erased.
    OwnGenerationRetired(GenerationRank),
    /// The highest handshake timestamp under an own generation has grown by some seconds: to be
    /// kept beside its key.
    StampAdvanced {
        /// The own generation.
        generation: GenerationRank,
        /// Seconds since 1970.
        seconds: u64,
    },
    /// Datagrams were refused. Of one peer and reason, all since the last call are told together.
    DatagramRefused {
        /// Where the first of them came from, as it says.
        source: SocketAddr,
        /// Whose endpoint that is.
        peer: Option<PeerIndex>,
        /// Why.
        reason: DatagramRefusal,
        /// How many.
        count: u64,
    },
}

/// How many datagrams were refused, by reason.
pub type Refusals = BTreeMap<DatagramRefusal, u64>;

/// Queues of what is to be carried out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) commands: VecDeque<(LaneIndex, LaneCommand)>,
    events: VecDeque<ControlEvent>,
    pub(super) refusals: Refusals,
    /// Refusals not told yet. As many as there are peers and reasons at the most, whoever floods.
    untold: BTreeMap<(Option<PeerIndex>, DatagramRefusal), Untold>,
}

#[derive(Debug)]
struct Untold {
    source: SocketAddr,
    count: u64,
}

impl Outbox {
    pub(super) fn event(&mut self, event: ControlEvent) {
        self.events.push_back(event);
    }

    pub(super) fn refuse(
        &mut self,
        source: SocketAddr,
        peer: Option<PeerIndex>,
        reason: DatagramRefusal,
    ) {
        *self.refusals.entry(reason).or_default() += 1;
        let first = Untold { source, count: 0 };
        self.untold.entry((peer, reason)).or_insert(first).count += 1;
    }

    pub(super) fn poll_event(&mut self) -> Option<ControlEvent> {
        self.events.pop_front().or_else(|| {
            let ((peer, reason), Untold { source, count }) = self.untold.pop_first()?;
            Some(ControlEvent::DatagramRefused {
                source,
                peer,
                reason,
                count,
            })
        })
    }

    /// Tells every lane.
    pub(super) fn broadcast(&mut self, lanes: u8, command: &LaneCommand) {
        let to_each = (0..lanes).map(|lane| (LaneIndex(lane), command.clone()));
        self.commands.extend(to_each);
    }
}
