//! What the control side and the lanes say to each other, and nothing else.
//!
//! The control side agrees on keys and decides; a lane moves packets with what it was told. They
//! share no state but the counters (`crate::counters`): commands go down, events come up.
//! Next: `crate::lane` obeys the commands.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::moment::Moment;
use crate::owner::{EndpointTable, OwnerTable};

/// Number of a node among those the daemon knows: dense, given by the control side, stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub u32);

impl fmt::Display for PeerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a lane of one node, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneIndex(pub u8);

impl LaneIndex {
    /// The lane of a node with `lanes` lanes that receives what this lane sends.
    pub fn receiver(self, lanes: u8) -> LaneIndex {
        LaneIndex(self.0.checked_rem(lanes).unwrap_or(0))
    }
}

impl fmt::Display for LaneIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a transport, unique in the daemon's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(pub u64);

impl fmt::Display for TransportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a receiver index that names a transport: 23 bits, unique in the receiving daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexBase(u32);

impl IndexBase {
    /// How many values there are.
    pub const COUNT: u32 = 1 << 23;

    /// Accepts a value of 23 bits.
    pub fn new(value: u32) -> Option<IndexBase> {
        (value < IndexBase::COUNT).then_some(IndexBase(value))
    }

    /// The bare number.
    pub fn value(self) -> u32 {
        self.0
    }

    /// The receiver index on the wire: 1 (1 bit), base (23), sending lane (8), from high to low.
    pub fn wire(self, sending_lane: LaneIndex) -> u32 {
        TRANSPORT_BIT | self.0 << 8 | u32::from(sending_lane.0)
    }

    /// Takes a receiver index apart; `None` if its top bit is clear, which makes it a session's.
    pub fn from_wire(index: u32) -> Option<(IndexBase, LaneIndex)> {
        let [lane, ..] = index.to_le_bytes();
        (index & TRANSPORT_BIT != 0)
            .then_some((IndexBase((index & !TRANSPORT_BIT) >> 8), LaneIndex(lane)))
    }
}

/// Top bit of a receiver index: set on transports, clear on sessions.
const TRANSPORT_BIT: u32 = 1 << 31;

/// An AEAD under which pod packets travel; the number is the one on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM.
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305 = 2,
    /// No encryption: the positive control of the leak detector, absent from ordinary builds.
    #[cfg(feature = "plaintext-control")]
    Plaintext = 255,
}

impl Suite {
    /// The number on the wire.
    pub fn wire(self) -> u8 {
        self as u8
    }

    /// The suite of a number on the wire, if this build has it.
    pub fn from_wire(number: u8) -> Option<Suite> {
        match number {
            1 => Some(Suite::Aes256Gcm),
            2 => Some(Suite::ChaCha20Poly1305),
            #[cfg(feature = "plaintext-control")]
            255 => Some(Suite::Plaintext),
            _ => None,
        }
    }
}

/// Who sent the offer that a transport came from. It decides who asks for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sent the KeyOffer.
    Offerer,
    /// Sent the KeyAccept.
    Accepter,
}

/// The receiving half of a transport, for one lane.
#[derive(Clone)]
pub struct ReceivingTransport {
    /// The transport.
    pub id: TransportId,
    /// The peer that sends under it.
    pub peer: PeerIndex,
    /// Its AEAD.
    pub suite: Suite,
    /// Our role in its agreement.
    pub role: Role,
    /// Our own index base, which the peer writes into each packet.
    pub base: IndexBase,
    /// Keys by the peer's sending lane: only lanes i with i mod (own lanes) = this lane.
    pub keys: Vec<(LaneIndex, Zeroizing<[u8; 32]>)>,
    /// When it was agreed.
    pub born: Moment,
}

impl fmt::Debug for ReceivingTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivingTransport")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .field("suite", &self.suite)
            .field("role", &self.role)
            .field("base", &self.base)
            .field("keys", &format_args!("{} × <redacted>", self.keys.len()))
            .field("born", &self.born)
            .finish()
    }
}

/// The sending half of a transport, for one lane.
#[derive(Clone)]
pub struct SendingTransport {
    /// The transport.
    pub id: TransportId,
    /// The peer that receives under it.
    pub peer: PeerIndex,
    /// Its AEAD.
    pub suite: Suite,
    /// Our role in its agreement.
    pub role: Role,
    /// The peer's index base, written into each packet.
    pub base: IndexBase,
    /// The key of this lane.
    pub key: Zeroizing<[u8; 32]>,
    /// The peer's lane that receives from this one.
    pub destination: SocketAddr,
    /// The own address to send from.
    pub source: Option<IpAddr>,
    /// When it was agreed.
    pub born: Moment,
}

impl fmt::Debug for SendingTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendingTransport")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .field("suite", &self.suite)
            .field("role", &self.role)
            .field("base", &self.base)
            .field("key", &format_args!("<redacted>"))
            .field("destination", &self.destination)
            .field("source", &self.source)
            .field("born", &self.born)
            .finish()
    }
}

/// What the control side tells a lane.
#[derive(Clone, Debug)]
pub enum LaneCommand {
    /// Which address belongs to whom.
    Owners(Arc<OwnerTable>),
    /// Open what comes under this transport.
    Receive(ReceivingTransport),
    /// Seal under this transport from here on; replaces the peer's send choice.
    Send(SendingTransport),
    /// Drop the peer's send choice and what waits for it.
    StopSending(PeerIndex),
    /// Erase the transport's keys, sending and receiving.
    Forget(TransportId),
    /// Which source addresses may speak to the control side.
    Endpoints(Arc<EndpointTable>),
    /// Send one empty packet, so that the peer sees a sign of life.
    SendEmpty(PeerIndex),
}

/// What a lane tells the control side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneEvent {
    /// A packet waits for this peer and there is no transport.
    Want(PeerIndex),
    /// The transport in use for sending has reached its role's limit.
    RekeyDue(TransportId),
    /// The first packet was opened under this transport.
    FirstOpened(TransportId),
    /// A datagram for the control side, from a certified endpoint.
    ControlDatagram {
        /// Where it came from, IPv4 in its own form.
        source: SocketAddr,
        /// The whole datagram.
        datagram: Vec<u8>,
    },
    /// A certified endpoint sent a transport index that this lane does not hold.
    UnknownIndex(IpAddr),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_index_is_taken_apart_as_it_was_put_together() {
        for value in [0, 1, 0x40_0000, IndexBase::COUNT - 1] {
            for lane in [0, 1, 255] {
                let base = IndexBase::new(value).unwrap();
                let index = base.wire(LaneIndex(lane));
                assert_eq!(index >> 31, 1);
                assert_eq!(IndexBase::from_wire(index), Some((base, LaneIndex(lane))));
                assert_eq!(IndexBase::from_wire(index & !TRANSPORT_BIT), None);
            }
        }
        assert_eq!(IndexBase::new(IndexBase::COUNT), None);
    }

    #[test]
    fn one_lane_of_the_receiver_takes_what_a_lane_sends() {
        assert_eq!(LaneIndex(5).receiver(1), LaneIndex(0));
        assert_eq!(LaneIndex(5).receiver(3), LaneIndex(2));
        assert_eq!(LaneIndex(5).receiver(0), LaneIndex(0));
    }

    #[cfg(not(feature = "plaintext-control"))]
    #[test]
    fn dp00_the_ordinary_build_knows_no_suite_that_leaves_plaintext() {
        let known: Vec<_> = (0..=255).filter_map(Suite::from_wire).collect();

        assert_eq!(known, [Suite::Aes256Gcm, Suite::ChaCha20Poly1305]);
    }

    #[test]
    fn i8_keys_are_not_shown_by_debug() {
        let key = Zeroizing::new([0xab; 32]);
        let (id, peer) = (TransportId(1), PeerIndex(2));
        let (suite, role) = (Suite::Aes256Gcm, Role::Offerer);
        let (base, born) = (IndexBase::new(3).unwrap(), Moment::default());
        let destination = SocketAddr::from(([198, 51, 100, 2], 51_820));
        let keys = vec![(LaneIndex(0), key.clone())];
        let commands = [
            LaneCommand::Receive(ReceivingTransport {
                id,
                peer,
                suite,
                role,
                base,
                keys,
                born,
            }),
            LaneCommand::Send(SendingTransport {
                id,
                peer,
                suite,
                role,
                base,
                key,
                destination,
                source: None,
                born,
            }),
        ];
        for command in commands {
            let shown = format!("{command:?}");
            assert!(shown.contains("<redacted>"), "{shown}");
            assert!(
                !shown.contains("171") && !shown.to_lowercase().contains("ab, ab"),
                "{shown}"
            );
        }
    }
}
