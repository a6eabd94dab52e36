//! The run: nodes, network, Mallory and the judge, moved through virtual time by one queue.

mod lives;
mod wire;

use std::time::Duration;

use chacha20::ChaCha12Rng;
use rand_core::Rng;
use tunnel_core::control::AesInstructions;
use tunnel_core::moment::Moment;

use crate::certified::{Certificate, Identity, Root, rng};
use crate::clock::BEGIN;
use crate::events::{Event, Queue};
use crate::mallory::{Act, Mallory};
use crate::network::Network;
use crate::node::{Node, World};
use crate::oracle::Oracle;
use crate::seeds;

/// How soon a published statement reaches the others, unless a test says otherwise.
const STORE: Duration = Duration::from_secs(1);

/// How long a daemon takes to make a new generation that is wanted.
const MAKE: Duration = Duration::from_millis(500);

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

    /// A number below the limit, by the run's randomness.
    pub fn below(&mut self, limit: u32) -> u32 {
        self.rng.next_u32() % limit
    }

    /// A duration between the two.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + (most - least).mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX))
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

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.now, what());
        }
    }
}
