//! The run: nodes, network, Mallory and the judge, moved through virtual time by one queue.

use std::time::Duration;

use chacha20::ChaCha12Rng;
use node_identity::Envelope;
use rand_core::Rng;
use tunnel_core::control::{AesInstructions, OwnGeneration};
use tunnel_core::moment::Moment;

use crate::certified::{BASE_PORT, Certificate, Identity, Root, rng};
use crate::clock::{self, BEGIN};
use crate::events::{Event, Queue};
use crate::mallory::{Act, Mallory, Target};
use crate::network::{Datagram, Network, node_at};
use crate::node::{Node, World};
use crate::oracle::Oracle;
use crate::packet::endpoint;
use crate::seeds;

/// How soon a published statement reaches the others, unless a test says otherwise.
const STORE: Duration = Duration::from_secs(1);

/// How long a daemon takes to make a new generation that is wanted.
const MAKE: Duration = Duration::from_millis(500);

/// How often a node that could not take an envelope yet tries again.
const LEARN_AGAIN: Duration = Duration::from_secs(30);

/// Mallory's datagrams are quick.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What a daemon finds when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Its tunnel keys.
    Kept,
    /// None: it makes a new generation.
    Lost,
}

/// Packets from one node's pods to another's.
#[derive(Clone, Copy, Debug)]
struct Flow {
    from: usize,
    to: usize,
    every: Duration,
    burst: usize,
    flows: bool,
}

/// Number of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowNumber(usize);

/// A run.
pub struct Sim {
    /// The time.
    pub now: Moment,
    /// Randomness of the course of events.
    pub rng: ChaCha12Rng,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The underlay.
    pub network: Network,
    /// The judge.
    pub oracle: Oracle,
    /// The attacker.
    pub mallory: Mallory,
    /// Whether each datagram also goes to every other lane of its receiver.
    pub copies_to_every_lane: bool,
    /// Whether datagrams go through Mallory, who sends them on from this node's address.
    pub relay: Option<usize>,
    /// What Mallory does, and how often.
    attack: Option<(Vec<Act>, Duration)>,
    root: Root,
    queue: Queue,
    flows: Vec<Flow>,
    trace: bool,
}

impl Sim {
    /// Nodes with these numbers of lanes, each with a daemon and a first generation; nobody knows
    /// anybody.
    #[must_use]
    pub fn strangers(seed: u64, lanes: &[u8]) -> Self {
        let mut course = rng(seed, 1);
        let mut sim = Self {
            now: BEGIN,
            nodes: Vec::new(),
            network: Network::new(rng(seed, 2)),
            oracle: Oracle::default(),
            mallory: Mallory::new(rng(seed, 3)),
            copies_to_every_lane: false,
            relay: None,
            attack: None,
            root: Root::new(&mut course),
            queue: Queue::default(),
            flows: Vec::new(),
            trace: seeds::trace(),
            rng: course,
        };
        for (number, lanes) in lanes.iter().enumerate() {
            let identity = Identity::new(number, *lanes, &mut sim.rng);
            let aes = match sim.below(4) {
                0 => AesInstructions::Absent,
                _ => AesInstructions::Present,
            };
            sim.nodes.push(Node::new(number, identity, aes));
            sim.make_generation(number, Certificate::RENEWED);
            sim.start(number);
        }
        sim
    }

    /// The same, and everybody knows everybody.
    #[must_use]
    pub fn acquainted(seed: u64, lanes: &[u8]) -> Self {
        let mut sim = Self::strangers(seed, lanes);
        for node in 0..lanes.len() {
            sim.publish(node, |_| Duration::ZERO);
        }
        sim.run(Duration::ZERO);
        sim
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeouts = self.nodes.iter();
            let timeouts = timeouts.filter_map(|it| Some((it.poll_timeout()?, it.number)));
            let timeout = timeouts.min().filter(|it| it.0 <= end);
            let event = self.queue.next().filter(|at| *at <= end);
            match (event, timeout) {
                (None, None) => break,
                (Some(at), Some((due, _))) if at <= due => self.happen(at),
                (Some(at), None) => self.happen(at),
                (_, Some((due, node))) => {
                    self.now = self.now.max(due);
                    self.with_node(node, Node::handle_timeout);
                }
            }
        }
        self.now = end;
    }

    /// Plans something.
    pub fn after(&mut self, delay: Duration, act: impl FnOnce(&mut Sim) + 'static) {
        self.queue.plan(self.now + delay, Event::Do(Box::new(act)));
    }

    /// Begins to send from one node's pods to another's.
    pub fn flow(&mut self, from: usize, to: usize, every: Duration, burst: usize) -> FlowNumber {
        let number = self.flows.len();
        self.flows.push(Flow {
            from,
            to,
            every,
            burst,
            flows: true,
        });
        self.queue.plan(self.now, Event::Flow(number));
        FlowNumber(number)
    }

    /// Sends no more.
    pub fn stop(&mut self, flow: FlowNumber) {
        self.flows[flow.0].flows = false;
    }

    /// Nobody sends any more.
    pub fn stop_all(&mut self) {
        for flow in &mut self.flows {
            flow.flows = false;
        }
    }

    /// Everything works from here on.
    pub fn calm(&mut self) {
        self.network.heal();
        self.oracle.calm(Some(self.now));
    }

    /// Not everything works from here on.
    pub fn trouble(&mut self) {
        self.oracle.calm(None);
    }

    /// A node makes a new generation, uses it, and publishes it.
    pub fn rotate(
        &mut self,
        node: usize,
        certificate: Certificate,
        reaches_after: impl Fn(usize) -> Duration,
    ) {
        if self.nodes[node].is_up() {
            self.make_generation(node, certificate);
            self.publish(node, reaches_after);
        }
    }

    /// A node publishes a new generation, and uses it only later.
    pub fn rotate_late(&mut self, node: usize, certificate: Certificate, uses_after: Duration) {
        let generation = self.next_generation(node, certificate);
        self.publish_envelope(node, generation.verified.envelope(), |_| STORE);
        self.after(uses_after, move |sim| {
            sim.with_node(node, |node, world| node.add_generation(generation, world));
        });
    }

    /// A node publishes a new generation, and dies before it is on its disk.
    pub fn publish_only(&mut self, node: usize, certificate: Certificate) {
        let generation = self.next_generation(node, certificate);
        self.publish_envelope(node, generation.verified.envelope(), |_| STORE);
    }

    /// A node's newest envelope will reach each other node after its time.
    pub fn publish(&mut self, node: usize, reaches_after: impl Fn(usize) -> Duration) {
        let Some(newest) = self.nodes[node].generations.last() else {
            return;
        };
        let envelope = newest.verified.envelope().clone();
        self.publish_envelope(node, &envelope, reaches_after);
    }

    fn publish_envelope(
        &mut self,
        node: usize,
        envelope: &Envelope,
        reaches_after: impl Fn(usize) -> Duration,
    ) {
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            let at = self.now + reaches_after(to);
            let envelope = Box::new(envelope.clone());
            self.queue.plan(at, Event::Learn { node: to, envelope });
        }
    }

    /// A daemon is killed, and started again later.
    pub fn restart(&mut self, node: usize, down_for: Duration, keys: Keys) {
        self.nodes[node].kill();
        let life = self.nodes[node].life;
        self.after(down_for, move |sim| {
            if sim.nodes[node].is_up() || sim.nodes[node].life != life {
                return;
            }
            if keys == Keys::Lost {
                sim.nodes[node].generations.clear();
            }
            let lost = sim.nodes[node].generations.is_empty();
            if lost {
                sim.make_generation(node, Certificate::RENEWED);
            }
            sim.start(node);
            if lost {
                sim.publish(node, |_| STORE);
            }
        });
    }

    /// A node's clock is set forward, or back.
    pub fn step_clock(&mut self, node: usize, seconds: i64) {
        self.nodes[node].clock_error += seconds;
    }

    /// A node's control side does nothing for so long; its lanes carry on.
    pub fn stall(&mut self, node: usize, duration: Duration) {
        self.nodes[node].stalled_until = self.now + duration;
    }

    /// A node is revoked; all others learn it at once.
    pub fn revoke(&mut self, node: usize) {
        let uid = self.nodes[node].identity.uid();
        let revocations = self.root.revoke(uid, clock::seconds(self.right_time()));
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.nodes[other].learned.revocations = revocations.clone();
            self.with_node(other, Node::revoke);
        }
    }

    /// A node's memory is copied, as by a snapshot. Its keys are gone.
    pub fn copy_memory(&mut self, node: usize) {
        self.with_node(node, Node::copy_memory);
    }

    /// A node reads its store once more.
    pub fn admit_again(&mut self, node: usize) {
        self.with_node(node, Node::admit);
    }

    /// Mallory begins to act, or ends.
    pub fn attack(&mut self, attack: Option<(&[Act], Duration)>) {
        let begins = self.attack.is_none() && attack.is_some();
        self.attack = attack.map(|(acts, every)| (acts.to_vec(), every));
        if begins {
            self.queue.plan(self.now, Event::Mallory);
        }
    }

    /// A datagram of Mallory's arrives.
    pub fn inject(&mut self, datagram: Datagram) {
        self.queue.plan(self.now + AT_ONCE, Event::Arrive(datagram));
    }

    /// A number below the limit, by the run's randomness.
    pub fn below(&mut self, limit: u32) -> u32 {
        self.rng.next_u32() % limit
    }

    /// A duration between the two.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + (most - least).mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX))
    }

    fn right_time(&self) -> Duration {
        Duration::from_secs(clock::START.0) + self.now.duration_since(BEGIN)
    }

    fn start(&mut self, node: usize) {
        let mut seed = [0; 8];
        self.rng.fill_bytes(&mut seed);
        let rng = rng(u64::from_le_bytes(seed), 4);
        self.with_node(node, |node, world| node.start(rng, world));
        let life = self.nodes[node].life;
        let phase = self.between(Duration::ZERO, Duration::from_secs(1));
        self.queue
            .plan(self.now + phase, Event::Second { node, life });
    }

    fn make_generation(&mut self, node: usize, certificate: Certificate) {
        let generation = self.next_generation(node, certificate);
        self.with_node(node, |node, world| node.add_generation(generation, world));
    }

    fn next_generation(&mut self, node: usize, certificate: Certificate) -> OwnGeneration {
        let time = match certificate {
            Certificate::Renewed(_) => self.right_time(),
            Certificate::Kept => self.nodes[node].wall(self.now),
        };
        let identity = &mut self.nodes[node].identity;
        identity.generation(&self.root, certificate, time, &mut self.rng)
    }

    fn happen(&mut self, at: Moment) {
        self.now = self.now.max(at);
        match self.queue.pop() {
            None => {}
            Some(Event::Arrive(datagram)) => self.arrive(datagram),
            Some(Event::Second { node, life }) if self.nodes[node].life == life => {
                self.with_node(node, Node::handle_second);
                let next = self.now + Duration::from_secs(1);
                self.queue.plan(next, Event::Second { node, life });
            }
            Some(Event::Second { .. }) => {}
            Some(Event::Flow(flow)) => self.send(flow),
            Some(Event::Learn { node, envelope }) => self.learn(node, &envelope),
            Some(Event::Mallory) => self.let_mallory_act(),
            Some(Event::Do(act)) => act(self),
        }
    }

    fn arrive(&mut self, datagram: Datagram) {
        if let Some(node) = node_at(datagram.destination, self.nodes.len()) {
            self.with_node(node, |node, world| node.inbound(datagram, world));
        }
    }

    fn send(&mut self, number: usize) {
        let Flow {
            from,
            to,
            every,
            burst,
            flows,
        } = self.flows[number];
        if !flows {
            return;
        }
        if self.nodes[from].is_up() {
            let packets: Vec<_> = (0..burst)
                .map(|_| self.oracle.sent(from, to, self.now))
                .collect();
            let lanes = u32::from(self.nodes[from].identity.lanes());
            let lane = self.below(lanes) as usize;
            self.with_node(from, |node, world| node.outbound(&packets, lane, world));
        }
        self.queue.plan(self.now + every, Event::Flow(number));
    }

    fn learn(&mut self, node: usize, envelope: &Envelope) {
        let wall = self.nodes[node].wall(self.now);
        let learned = self.nodes[node].learned.learn(envelope, &self.root, wall);
        match learned {
            Ok(()) => self.with_node(node, Node::admit),
            Err(node_identity::VerifyError::NotYetValid { .. }) => {
                let envelope = Box::new(envelope.clone());
                let again = self.now + LEARN_AGAIN;
                self.queue.plan(again, Event::Learn { node, envelope });
            }
            Err(error) => self.say(|| format!("node {node} learns nothing: {error}")),
        }
    }

    fn let_mallory_act(&mut self) {
        let Some((acts, every)) = self.attack.clone() else {
            return;
        };
        let act = acts[self.below(acts.len() as u32) as usize];
        let nodes = self.nodes.iter();
        let targets: Option<Vec<_>> = nodes
            .map(|it| {
                Some(Target {
                    lanes: it.identity.lanes(),
                    key: it.generations.last()?.verified.statement().tunnel_key,
                })
            })
            .collect();
        if let Some(datagram) = targets.and_then(|it| self.mallory.act(act, &it)) {
            self.inject(datagram);
        }
        self.queue.plan(self.now + every, Event::Mallory);
    }

    /// Lets a node act, and sends what it has to send.
    fn with_node(&mut self, node: usize, act: impl FnOnce(&mut Node, &mut World<'_>)) {
        let mut world = World {
            now: self.now,
            oracle: &mut self.oracle,
            sent: Vec::new(),
            wishes: Vec::new(),
            trace: self.trace,
        };
        act(&mut self.nodes[node], &mut world);
        let (sent, wishes) = (world.sent, world.wishes);
        for datagram in sent {
            self.transmit(node, datagram);
        }
        for _ in wishes {
            self.after(MAKE, move |sim| {
                sim.rotate(node, Certificate::Kept, |_| STORE);
            });
        }
    }

    /// Each datagram of a run has its own fate; those that stay together arrive together.
    fn transmit(&mut self, from: usize, run: Datagram) {
        let Some(to) = node_at(run.destination, self.nodes.len()) else {
            return;
        };
        let mut arrivals: Vec<(Moment, Datagram)> = Vec::new();
        for bytes in run.bytes.chunks(run.segment.max(1)) {
            let mut datagram = Datagram {
                bytes: bytes.to_vec(),
                segment: bytes.len(),
                ..run.clone()
            };
            self.mallory.see(&datagram);
            self.oracle.seen(from, &datagram, self.now);
            if let Some(relay) = self.relay {
                datagram.source.set_ip(endpoint(relay));
            }
            if self.copies_to_every_lane {
                self.copy_to_every_lane(&datagram, to);
            }
            for delay in self.network.fate(from, to) {
                let at = self.now + delay;
                match arrivals.last_mut() {
                    Some((last, batch))
                        if *last == at && batch.bytes.len() % batch.segment == 0 =>
                    {
                        batch.bytes.extend(&datagram.bytes);
                    }
                    Some(_) | None => arrivals.push((at, datagram.clone())),
                }
            }
        }
        for (at, datagram) in arrivals {
            self.queue.plan(at, Event::Arrive(datagram));
        }
    }

    fn copy_to_every_lane(&mut self, datagram: &Datagram, to: usize) {
        for lane in 0..u16::from(self.nodes[to].identity.lanes()) {
            let mut copy = datagram.clone();
            copy.destination.set_port(BASE_PORT + lane);
            self.inject(copy);
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.now, what());
        }
    }
}
