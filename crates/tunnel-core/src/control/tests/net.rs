//! Nodes on a network in memory, in stepped time: each has a real `Control` and notes what its lanes
//! are told. Datagrams take a millisecond unless a test has other plans for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::*;
use super::cluster::{Identity, Root, START, rng};
use crate::owner::{EndpointTable, OwnerTable};
use crate::plane::{IndexBase, ReceivingTransport, Role, SendingTransport, TransportId};

/// What a node's lanes were told.
#[derive(Default)]
pub(super) struct Lanes {
    pub(super) sending: BTreeMap<(PeerIndex, LaneIndex), SendingTransport>,
    pub(super) receiving: BTreeMap<(TransportId, LaneIndex), ReceivingTransport>,
    /// Everything that was ever installed: (base, receive keys) and send keys.
    pub(super) received_keys: Vec<Vec<u8>>,
    pub(super) sent_keys: Vec<Vec<u8>>,
    pub(super) choices: Vec<TransportId>,
    pub(super) empties: usize,
    pub(super) owners: Arc<OwnerTable>,
    pub(super) endpoints: Arc<EndpointTable>,
}

impl Lanes {
    fn obey(&mut self, lane: LaneIndex, command: LaneCommand) {
        match command {
            LaneCommand::Owners(table) => self.owners = table,
            LaneCommand::Endpoints(table) => self.endpoints = table,
            LaneCommand::Receive(transport) => {
                let keys = transport.keys.iter().map(|it| it.1.to_vec());
                self.received_keys.extend(keys);
                self.receiving.insert((transport.id, lane), transport);
            }
            LaneCommand::Send(transport) => {
                self.sent_keys.push(transport.key.to_vec());
                if lane == LaneIndex(0) {
                    self.choices.push(transport.id);
                }
                self.sending.insert((transport.peer, lane), transport);
            }
            LaneCommand::StopSending(peer) => self.sending.retain(|it, _| it.0 != peer),
            LaneCommand::Forget(id) => {
                self.receiving.retain(|it, _| it.0 != id);
                self.sending.retain(|_, it| it.id != id);
            }
            LaneCommand::SendEmpty(_) => self.empties += 1,
        }
    }

    /// The key that a packet of this wire index is opened with, in this lane.
    pub(super) fn opens(
        &self,
        base: IndexBase,
        sender: LaneIndex,
        lane: LaneIndex,
    ) -> Option<&[u8]> {
        let transports = self.receiving.iter().filter(|it| it.0.1 == lane);
        let transport = transports.map(|it| it.1).find(|it| it.base == base)?;
        let key = transport.keys.iter().find(|it| it.0 == sender)?;
        Some(key.1.as_slice())
    }
}

pub(super) struct Node {
    pub(super) control: Control,
    pub(super) identity: Identity,
    pub(super) lanes: Lanes,
    pub(super) events: Vec<ControlEvent>,
    pub(super) initiations: usize,
    /// Own generations, oldest first: what a restart finds on disk.
    pub(super) generations: Vec<OwnGeneration>,
}

/// A datagram on its way.
#[derive(Clone)]
pub(super) struct InFlight {
    pub(super) at: Moment,
    pub(super) from: usize,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) payload: Vec<u8>,
}

impl InFlight {
    pub(super) fn kind(&self) -> u8 {
        self.payload[0]
    }
}

/// What becomes of a datagram: when each of its copies arrives after it was sent.
pub(super) type Fate = Box<dyn FnMut(&InFlight) -> Vec<Duration>>;

pub(super) fn delivered() -> Vec<Duration> {
    vec![Duration::from_millis(1)]
}

pub(super) struct Net {
    pub(super) root: Root,
    pub(super) now: Moment,
    pub(super) nodes: Vec<Node>,
    pub(super) fate: Fate,
    pub(super) tape: Vec<InFlight>,
    /// Asserts at every step that each end opens what the other sends.
    pub(super) always_agreed: bool,
    /// Lanes move data all the time: they want transports and say when they are used up.
    pub(super) busy: bool,
    flying: VecDeque<InFlight>,
    begin: Moment,
}

pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;

impl Net {
    /// Alice and Bob with these numbers of lanes, who do not know each other yet.
    pub(super) fn strangers(seed: u64, lanes: [u8; 2]) -> Self {
        let begin = Moment::since_boot(Duration::from_secs(1000));
        let mut net = Self {
            root: Root::new(),
            now: begin,
            nodes: Vec::new(),
            fate: Box::new(|_| delivered()),
            tape: Vec::new(),
            always_agreed: false,
            busy: false,
            flying: VecDeque::new(),
            begin,
        };
        for (number, name, lanes) in [(1, "alice", lanes[0]), (2, "bob", lanes[1])] {
            net.add(seed, Identity::new(number, name, lanes));
        }
        net
    }

    /// The same, and they know each other.
    pub(super) fn acquainted(seed: u64, lanes: [u8; 2]) -> Self {
        let mut net = Self::strangers(seed, lanes);
        net.introduce_all();
        net
    }

    /// The same, and Alice has a transport to Bob, and Bob to Alice.
    pub(super) fn connected(seed: u64, lanes: [u8; 2]) -> Self {
        let mut net = Self::acquainted(seed, lanes);
        net.want(ALICE);
        net.advance(Duration::from_secs(1));
        net.assert_agreed();
        net
    }

    pub(super) fn add(&mut self, seed: u64, mut identity: Identity) {
        let own = identity.generation(&self.root, seed * 1000 + u64::from(identity.number));
        let settings = Settings::ordinary(identity.lanes, AesInstructions::Present);
        let rng = Box::new(rng(seed + 7 * u64::from(identity.number)));
        let mut control = Control::new(settings, rng, self.now);
        control.handle_clock(self.wall(), self.judged(), self.now);
        control.handle_generation(&own, self.now).unwrap();
        self.nodes.push(Node {
            control,
            identity,
            lanes: Lanes::default(),
            events: Vec::new(),
            initiations: 0,
            generations: vec![own],
        });
    }

    pub(super) fn wall(&self) -> Duration {
        Duration::from_secs(START.0) + self.now.duration_since(self.begin)
    }

    fn judged(&self) -> UnixTime {
        UnixTime(self.wall().as_secs())
    }

    pub(super) fn address(&self, node: usize) -> SocketAddr {
        SocketAddr::new(self.nodes[node].identity.address(), 51820)
    }

    pub(super) fn refused(&self, node: usize, reason: DatagramRefusal) -> u64 {
        let refusals = self.nodes[node].control.refusals();
        refusals.get(&reason).copied().unwrap_or(0)
    }

    pub(super) fn verified(&self, node: usize) -> VerifiedPeer {
        let own = self.nodes[node].control.own.newest().unwrap();
        own.verified.clone()
    }

    /// Every node learns the newest generation of every other.
    pub(super) fn introduce_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.introduce_to(node);
        }
    }

    /// One node learns the newest generations of all others.
    pub(super) fn introduce_to(&mut self, node: usize) {
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let others: Vec<_> = others.map(|other| self.verified(other)).collect();
        let now = self.now;
        self.nodes[node].control.handle_peers(&others, now);
        self.collect(node);
    }

    /// The number that `node` has for its first other peer in a net of two.
    pub(super) fn want(&mut self, node: usize) {
        self.lane_event(node, LaneEvent::Want(PeerIndex(0)));
    }

    pub(super) fn lane_event(&mut self, node: usize, event: LaneEvent) {
        let now = self.now;
        self.nodes[node].control.handle_lane_event(event, now);
        self.collect(node);
    }

    /// A new own generation of `node`, which its peers do not know yet.
    pub(super) fn renew(&mut self, node: usize, seed: u64) {
        let now = self.now;
        let it = &mut self.nodes[node];
        let generation = it.identity.generation(&self.root, seed);
        it.control.handle_generation(&generation, now).unwrap();
        it.generations.push(generation);
        self.collect(node);
    }

    /// A daemon that was killed starts again, with the generation it had; its lanes know nothing.
    pub(super) fn restart(&mut self, node: usize, generation: usize) {
        let now = self.now;
        let (wall, judged) = (self.wall(), self.judged());
        let it = &mut self.nodes[node];
        let settings = Settings::ordinary(it.identity.lanes, AesInstructions::Present);
        it.control = Control::new(
            settings,
            Box::new(rng(now.as_since_boot().as_nanos() as u64)),
            now,
        );
        it.control.handle_clock(wall, judged, now);
        let generation = &it.generations[generation];
        it.control.handle_generation(generation, now).unwrap();
        it.lanes = Lanes::default();
    }

    pub(super) fn inject(&mut self, node: usize, source: SocketAddr, payload: &[u8]) {
        let now = self.now;
        let control = &mut self.nodes[node].control;
        control.handle_datagram(source, payload, now);
        self.collect(node);
    }

    pub(super) fn traffic(&mut self, node: usize, traffic: Traffic) {
        let now = self.now;
        let control = &mut self.nodes[node].control;
        control.handle_traffic(&[(PeerIndex(0), traffic)], now);
        self.collect(node);
    }

    /// Carries out what a node wants done.
    pub(super) fn collect(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        while let Some((lane, command)) = it.control.poll_lane_command() {
            it.lanes.obey(lane, command);
        }
        while let Some(event) = it.control.poll_event() {
            it.events.push(event);
        }
        while let Some(transmit) = it.control.poll_transmit() {
            it.initiations += usize::from(transmit.payload[0] == 1);
            let mut sent = InFlight {
                at: self.now,
                from: node,
                source: SocketAddr::new(transmit.source.unwrap(), 51820),
                destination: transmit.destination,
                payload: transmit.payload,
            };
            self.tape.push(sent.clone());
            for delay in (self.fate)(&sent) {
                sent.at = self.now + delay;
                let later = |it: &InFlight| it.at > sent.at;
                let position = self.flying.iter().position(later);
                let position = position.unwrap_or(self.flying.len());
                self.flying.insert(position, sent.clone());
            }
        }
        if self.always_agreed {
            self.assert_agreed();
        }
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeouts = self.nodes.iter().filter_map(|it| it.control.poll_timeout());
            let timeout = timeouts.map(|it| it.0).min();
            let arrival = self.flying.front().map(|it| it.at);
            let next = timeout.into_iter().chain(arrival).min().unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                let it = self.flying.pop_front().unwrap();
                self.arrive(&it);
            } else {
                self.tick();
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, it: &InFlight) {
        let mut nodes = self.nodes.iter();
        let node = nodes.position(|node| node.identity.address() == it.destination.ip());
        if let Some(node) = node {
            self.inject(node, it.source, &it.payload);
        }
    }

    fn tick(&mut self) {
        let (now, wall, judged) = (self.now, self.wall(), self.judged());
        for node in 0..self.nodes.len() {
            let control = &mut self.nodes[node].control;
            control.handle_clock(wall, judged, now);
            control.handle_timeout(now);
            let next = control.poll_timeout().unwrap();
            assert!(next.0 > now, "a deadline that does not go away: {}", next.1);
            self.collect(node);
            if self.busy {
                self.ask_as_lanes_do(node);
            }
        }
    }

    fn ask_as_lanes_do(&mut self, node: usize) {
        let sending = &self.nodes[node].lanes.sending;
        let event = match sending.get(&(PeerIndex(0), LaneIndex(0))) {
            None => LaneEvent::Want(PeerIndex(0)),
            Some(transport) => {
                let limit = match transport.role {
                    Role::Offerer => 120,
                    Role::Accepter => 150,
                };
                if self.now.duration_since(transport.born) < Duration::from_secs(limit) {
                    return;
                }
                LaneEvent::RekeyDue(transport.id)
            }
        };
        self.lane_event(node, event);
    }

    /// Whether what `sender` sends is opened by `receiver` with an equal key, from every lane, and
    /// goes to the right port.
    pub(super) fn is_agreed(&self, sender: usize, receiver: usize) -> bool {
        let (sender, receiver) = (&self.nodes[sender], &self.nodes[receiver]);
        (0..sender.identity.lanes).map(LaneIndex).all(|lane| {
            let Some(sending) = sender.lanes.sending.get(&(PeerIndex(0), lane)) else {
                return false;
            };
            let at = lane.receiver(receiver.identity.lanes);
            let port = 51820 + u16::from(at.0);
            let address = SocketAddr::new(receiver.identity.address(), port);
            sending.destination == address
                && receiver.lanes.opens(sending.base, lane, at) == Some(sending.key.as_slice())
        })
    }

    pub(super) fn assert_agreed(&self) {
        assert!(self.is_agreed(ALICE, BOB), "Bob opens what Alice sends");
        assert!(self.is_agreed(BOB, ALICE), "Alice opens what Bob sends");
    }

    /// No key may reach a lane twice: it would count its nonces from zero again.
    pub(super) fn assert_no_key_was_given_twice(&self) {
        for node in &self.nodes {
            for keys in [&node.lanes.sent_keys, &node.lanes.received_keys] {
                let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
                assert_eq!(distinct.len(), keys.len());
            }
        }
    }

    pub(super) fn choice(&self, node: usize) -> Option<TransportId> {
        let sending = &self.nodes[node].lanes.sending;
        sending.values().next().map(|it| it.id)
    }
}
