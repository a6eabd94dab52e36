//! One lane: what its thread decides, without the thread.
//!
//! A lane moves packets between one queue of the tun and one UDP socket with the keys that the
//! control side gave it (`crate::plane`). It shares nothing with other lanes, so nothing is
//! locked. Out: `outbound` takes frames of the tun and hands sealed runs to a `Wire`; in: `inbound`
//! takes a batch of datagrams and returns what is to be written to the tun. It decides on every
//! packet and never on a key: those it uses, counts and gives up at their limits.
//! The daemon's `lane.rs` is the loop around it.

mod datagram;
mod events;
mod inbound;
mod outbound;
mod receiving;
mod run;
mod sending;
mod waiting;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use crate::counters::LaneCounters;
use crate::drop_reason::DropReason;
use crate::moment::Moment;
use crate::offload::coalesce::{Coalescer, UdpJoining};
use crate::owner::{EndpointTable, OwnerTable};
use crate::packet::Mtu;
use crate::plane::{LaneCommand, LaneEvent, LaneIndex};
use events::Events;
use receiving::Receiving;
use run::RunBuffer;
use sending::Sending;
use waiting::Waiting;

pub use run::{LONGEST_RUN, MOST_SEGMENTS};

/// What a lane is told when it is made.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    /// Its number.
    pub index: LaneIndex,
    /// How many lanes this node has.
    pub lanes: u8,
    /// The tun's MTU: no message carries more.
    pub mtu: Mtu,
    /// Whether the tun takes UDP super-packets.
    pub udp: UdpJoining,
}

/// A sealed run: datagrams for one destination, `segment` bytes each, the last one may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The own address to send from.
    pub source: Option<IpAddr>,
    /// The peer's lane.
    pub destination: SocketAddr,
    /// Length of each datagram but the last.
    pub segment: usize,
    /// The datagrams.
    pub datagrams: &'a [u8],
}

/// Carries sealed runs away.
pub trait Wire {
    /// Sends a run. A failure is the wire's to count; no run is sealed twice.
    fn send(&mut self, run: Run<'_>);
}

/// One lane.
pub struct Lane {
    settings: LaneSettings,
    owners: Arc<OwnerTable>,
    endpoints: Arc<EndpointTable>,
    sending: Sending,
    receiving: Receiving,
    waiting: Waiting,
    run: RunBuffer,
    coalescer: Coalescer,
    /// Packets of the run that is being opened, before they are judged.
    candidates: Vec<Range<usize>>,
    /// Packets of the batch that go to the tun.
    accepted: Vec<Range<usize>>,
    events: Events,
    counters: Arc<LaneCounters>,
}

impl Lane {
    /// A lane without keys: it drops everything until it is told who owns what.
    pub fn new(settings: LaneSettings, counters: Arc<LaneCounters>) -> Lane {
        Lane {
            settings,
            owners: Arc::default(),
            endpoints: Arc::default(),
            sending: Sending::default(),
            receiving: Receiving::default(),
            waiting: Waiting::default(),
            run: RunBuffer::new(settings.mtu),
            coalescer: Coalescer::new(settings.udp),
            candidates: Vec::new(),
            accepted: Vec::new(),
            events: Events::default(),
            counters,
        }
    }

    /// Obeys the control side. Packets that waited for what came are sent.
    pub fn handle_command(&mut self, command: LaneCommand, now: Moment, wire: &mut impl Wire) {
        self.flush(now, wire);
        match command {
            LaneCommand::Owners(owners) => self.owners = owners,
            LaneCommand::Endpoints(endpoints) => self.endpoints = endpoints,
            LaneCommand::Receive(transport) => {
                self.receiving
                    .add(transport, self.settings.index, self.settings.lanes);
            }
            LaneCommand::Send(transport) => {
                let peer = transport.peer;
                self.sending.choose(transport, self.settings.index);
                for frame in self.waiting.take(peer) {
                    self.outbound(&frame, now, wire);
                }
                self.flush(now, wire);
            }
            LaneCommand::StopSending(peer) => {
                self.sending.stop(peer);
                let waited = self.waiting.take(peer).len() as u64;
                self.counters.dropped_many(DropReason::NoTransport, waited);
            }
            LaneCommand::Forget(id) => {
                self.sending.forget(id);
                self.receiving.forget(id);
            }
            LaneCommand::SendEmpty(peer) => self.send_empty(peer, now, wire),
        }
    }

    /// The next event for the control side; changed by `handle_command`, `outbound`, `inbound` and
    /// `return_event`.
    pub fn poll_event(&mut self) -> Option<LaneEvent> {
        self.events.pop()
    }

    /// Takes back an event that the control side had no room for. Datagrams are dropped, as any
    /// network may drop them; the others are kept for the next try.
    pub fn return_event(&mut self, event: LaneEvent) {
        match event {
            LaneEvent::ControlDatagram { .. } => {
                self.counters.dropped(DropReason::ControlQueueFull);
            }
            LaneEvent::UnknownIndex(_) => {}
            LaneEvent::Want(_) | LaneEvent::RekeyDue(_) | LaneEvent::FirstOpened(_) => {
                self.events.put_back(event);
            }
        }
    }

    /// The counters that this lane writes.
    pub fn counters(&self) -> &Arc<LaneCounters> {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
