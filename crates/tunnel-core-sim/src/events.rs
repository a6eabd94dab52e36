//! What is going to happen, in the order in which it will.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use node_identity::Envelope;
use tunnel_core::moment::Moment;

use crate::network::Datagram;
use crate::sim::Sim;

/// Something that happens at its time.
pub enum Event {
    /// A datagram arrives.
    Arrive(Datagram),
    /// A daemon's second is over, in this life of it.
    Second {
        /// The node.
        node: usize,
        /// Which of its daemons.
        life: u64,
    },
    /// A flow sends.
    Flow(usize),
    /// An envelope reaches a node.
    Learn {
        /// The node.
        node: usize,
        /// What is published.
        envelope: Box<Envelope>,
    },
    /// Mallory acts.
    Mallory,
    /// Anything.
    Do(Box<dyn FnOnce(&mut Sim)>),
}

/// The queue. Events of one moment happen in the order in which they were planned.
#[derive(Default)]
pub struct Queue {
    events: BTreeMap<Reverse<(Moment, u64)>, Event>,
    planned: u64,
}

impl Queue {
    /// Plans an event.
    pub fn plan(&mut self, at: Moment, event: Event) {
        self.planned += 1;
        self.events.insert(Reverse((at, self.planned)), event);
    }

    /// When the next one happens.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        self.events.last_key_value().map(|(at, _)| at.0.0)
    }

    /// Takes the next one.
    pub fn pop(&mut self) -> Option<Event> {
        self.events.pop_last().map(|(_, event)| event)
    }
}
