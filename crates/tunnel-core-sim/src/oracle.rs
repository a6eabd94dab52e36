//! The judge: knows what every node was given and sent, and stops the run at the first wrong.
//!
//! - A key to send under is a key that the receiver already has, under that index and at that lane.
//! - No key is given out twice, and each counts its packets up by one, so no nonce is used twice.
//! - An inner packet that comes out was sent by the pod's own node, and comes out once.
//! - In calm weather no direction stays silent longer than [`MOST_SILENCE`].

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use tunnel_core::moment::Moment;
use tunnel_core::plane::{IndexBase, LaneIndex, ReceivingTransport, SendingTransport};

use crate::certified::BASE_PORT;
use crate::network::Datagram;
use crate::packet::{Inner, endpoint};

/// How long a direction with traffic may stay silent once everything works again: an initiation
/// just lost comes again after 5 s, an offer under a session that a restart has lost is doubted
/// after 5 s, silence itself is noticed after 15 s, and two of these may follow each other.
pub const MOST_SILENCE: Duration = Duration::from_secs(30);

/// A key that a lane opens with.
struct Opening {
    receiver: usize,
    sender: usize,
    base: IndexBase,
    sending_lane: LaneIndex,
    receiving_lane: LaneIndex,
}

/// One direction between two nodes.
#[derive(Default)]
struct Direction {
    /// Sent, not come out yet.
    outstanding: BTreeMap<u64, Moment>,
    /// The first packet since the last one that came out.
    waiting_since: Option<Moment>,
    sent: u64,
    came_out: u64,
}

/// All that is known of a run.
#[derive(Default)]
pub struct Oracle {
    opening: HashMap<[u8; 32], Opening>,
    sealing: HashMap<[u8; 32], u64>,
    indexes: HashMap<(usize, SocketAddr, u32), [u8; 32]>,
    directions: BTreeMap<(usize, usize), Direction>,
    next_number: u64,
    calm_since: Option<Moment>,
    agreements: BTreeMap<(usize, usize), Vec<Moment>>,
    datagrams: BTreeMap<usize, Vec<(Moment, Kind)>>,
}

/// What a node sent, by what a tap can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Types 1 to 3.
    Handshake,
    /// Type 4 of a session.
    Session,
    /// Type 4 of a transport.
    Transport,
}

impl Oracle {
    /// A lane gets keys to open with.
    pub fn receive(
        &mut self,
        receiver: usize,
        lane: LaneIndex,
        sender: usize,
        it: &ReceivingTransport,
    ) {
        for (sending_lane, key) in &it.keys {
            let opening = Opening {
                receiver,
                sender,
                base: it.base,
                sending_lane: *sending_lane,
                receiving_lane: lane,
            };
            let known = self.opening.insert(**key, opening);
            assert!(known.is_none(), "node {receiver} got a receive key twice");
        }
    }

    /// A lane gets a key to seal with.
    pub fn send(&mut self, sender: usize, lane: LaneIndex, receiver: usize, it: &SendingTransport) {
        let known = self.sealing.insert(*it.key, 0);
        assert!(known.is_none(), "node {sender} got a send key twice");
        let opening = self.opening.get(&*it.key);
        let opening = opening.unwrap_or_else(|| {
            panic!("node {sender} sends to {receiver} under a key that nobody opens with")
        });
        assert_eq!(opening.receiver, receiver, "the key is for another node");
        assert_eq!(opening.sender, sender, "the key is another node's");
        assert_eq!(opening.base, it.base, "the key is under another index");
        assert_eq!(opening.sending_lane, lane, "the key is another lane's");
        let port = BASE_PORT + u16::from(opening.receiving_lane.0);
        let destination = SocketAddr::new(endpoint(receiver), port);
        assert_eq!(it.destination, destination, "the key is at another lane");
        let index = it.base.wire(lane);
        self.indexes.insert((sender, destination, index), *it.key);
    }

    /// A lane has sealed a message.
    pub fn sealed(&mut self, sender: usize, destination: SocketAddr, message: &[u8]) {
        let index = u32::from_le_bytes(message[4..8].try_into().expect("four bytes"));
        let counter = u64::from_le_bytes(message[8..16].try_into().expect("eight bytes"));
        let key = self.indexes[&(sender, destination, index)];
        let next = self.sealing.get_mut(&key).expect("a key that was given");
        assert_eq!(
            counter, *next,
            "node {sender} used a nonce twice, or left one out"
        );
        *next += 1;
    }

    /// A pod sends a packet.
    pub fn sent(&mut self, from: usize, to: usize, now: Moment) -> Inner {
        let number = self.next_number;
        self.next_number += 1;
        let calm_since = self.calm_since;
        let direction = self.directions.entry((from, to)).or_default();
        direction.outstanding.insert(number, now);
        direction.sent += 1;
        let waiting = *direction.waiting_since.get_or_insert(now);
        if let Some(calm) = calm_since {
            let silence = now.duration_since(waiting.max(calm));
            assert!(
                silence <= MOST_SILENCE,
                "{from} to {to}: nothing has come out for {silence:?} of calm weather, at {now}"
            );
        }
        Inner { number, from, to }
    }

    /// A frame goes to a node's tun.
    pub fn came_out(&mut self, at: usize, frame: &[u8]) {
        let inner = Inner::read(frame).expect("a packet comes out as some pod sent it");
        assert_eq!(inner.to, at, "a packet comes out at the node it is for");
        let direction = self.directions.entry((inner.from, at)).or_default();
        let sent = direction.outstanding.remove(&inner.number);
        assert!(
            sent.is_some(),
            "{inner:?} came out twice, or was never sent"
        );
        direction.waiting_since = None;
        direction.came_out += 1;
    }

    /// Two nodes have agreed; told by the offerer.
    pub fn agreed(&mut self, offerer: usize, accepter: usize, now: Moment) {
        let pair = (offerer.min(accepter), offerer.max(accepter));
        self.agreements.entry(pair).or_default().push(now);
    }

    /// A node has sent a datagram.
    pub fn seen(&mut self, node: usize, datagram: &Datagram, now: Moment) {
        let kind = match datagram.kind() {
            4 if datagram.is_transport() => Kind::Transport,
            4 => Kind::Session,
            _ => Kind::Handshake,
        };
        self.datagrams.entry(node).or_default().push((now, kind));
    }

    /// How many datagrams of a kind a node has sent since then.
    #[must_use]
    pub fn count(&self, node: usize, kind: Kind, since: Moment) -> usize {
        let all = self.datagrams.get(&node).map_or(&[][..], Vec::as_slice);
        all.iter()
            .filter(|it| it.0 >= since && it.1 == kind)
            .count()
    }

    /// Everything works from here on, or nothing need work any more.
    pub fn calm(&mut self, since: Option<Moment>) {
        self.calm_since = since;
    }

    /// How often two nodes have agreed since then.
    #[must_use]
    pub fn agreements(&self, one: usize, other: usize, since: Moment) -> usize {
        let pair = self.agreements.get(&(one.min(other), one.max(other)));
        pair.map_or(0, |all| all.iter().filter(|at| **at >= since).count())
    }

    /// How many packets of those sent in this time have not come out.
    #[must_use]
    pub fn lost(&self, from: usize, to: usize, since: Moment, until: Moment) -> usize {
        let sent = self.directions.get(&(from, to));
        let within = |at: &&Moment| **at >= since && **at < until;
        sent.map_or(0, |it| it.outstanding.values().filter(within).count())
    }

    /// How many came out.
    #[must_use]
    pub fn arrived(&self, from: usize, to: usize) -> u64 {
        self.directions.get(&(from, to)).map_or(0, |it| it.came_out)
    }

    /// Every direction that there was traffic in.
    #[must_use]
    pub fn directions(&self) -> Vec<(usize, usize)> {
        self.directions.keys().copied().collect()
    }

    /// Asserts that nothing that was sent in this time was lost, in any direction.
    pub fn assert_nothing_lost(&self, since: Moment, until: Moment) {
        for (from, to) in self.directions() {
            let lost = self.lost(from, to, since, until);
            assert_eq!(
                lost, 0,
                "lost from {from} to {to} between {since} and {until}"
            );
        }
    }
}
