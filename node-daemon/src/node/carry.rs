//! Carries out what the cores want: disk first, then lanes, datagrams, guard, `node.json`, store.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;
use node_identity::VerifiedPeer;
use tracing::{error, info};
use tunnel_core::control::{Control, ControlEvent, NewGenerationReason};
use tunnel_core::moment::Moment;

use super::{Node, log};
use crate::clock::{self, Now};
use crate::credentials::Installed;
use crate::generation::Due;
use crate::peers::disk::PeersOnDisk;
use crate::peers::{Learned, Peers};

impl Node {
    pub(super) fn tell_time(&mut self, now: Now) {
        self.control.handle_clock(
            clock::wall_precisely(),
            self.peers.expiry_clock(now.wall),
            now.moment,
        );
    }

    /// Acts on everything that was learned: on revocations at once, on the rest once it is on disk.
    pub(super) async fn settle(&mut self, now: Now) {
        self.tell_time(now);
        let in_use = InUse {
            control: &mut self.control,
            endpoints: &mut self.endpoints,
        };
        let (peers, learned) = (&mut self.peers, &self.learned);
        let kept = in_use.end_revoked_and_keep(peers, &self.disk, learned, now.moment);
        if let Err(error) = kept.await {
            let error = format!("{error:#}");
            if self.unwritten.begins(&error) {
                error!(
                    error,
                    "State directory cannot be written: what is new about peers waits, it is tried again"
                );
            }
            self.carry_out(now.moment);
            self.update_guard();
            return;
        }
        if self.unwritten.ends() {
            info!("State directory can be written again");
        }
        let learned = std::mem::take(&mut self.learned);
        if learned.set {
            self.admit(now);
        }
        self.carry_out(now.moment);
        self.install_generations(now);
        self.update_guard();
        self.update_node_state();
        self.ask_and_publish(now);
    }

    fn admit(&mut self, now: Now) {
        let admitted = self.peers.admitted();
        self.control.handle_peers(&admitted, now.moment);
        self.endpoints = addresses(&admitted);
    }

    fn install_generations(&mut self, now: Now) {
        while let Some(installed) = self.credentials.poll_install(&self.peers, now) {
            self.install(installed, now);
        }
    }

    fn install(&mut self, Installed { generation, kept }: Installed, now: Now) {
        if let Err(error) = kept {
            error!(
                error = format!("{error:#}"),
                "Tunnel key is in memory only: a restart will need the store"
            );
        }
        let number = generation.verified.statement().generation;
        // Kept by the next round; until then the generation's own mark on disk stands for it.
        self.learned
            .merge(self.peers.set_own(generation.verified.clone()));
        self.admit(now);
        match self.control.handle_generation(&generation, now.moment) {
            Ok(()) => info!(generation = %number, "Tunnel key in use"),
            Err(error) => {
                error!(%error, "Tunnel key cannot be used, a new one is made");
                say_unkept(self.credentials.retire(number.0));
            }
        }
        self.carry_out(now.moment);
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
    pub(super) fn carry_out(&mut self, now: Moment) {
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

    fn handle_control(&mut self, event: &ControlEvent, now: Moment) {
        log::remember(event, &mut self.names);
        log::say(event, &self.names);
        let kept = match event {
            ControlEvent::StampAdvanced {
                generation,
                seconds,
            } => self.credentials.remember_stamp(*generation, *seconds),
            ControlEvent::OwnGenerationRetired(generation) => {
                self.credentials.retire(generation.generation)
            }
            ControlEvent::NewGenerationWanted(NewGenerationReason::ClockBehind) => {
                self.credentials.want_generation(Due::Clock);
                Ok(())
            }
            ControlEvent::NewGenerationWanted(NewGenerationReason::MemoryCopied) => {
                self.credentials.handle_memory_copied()
            }
            ControlEvent::TransportChosen { .. } => {
                self.counts.transports_agreed += 1;
                Ok(())
            }
            ControlEvent::AgreementGivenUp { .. } => {
                self.counts.agreements_failed += 1;
                Ok(())
            }
            ControlEvent::DatagramRefused {
                source,
                peer,
                reason,
                count,
            } => {
                let node = peer.map_or_else(
                    || source.ip().to_string(),
                    |peer| log::name(peer, &self.names).to_owned(),
                );
                let reason = reason.to_string();
                self.suspicions.handle_refusal(&node, &reason, *count, now);
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
        say_unkept(kept);
    }
}

fn say_unkept(kept: Result<()>) {
    if let Err(error) = kept {
        error!(
            error = format!("{error:#}"),
            "Tunnel keys cannot be kept for a restart"
        );
    }
}

fn addresses(admitted: &[VerifiedPeer]) -> BTreeSet<IpAddr> {
    let addresses = admitted
        .iter()
        .flat_map(|peer| &peer.certificate().terms().addresses);
    addresses.copied().collect()
}

/// A fault that comes again with each try, to be told when it begins, changes and ends.
#[derive(Debug, Default)]
pub(super) struct Lasting(Option<String>);

impl Lasting {
    fn begins(&mut self, fault: &str) -> bool {
        self.0.replace(fault.to_owned()).as_deref() != Some(fault)
    }

    fn ends(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Where peers are in use: agreement and guard.
struct InUse<'a> {
    control: &'a mut Control,
    endpoints: &'a mut BTreeSet<IpAddr>,
}

impl InUse<'_> {
    /// A revoked peer is out, of the guard's list too, even while nothing can be written; a list that
    /// no disk remembers comes again from the store. Nobody new comes in here.
    async fn end_revoked_and_keep(
        self,
        peers: &mut Peers,
        disk: &PeersOnDisk,
        learned: &Learned,
        now: Moment,
    ) -> Result<()> {
        if learned.revocations {
            self.control.handle_revocations(peers.revocations(), now);
            let left = addresses(&peers.admitted());
            self.endpoints.retain(|address| left.contains(address));
        }
        disk.keep(peers, learned).await
    }
}

#[cfg(test)]
mod tests {
    use node_identity::{Floor, PodRanges, Revocations};
    use tunnel_core::control::{AesInstructions, Settings};

    use super::*;
    use crate::io::random;
    use crate::peers::disk::REVOCATIONS_FILE;
    use crate::sample::{Authority, NOW, SampleNode};

    #[tokio::test]
    async fn a_revoked_peer_is_out_and_nobody_comes_in_while_the_disk_refuses() {
        let mut authority = Authority::new();
        let node = |name, number| SampleNode::new(name, number);
        let [alice, bob] = [node("alice", 1), node("bob", 2)];
        let [carol, dave] = [node("carol", 3), node("dave", 4)];
        let key = alice.key.public().hash();
        let cluster = PodRanges::try_new(vec!["10.244.0.0/16".parse().unwrap()]).unwrap();
        let pins = [authority.root.pin()];
        let (floor, revocations) = (Floor::default(), Revocations::default());
        let mut peers = Peers::new(alice.id.uid, key, &pins, &cluster, floor, revocations);
        let settings = Settings::ordinary(1, AesInstructions::Absent);
        let now = Moment::default();
        let mut control = Control::new(settings, Box::new(random::system()), now);
        let [bobs, carols, daves] = [&bob, &carol, &dave].map(|node| authority.envelope(node, 1));
        peers.absorb(&authority.published(&[&bobs, &carols]), NOW);
        let admitted = peers.admitted();
        control.handle_peers(&admitted, now);
        let mut endpoints = addresses(&admitted);
        assert_eq!((control.peers().count(), endpoints.len()), (2, 2));
        let mut shown = authority.published(&[&bobs, &carols, &daves]);
        shown.roots = vec![authority.published_root(2, &[&bob])];
        let learned = peers.absorb(&shown, NOW);
        let directory = tempfile::tempdir().unwrap();
        let disk = PeersOnDisk::open(directory.path()).unwrap();
        std::fs::create_dir(directory.path().join(REVOCATIONS_FILE)).unwrap();

        let in_use = InUse {
            control: &mut control,
            endpoints: &mut endpoints,
        };
        let kept = in_use.end_revoked_and_keep(&mut peers, &disk, &learned, now);

        assert!(kept.await.is_err());
        assert_eq!(control.peers().count(), 1);
        assert_eq!(endpoints, addresses(carols_alone(&peers.admitted())));
    }

    #[test]
    fn a_fault_that_lasts_is_told_once() {
        let mut fault = Lasting::default();
        assert!(!fault.ends());

        assert!(fault.begins("disk is full"));
        assert!(!fault.begins("disk is full"));
        assert!(fault.begins("disk is read-only"));
        assert!(fault.ends());
        assert!(fault.begins("disk is read-only"));
    }

    fn carols_alone(admitted: &[VerifiedPeer]) -> &[VerifiedPeer] {
        let carol = |peer: &VerifiedPeer| peer.identity().name.to_string() == "carol";
        let at = admitted.iter().position(carol).unwrap();
        &admitted[at..=at]
    }
}
