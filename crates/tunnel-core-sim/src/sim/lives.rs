//! What happens to nodes: daemons start, die and are revoked, generations come, clocks are set.

use std::time::Duration;

use node_identity::{Envelope, VerifyError};
use rand_core::Rng;
use tunnel_core::control::OwnGeneration;

use super::{Keys, STORE, Sim};
use crate::certified::{Certificate, rng};
use crate::clock::{self, BEGIN};
use crate::events::Event;
use crate::node::Node;

/// How often a node that could not take an envelope yet tries again.
const LEARN_AGAIN: Duration = Duration::from_secs(30);

impl Sim {
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

    fn right_time(&self) -> Duration {
        Duration::from_secs(clock::START.0) + self.now.duration_since(BEGIN)
    }

    pub(super) fn start(&mut self, node: usize) {
        let mut seed = [0; 8];
        self.rng.fill_bytes(&mut seed);
        let rng = rng(u64::from_le_bytes(seed), 4);
        self.with_node(node, |node, world| node.start(rng, world));
        let life = self.nodes[node].life;
        let phase = self.between(Duration::ZERO, Duration::from_secs(1));
        self.queue
            .plan(self.now + phase, Event::Second { node, life });
    }

    pub(super) fn make_generation(&mut self, node: usize, certificate: Certificate) {
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

    pub(super) fn learn(&mut self, node: usize, envelope: &Envelope) {
        let wall = self.nodes[node].wall(self.now);
        let learned = self.nodes[node].learned.learn(envelope, &self.root, wall);
        match learned {
            Ok(()) => self.with_node(node, Node::admit),
            Err(VerifyError::NotYetValid { .. }) => {
                let envelope = Box::new(envelope.clone());
                let again = self.now + LEARN_AGAIN;
                self.queue.plan(again, Event::Learn { node, envelope });
            }
            Err(error) => self.say(|| format!("node {node} learns nothing: {error}")),
        }
    }
}
