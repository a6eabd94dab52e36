//! Lane to lane in memory: Alice (10.244.0.0/24), Bob (10.244.1.0/24), Mallory (10.244.2.0/24).

mod limits;
mod moving;
mod refusing;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::*;
use crate::counters::Traffic;
use crate::offload::samples::Sample;
use crate::offload::{SegmentKind, vnet};
use crate::owner::Owner;
use crate::plane::{
    IndexBase, PeerIndex, ReceivingTransport, Role, SendingTransport, Suite, TransportId,
};

const START: Moment = Moment::since_boot(Duration::from_secs(5_000));
const MTU: Mtu = Mtu(1420);

fn later(milliseconds: u64) -> Moment {
    START + Duration::from_millis(milliseconds)
}

fn address(node: u8, lane: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([198, 51, 100, node + 1]), 51_820 + lane)
}

/// Records what is sent.
#[derive(Default)]
struct Recorder {
    runs: Vec<Sent>,
}

#[derive(Clone)]
struct Sent {
    destination: SocketAddr,
    segment: usize,
    datagrams: Vec<u8>,
}

impl Wire for Recorder {
    fn send(&mut self, run: Run<'_>) {
        assert!(run.datagrams.len() <= LONGEST_RUN);
        assert!(run.datagrams.len().div_ceil(run.segment) <= MOST_SEGMENTS);
        let (destination, segment) = (run.destination, run.segment);
        self.runs.push(Sent {
            destination,
            segment,
            datagrams: run.datagrams.to_vec(),
        });
    }
}

/// A node's lane and what it sent, wrote to the tun and said.
struct Node {
    lane: Lane,
    wire: Recorder,
}

impl Node {
    fn new(number: u8) -> Node {
        Node::with_lane(number, 0, 1)
    }

    fn with_lane(number: u8, index: u8, lanes: u8) -> Node {
        let settings = LaneSettings {
            index: LaneIndex(index),
            lanes,
            mtu: MTU,
            udp: UdpJoining::Accepted,
        };
        let mut node = Node {
            lane: Lane::new(settings, Arc::default()),
            wire: Recorder::default(),
        };
        node.command(LaneCommand::Owners(Arc::new(owners(number))));
        let endpoints = (0..3).map(|node| address(node, 0).ip()).collect();
        node.command(LaneCommand::Endpoints(Arc::new(endpoints)));
        node
    }

    fn command(&mut self, command: LaneCommand) {
        self.command_at(command, START);
    }

    fn command_at(&mut self, command: LaneCommand, now: Moment) {
        self.lane.handle_command(command, now, &mut self.wire);
    }

    /// Gives frames of the tun to the lane; returns what it sent.
    fn send(&mut self, frames: &[Vec<u8>], now: Moment) -> Vec<Sent> {
        for frame in frames {
            self.lane.outbound(frame, now, &mut self.wire);
        }
        self.lane.flush(now, &mut self.wire);
        self.sent()
    }

    fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.wire.runs)
    }

    /// Gives a batch to the lane; returns what is written to the tun.
    fn receive(&mut self, run: &Sent, now: Moment) -> Vec<Vec<u8>> {
        self.receive_from(address(1, 0), &run.datagrams, run.segment, now)
    }

    fn receive_from(
        &mut self,
        source: SocketAddr,
        datagrams: &[u8],
        segment: usize,
        now: Moment,
    ) -> Vec<Vec<u8>> {
        let mut batch = datagrams.to_vec();
        let writes = self.lane.inbound(source, &mut batch, segment, now);
        writes
            .map(|pieces| pieces.flatten().copied().collect())
            .collect()
    }

    fn receive_all(&mut self, runs: &[Sent], now: Moment) -> Vec<Vec<u8>> {
        runs.iter().flat_map(|run| self.receive(run, now)).collect()
    }

    fn events(&mut self) -> Vec<LaneEvent> {
        std::iter::from_fn(|| self.lane.poll_event()).collect()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.lane.counters().drops(reason)
    }

    /// Every drop reason that was counted, and how often.
    fn all_drops(&self) -> Vec<(DropReason, u64)> {
        let counted = DropReason::ALL
            .iter()
            .map(|reason| (*reason, self.drops(*reason)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    fn traffic(&self, peer: PeerIndex) -> Traffic {
        let sample = self.lane.counters().sample();
        sample
            .into_iter()
            .find(|(index, _)| *index == peer)
            .unwrap_or((peer, Traffic::default()))
            .1
    }
}

/// Each node's table: peers are numbered by node.
fn owners(own: u8) -> OwnerTable {
    let ranges = (0..3).flat_map(|node: u8| {
        let owner = if node == own {
            Owner::Own
        } else {
            Owner::Peer(PeerIndex(u32::from(node)))
        };
        let ipv4 = [[10, 244, node, 0], [10, 244, node, 255]].map(IpAddr::from);
        let group = u16::from(node);
        let ipv6 = [
            [0xfd00, 0x10, 0x244, group, 0, 0, 0, 0],
            [0xfd00, 0x10, 0x244, group, 0xffff, 0xffff, 0xffff, 0xffff],
        ]
        .map(IpAddr::from);
        [ipv4, ipv6].map(|[first, last]| (owner, first..=last))
    });
    let services = (
        Owner::Service,
        IpAddr::from([10, 96, 0, 0])..=IpAddr::from([10, 96, 255, 255]),
    );
    OwnerTable::new(ranges.chain([services])).unwrap()
}

/// A transport from one node to another.
#[derive(Clone, Copy)]
struct Transport {
    number: u64,
    from: u8,
    to: u8,
    born: Moment,
    sender: Role,
    suite: Suite,
}

impl Transport {
    fn new(number: u64, from: u8, to: u8) -> Transport {
        Transport {
            number,
            from,
            to,
            born: START,
            sender: Role::Offerer,
            suite: Suite::Aes256Gcm,
        }
    }

    fn id(self) -> TransportId {
        TransportId(self.number)
    }

    fn key(self, lane: u8) -> Zeroizing<[u8; 32]> {
        let mut key = [lane; 32];
        key[..8].copy_from_slice(&self.number.to_le_bytes());
        key[8] = self.from;
        Zeroizing::new(key)
    }

    fn base(self) -> IndexBase {
        IndexBase::new(0x10_0000 + self.number as u32 * 8 + u32::from(self.from)).unwrap()
    }

    fn send(self, lane: u8) -> LaneCommand {
        LaneCommand::Send(SendingTransport {
            id: self.id(),
            peer: PeerIndex(self.to.into()),
            suite: self.suite,
            role: self.sender,
            base: self.base(),
            key: self.key(lane),
            destination: address(self.to, 0),
            source: Some(address(self.from, 0).ip()),
            born: self.born,
        })
    }

    /// With the keys of all of three sending lanes.
    fn receive(self) -> LaneCommand {
        let role = match self.sender {
            Role::Offerer => Role::Accepter,
            Role::Accepter => Role::Offerer,
        };
        LaneCommand::Receive(ReceivingTransport {
            id: self.id(),
            peer: PeerIndex(self.from.into()),
            suite: self.suite,
            role,
            base: self.base(),
            keys: (0..3)
                .map(|lane| (LaneIndex(lane), self.key(lane)))
                .collect(),
            born: self.born,
        })
    }
}

/// Alice and Bob with transport 1 from Bob to Alice.
fn bob_to_alice() -> (Node, Node) {
    let (mut bob, mut alice) = (Node::new(1), Node::new(0));
    let transport = Transport::new(1, 1, 0);
    alice.command(transport.receive());
    bob.command(transport.send(0));
    (bob, alice)
}

fn sample(from: u8, to: u8, kind: SegmentKind, length: usize) -> Sample {
    let mut sample = Sample::new(kind, (0..length).map(|at| (at % 253) as u8).collect());
    (sample.from, sample.to) = (from, to);
    sample
}

/// A small frame from one node's pod to another's.
fn small(from: u8, to: u8) -> Vec<u8> {
    sample(from, to, SegmentKind::Udp4, 40).frame()
}
