//! Who is who: what datagrams, and lanes, find a peer by.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use node_identity::VerifiedPeer;

use super::Control;
use super::generations::GenerationRank;
use super::outbox::ControlEvent;
use crate::owner::{EndpointTable, Owner, OwnerTable};
use crate::plane::LaneCommand;

impl Control {
    /// Removes peers that have no generation left, and tells the lanes who is who.
    pub(super) fn publish_tables(&mut self) {
        let gone = self.peers.extract_if(.., |_, peer| peer.is_gone());
        for (peer, removed) in gone.collect::<Vec<_>>() {
            self.deadlines.set(peer, None);
            let name = removed.name().clone();
            self.out.event(ControlEvent::PeerRemoved { peer, name });
        }
        self.by_key.clear();
        self.by_endpoint.clear();
        for (index, peer) in &self.peers {
            for verified in peer.generations() {
                let key = verified.x25519();
                let rank = GenerationRank::of(verified);
                self.by_key.entry(key).or_insert((*index, rank));
                let endpoints = verified.statement().endpoints.iter();
                self.by_endpoint.extend(endpoints.map(|it| (*it, *index)));
            }
        }
        let peers = self.peers.iter();
        let newest: Vec<_> = peers
            .filter_map(|(index, peer)| Some((*index, peer.generations().next_back()?)))
            .collect();
        // An address that a node has given up may be another's since.
        for (index, verified) in &newest {
            let endpoints = verified.statement().endpoints.iter();
            self.by_endpoint.extend(endpoints.map(|it| (*it, *index)));
        }
        let ranges = newest
            .into_iter()
            .map(|(index, it)| (Owner::Peer(index), it));
        let own = self.own.newest().map(|it| (Owner::Own, &it.verified));
        let services = self.settings.services.iter();
        let services = services.map(|it| (Owner::Service, it.clone()));
        let others: Vec<_> = ranges.flat_map(owned).chain(services).collect();
        let everybody = others
            .iter()
            .cloned()
            .chain(own.into_iter().flat_map(owned));
        // A peer that was admitted with this node's range has it: a table without the own range
        // drops, one that stays as it is would know no later peer and keep removed ones.
        let table = OwnerTable::new(everybody).or_else(|error| {
            self.out.event(ControlEvent::OwnersOverlap(error));
            OwnerTable::new(others)
        });
        match table {
            Ok(table) => {
                let command = LaneCommand::Owners(Arc::new(table));
                self.out.broadcast(self.settings.lanes, &command);
            }
            Err(error) => self.out.event(ControlEvent::OwnersOverlap(error)),
        }
        let endpoints: EndpointTable = self.by_endpoint.keys().copied().collect();
        let command = LaneCommand::Endpoints(Arc::new(endpoints));
        self.out.broadcast(self.settings.lanes, &command);
    }
}

fn owned(
    (owner, verified): (Owner, &VerifiedPeer),
) -> impl Iterator<Item = (Owner, RangeInclusive<IpAddr>)> {
    let ranges = verified.pod_ranges().iter();
    ranges.map(move |range| (owner, range.first()..=range.last()))
}
