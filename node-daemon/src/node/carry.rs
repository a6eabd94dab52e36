//! Carries out what the cores want: disk first, then lanes, datagrams, guard, `node.json`, store.

use tracing::{error, info};
use tunnel_core::control::{ControlEvent, NewGenerationReason};

use super::{Node, log};
use crate::clock::{self, Now};
use crate::generation::Due;

impl Node {
    pub(super) fn tell_time(&mut self, now: Now) {
        self.control.handle_clock(
            clock::wall_precisely(),
            self.peers.expiry_clock(now.wall),
            now.moment,
        );
    }

    /// Acts on everything that was learned, once it is on disk.
    pub(super) async fn settle(&mut self, now: Now) {
        self.tell_time(now);
        if let Err(error) = self.disk.keep(&self.peers, &self.learned).await {
            error!(
                error = format!("{error:#}"),
                "State directory cannot be written: what is new about peers waits, it is tried again"
            );
            self.carry_out(now);
            return;
        }
        let learned = std::mem::take(&mut self.learned);
        if learned.revocations {
            self.control
                .handle_revocations(self.peers.revocations(), now.moment);
        }
        if learned.set {
            self.admit(now);
        }
        self.carry_out(now);
        self.install_generation(now).await;
        self.update_guard();
        self.update_node_state();
        self.ask_and_publish(now);
    }

    fn admit(&mut self, now: Now) {
        let admitted = self.peers.admitted();
        self.control.handle_peers(&admitted, now.moment);
        let addresses = admitted.iter().flat_map(|peer| {
            let addresses = peer.certificate().terms().addresses.iter();
            addresses.map(|address| (*address, peer.identity().name.clone()))
        });
        self.endpoints = addresses.collect();
    }

    async fn install_generation(&mut self, now: Now) {
        let Some((own, kept)) = self.credentials.poll_install() else {
            return;
        };
        if let Err(error) = kept {
            error!(
                error = format!("{error:#}"),
                "Tunnel key is in memory only: a restart will need the store"
            );
        }
        let Some(newest) = self.credentials.generations().first() else {
            return;
        };
        let generation = newest.to_control(own.clone());
        let number = newest.statement().generation;
        let learned = self.peers.set_own(own);
        if let Err(error) = self.disk.keep(&self.peers, &learned).await {
            error!(
                error = format!("{error:#}"),
                "State directory cannot be written"
            );
        }
        self.admit(now);
        match self.control.handle_generation(&generation, now.moment) {
            Ok(()) => info!(generation = %number, "Tunnel key in use"),
            Err(error) => error!(%error, "Tunnel key cannot be used"),
        }
        self.carry_out(now);
    }

    pub(super) fn ask_and_publish(&mut self, now: Now) {
        let ask = self.credentials.poll_ask(now.moment);
        self.outputs.ask(ask);
        if let Some(envelopes) = self.credentials.poll_publish(now.moment) {
            self.outputs.publish(envelopes);
        }
    }

    /// Carries out what the agreement wants: lanes first, because a peer that is told of a transport
    /// may use it at once.
    pub(super) fn carry_out(&mut self, now: Now) {
        while let Some((lane, command)) = self.control.poll_lane_command() {
            self.outputs.command(lane, command);
        }
        while let Some(transmit) = self.control.poll_transmit() {
            self.outputs.transmit(&transmit);
        }
        while let Some(event) = self.control.poll_event() {
            self.handle_control(&event, now);
        }
    }

    fn handle_control(&mut self, event: &ControlEvent, now: Now) {
        log::say(event, &mut self.names);
        let kept = match event {
            ControlEvent::StampAdvanced {
                generation,
                seconds,
            } => self.credentials.remember_stamp(*generation, *seconds),
            ControlEvent::OwnGenerationRetired(generation) => self.credentials.retire(*generation),
            ControlEvent::NewGenerationWanted(reason) => {
                let due = match reason {
                    NewGenerationReason::ClockBehind => Due::Clock,
                    NewGenerationReason::MemoryCopied => Due::Copied,
                };
                self.credentials.begin_generation(due, &self.peers, now);
                Ok(())
            }
            ControlEvent::TransportChosen { .. } => {
                self.counts.transports_agreed += 1;
                Ok(())
            }
            ControlEvent::AgreementGivenUp { .. } => {
                self.counts.agreements_failed += 1;
                Ok(())
            }
            ControlEvent::PeerAdded { .. }
            | ControlEvent::PeerGenerationEnded { .. }
            | ControlEvent::PeerRemoved { .. }
            | ControlEvent::PeerKeyRefused { .. }
            | ControlEvent::NoCommonFamily { .. }
            | ControlEvent::OwnersOverlap(_)
            | ControlEvent::SessionCompleted { .. }
            | ControlEvent::TransportInstalled { .. }
            | ControlEvent::SendingStopped { .. }
            | ControlEvent::TransportForgotten { .. } => Ok(()),
        };
        if let Err(error) = kept {
            error!(
                error = format!("{error:#}"),
                "Tunnel keys cannot be kept for a restart"
            );
        }
    }
}
