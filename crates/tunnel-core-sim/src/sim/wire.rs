//! What is on the underlay: datagrams on their way, and Mallory.

use std::time::Duration;

use tunnel_core::moment::Moment;

use super::Sim;
use crate::certified::BASE_PORT;
use crate::events::Event;
use crate::mallory::{Act, Target};
use crate::network::{Datagram, node_at};
use crate::packet::endpoint;

/// Mallory's datagrams are quick.
const AT_ONCE: Duration = Duration::from_millis(1);

impl Sim {
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

    pub(super) fn arrive(&mut self, datagram: Datagram) {
        if let Some(node) = node_at(datagram.destination, self.nodes.len()) {
            self.with_node(node, |node, world| node.inbound(datagram, world));
        }
    }

    pub(super) fn let_mallory_act(&mut self) {
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

    /// Each datagram of a run has its own fate; those that stay together arrive together.
    pub(super) fn transmit(&mut self, from: usize, run: Datagram) {
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
}
