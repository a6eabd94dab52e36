//! One node: its daemon's pure parts, wired as the daemon wires them, and what survives a restart.

mod daemon;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha12Rng;
use node_identity::{NodeUid, UnixTime};
use tunnel_core::control::{
    AesInstructions, Control, ControlEvent, GenerationRank, NewGenerationReason, OwnGeneration,
    Settings,
};
use tunnel_core::counters::{LaneCounters, Traffic};
use tunnel_core::lane::{Lane, LaneSettings};
use tunnel_core::moment::Moment;
use tunnel_core::offload::coalesce::UdpJoining;
use tunnel_core::packet::Mtu;
use tunnel_core::plane::{LaneIndex, PeerIndex, Role};

use crate::certified::{BASE_PORT, Identity, Learned};
use crate::clock::{self, BEGIN, START};
use crate::network::Datagram;
use crate::oracle::Oracle;
use crate::packet::Inner;
use daemon::{Daemon, Outgoing};

/// The tun's.
const MTU: Mtu = Mtu(1420);

/// What a node does to the rest.
pub struct World<'a> {
    /// The time.
    pub now: Moment,
    /// Who judges.
    pub oracle: &'a mut Oracle,
    /// Datagrams on their way out.
    pub sent: Vec<Datagram>,
    /// New generations that are wanted.
    pub wishes: Vec<NewGenerationReason>,
    /// Whether to print what happens.
    pub trace: bool,
}

/// A node.
pub struct Node {
    /// Its number.
    pub number: usize,
    /// Who it is.
    pub identity: Identity,
    /// What it knows of others: on disk.
    pub learned: Learned,
    /// Own generations, oldest first: on disk.
    pub generations: Vec<OwnGeneration>,
    /// Its clock's error in seconds.
    pub clock_error: i64,
    /// How often its daemon was started.
    pub life: u64,
    /// Until when its control side does nothing.
    pub stalled_until: Moment,
    /// How often it has given an agreement up.
    pub given_up: usize,
    aes: AesInstructions,
    lately: Vec<NodeUid>,
    daemon: Option<Daemon>,
}

impl Node {
    /// A node without a daemon yet.
    #[must_use]
    pub fn new(number: usize, identity: Identity, aes: AesInstructions) -> Self {
        Self {
            number,
            identity,
            learned: Learned::default(),
            generations: Vec::new(),
            clock_error: 0,
            life: 0,
            stalled_until: Moment::default(),
            given_up: 0,
            aes,
            lately: Vec::new(),
            daemon: None,
        }
    }

    /// What its clock shows.
    #[must_use]
    pub fn wall(&self, now: Moment) -> Duration {
        let right = Duration::from_secs(START.0) + now.duration_since(BEGIN);
        let error = Duration::from_secs(self.clock_error.unsigned_abs());
        if self.clock_error < 0 {
            right - error
        } else {
            right + error
        }
    }

    /// Whether its daemon runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.daemon.is_some()
    }

    /// Datagrams that its control side has refused, by reason.
    #[must_use]
    pub fn refusals(&self) -> String {
        let daemon = self.daemon.as_ref();
        daemon.map_or_else(String::new, |it| format!("{:?}", it.control.refusals()))
    }

    /// Whether there is a transport to send to this peer under.
    #[must_use]
    pub fn sends_to(&self, peer: NodeUid) -> bool {
        let daemon = self.daemon.as_ref();
        daemon.is_some_and(|it| {
            let mut peers = it.control.peers();
            peers.any(|it| it.identity.uid == peer && it.sending.is_some())
        })
    }

    /// Whether the control side knows this peer.
    #[must_use]
    pub fn knows(&self, peer: NodeUid) -> bool {
        let daemon = self.daemon.as_ref();
        daemon.is_some_and(|it| it.control.peers().any(|it| it.identity.uid == peer))
    }

    /// Kills the daemon, and its lanes with it.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Starts the daemon with what is on disk.
    pub fn start(&mut self, rng: ChaCha12Rng, world: &mut World<'_>) {
        let now = world.now;
        self.set_clock(now);
        self.life += 1;
        let mut settings = Settings::ordinary(self.identity.lanes(), self.aes);
        settings.around_tunn = clock::around_tunn;
        let lanes = (0..settings.lanes).map(|index| LaneSettings {
            index: LaneIndex(index),
            lanes: settings.lanes,
            mtu: MTU,
            udp: UdpJoining::Accepted,
        });
        let lanes = lanes.map(|it| Lane::new(it, Arc::new(LaneCounters::default())));
        let mut daemon = Daemon {
            lanes: lanes.collect(),
            control: Control::new(settings, Box::new(rng), now),
            peers: BTreeMap::new(),
            events: VecDeque::new(),
        };
        let (wall, judged) = self.time_of_day(now);
        daemon.control.handle_clock(wall, judged, now);
        for generation in &self.generations {
            let taken = daemon.control.handle_generation(generation, now);
            taken.expect("a generation that was kept");
        }
        let admitted = self.learned.admitted(wall);
        daemon.control.handle_peers(&admitted, now);
        daemon.control.handle_restart(&self.lately, now);
        self.daemon = Some(daemon);
        self.settle(world);
    }

    /// Takes a new own generation.
    pub fn add_generation(&mut self, generation: OwnGeneration, world: &mut World<'_>) {
        let now = world.now;
        self.with_control(world, |control| {
            let taken = control.handle_generation(&generation, now);
            taken.expect("a newer generation");
        });
        self.generations.push(generation);
    }

    /// Tells the control side who may be spoken with.
    pub fn admit(&mut self, world: &mut World<'_>) {
        let now = world.now;
        let admitted = self.learned.admitted(self.wall(now));
        self.with_control(world, |control| control.handle_peers(&admitted, now));
    }

    /// Tells the control side what is revoked.
    pub fn revoke(&mut self, world: &mut World<'_>) {
        let now = world.now;
        let revocations = self.learned.revocations.clone();
        self.with_control(world, |it| it.handle_revocations(&revocations, now));
    }

    /// The machine's memory was copied.
    pub fn copy_memory(&mut self, world: &mut World<'_>) {
        let now = world.now;
        self.generations.clear();
        self.with_control(world, |control| control.handle_memory_copied(now));
    }

    /// A pod sends packets, all of them in one lane.
    pub fn outbound(&mut self, packets: &[Inner], lane: usize, world: &mut World<'_>) {
        let (number, now) = (self.number, world.now);
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let mut wire = Outgoing {
            node: number,
            lane: lane as u8,
            world,
        };
        let lane = &mut daemon.lanes[lane];
        for packet in packets {
            lane.outbound(&packet.frame(), now, &mut wire);
        }
        lane.flush(now, &mut wire);
        self.settle(world);
    }

    /// A datagram arrives at one of its ports.
    pub fn inbound(&mut self, datagram: Datagram, world: &mut World<'_>) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let lane = usize::from(datagram.destination.port() - BASE_PORT);
        let Some(lane) = daemon.lanes.get_mut(lane) else {
            return;
        };
        let mut bytes = datagram.bytes;
        let frames = lane.inbound(datagram.source, &mut bytes, datagram.segment, world.now);
        for frame in frames {
            let frame: Vec<u8> = frame.flatten().copied().collect();
            world.oracle.came_out(self.number, &frame);
        }
        self.settle(world);
    }

    /// When the control side has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        let daemon = self.daemon.as_ref()?;
        let (at, _) = daemon.control.poll_timeout()?;
        Some(at.max(self.stalled_until))
    }

    /// Lets time pass for the control side.
    pub fn handle_timeout(&mut self, world: &mut World<'_>) {
        let now = world.now;
        self.with_control(world, |control| control.handle_timeout(now));
        if let Some((at, what)) = self
            .daemon
            .as_ref()
            .and_then(|it| it.control.poll_timeout())
        {
            assert!(at > now, "a deadline that does not go away: {what}");
        }
    }

    /// Once a second: the counters.
    pub fn handle_second(&mut self, world: &mut World<'_>) {
        let now = world.now;
        let Some(daemon) = self.daemon.as_ref().filter(|_| now >= self.stalled_until) else {
            return;
        };
        let mut traffic: BTreeMap<PeerIndex, Traffic> = BTreeMap::new();
        for (peer, it) in daemon.lanes.iter().flat_map(|it| it.counters().sample()) {
            traffic.entry(peer).or_default().add(it);
        }
        let traffic: Vec<_> = traffic.into_iter().collect();
        self.lately = daemon.control.lately_spoken_with(now).collect();
        self.with_control(world, |control| control.handle_traffic(&traffic, now));
    }

    /// Carries out whatever lanes and control side have to say to each other.
    pub fn settle(&mut self, world: &mut World<'_>) {
        self.set_clock(world.now);
        let (wall, judged) = self.time_of_day(world.now);
        let stalled = world.now < self.stalled_until;
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let mut happened = Vec::new();
        loop {
            daemon.take_events();
            if stalled {
                return;
            }
            happened.extend(daemon.carry_out(self.number, world));
            daemon.take_events();
            let Some(event) = daemon.events.pop_front() else {
                break;
            };
            daemon.control.handle_clock(wall, judged, world.now);
            daemon.control.handle_lane_event(event, world.now);
        }
        for event in happened {
            self.note(event, world);
        }
    }

    fn with_control(&mut self, world: &mut World<'_>, act: impl FnOnce(&mut Control)) {
        self.set_clock(world.now);
        let (wall, judged) = self.time_of_day(world.now);
        if let Some(daemon) = &mut self.daemon {
            daemon.control.handle_clock(wall, judged, world.now);
            act(&mut daemon.control);
        }
        self.settle(world);
    }

    fn note(&mut self, event: ControlEvent, world: &mut World<'_>) {
        if world.trace {
            println!("{} node {}: {event:?}", world.now, self.number);
        }
        match event {
            ControlEvent::NewGenerationWanted(reason) => world.wishes.push(reason),
            ControlEvent::StampAdvanced {
                generation,
                seconds,
            } => {
                let of = |it: &&mut OwnGeneration| GenerationRank::of(&it.verified) == generation;
                if let Some(known) = self.generations.iter_mut().find(of) {
                    known.highest_stamp = Some(UnixTime(seconds));
                }
            }
            ControlEvent::OwnGenerationRetired(generation) => {
                let stays = |it: &OwnGeneration| GenerationRank::of(&it.verified) != generation;
                self.generations.retain(stays);
            }
            ControlEvent::TransportInstalled {
                peer,
                role: Role::Offerer,
                ..
            } => {
                if let Some(peer) = self.daemon.as_ref().and_then(|it| it.peers.get(&peer)) {
                    world.oracle.agreed(self.number, *peer, world.now);
                }
            }
            ControlEvent::AgreementGivenUp { .. } => self.given_up += 1,
            ControlEvent::OwnersOverlap(error) => panic!("owners overlap: {error}"),
            ControlEvent::PeerKeyRefused { identity } => panic!("key of {identity} refused"),
            ControlEvent::PeerAdded { .. }
            | ControlEvent::PeerGenerationEnded { .. }
            | ControlEvent::PeerRemoved { .. }
            | ControlEvent::NoCommonFamily { .. }
            | ControlEvent::SessionCompleted { .. }
            | ControlEvent::TransportInstalled { .. }
            | ControlEvent::TransportChosen { .. }
            | ControlEvent::SendingStopped { .. }
            | ControlEvent::TransportForgotten { .. }
            | ControlEvent::DatagramRefused { .. } => {}
        }
    }

    fn set_clock(&self, now: Moment) {
        clock::set(now, self.wall(now));
    }

    fn time_of_day(&self, now: Moment) -> (Duration, UnixTime) {
        let wall = self.wall(now);
        (wall, self.learned.judged(wall))
    }
}
