//! A daemon's pure parts, and how they are wired: lane events up, commands down, lanes first.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use node_identity::NodeUid;
use tunnel_core::control::{Control, ControlEvent};
use tunnel_core::lane::{Lane, Run, Wire};
use tunnel_core::plane::{LaneCommand, LaneEvent, PeerIndex};

use super::World;
use crate::certified::BASE_PORT;
use crate::network::Datagram;
use crate::packet::endpoint;

/// Events that the lanes' channel to the control side holds.
const CHANNEL: usize = 1024;

/// The pure parts of a running daemon.
pub(super) struct Daemon {
    pub(super) control: Control,
    pub(super) lanes: Vec<Lane>,
    pub(super) peers: BTreeMap<PeerIndex, usize>,
    pub(super) events: VecDeque<LaneEvent>,
}

/// Where a lane's runs go: to the judge, then to the underlay.
pub(super) struct Outgoing<'a, 'b> {
    pub(super) node: usize,
    pub(super) lane: u8,
    pub(super) world: &'a mut World<'b>,
}

impl Wire for Outgoing<'_, '_> {
    fn send(&mut self, run: Run<'_>) {
        for message in run.datagrams.chunks(run.segment) {
            let oracle = &mut self.world.oracle;
            oracle.sealed(self.node, run.destination, message);
        }
        let source = run.source.unwrap_or_else(|| endpoint(self.node));
        self.world.sent.push(Datagram {
            source: SocketAddr::new(source, BASE_PORT + u16::from(self.lane)),
            destination: run.destination,
            bytes: run.datagrams.to_vec(),
            segment: run.segment,
        });
    }
}

impl Daemon {
    /// Moves lanes' events into the channel, as far as it has room.
    pub(super) fn take_events(&mut self) {
        for lane in &mut self.lanes {
            while let Some(event) = lane.poll_event() {
                if self.events.len() < CHANNEL {
                    self.events.push_back(event);
                } else {
                    lane.return_event(event);
                    break;
                }
            }
        }
    }

    /// Carries out what the control side wants: lanes first.
    pub(super) fn carry_out(&mut self, node: usize, world: &mut World<'_>) -> Vec<ControlEvent> {
        let mut happened = Vec::new();
        while let Some(event) = self.control.poll_event() {
            if let ControlEvent::PeerAdded { peer, identity, .. } = &event {
                self.peers.insert(*peer, number(identity.uid));
            }
            happened.push(event);
        }
        while let Some((lane, command)) = self.control.poll_lane_command() {
            match &command {
                LaneCommand::Receive(it) => {
                    let oracle = &mut world.oracle;
                    oracle.receive(node, lane, self.peers[&it.peer], it);
                }
                LaneCommand::Send(it) => {
                    let oracle = &mut world.oracle;
                    oracle.send(node, lane, self.peers[&it.peer], it);
                }
                LaneCommand::Owners(_)
                | LaneCommand::StopSending(_)
                | LaneCommand::Forget(_)
                | LaneCommand::Endpoints(_)
                | LaneCommand::SendEmpty(_) => {}
            }
            let now = world.now;
            let mut wire = Outgoing {
                node,
                lane: lane.0,
                world,
            };
            self.lanes[usize::from(lane.0)].handle_command(command, now, &mut wire);
        }
        while let Some(transmit) = self.control.poll_transmit() {
            let source = transmit.source.unwrap_or_else(|| endpoint(node));
            world.sent.push(Datagram {
                source: SocketAddr::new(source, BASE_PORT),
                destination: transmit.destination,
                segment: transmit.payload.len(),
                bytes: transmit.payload,
            });
        }
        happened
    }
}

/// A node's number, from its UID.
fn number(uid: NodeUid) -> usize {
    let text = uid.to_string();
    let last = text.get(text.len() - 2..).and_then(|it| it.parse().ok());
    last.map_or(usize::MAX, |it: usize| it - 1)
}
