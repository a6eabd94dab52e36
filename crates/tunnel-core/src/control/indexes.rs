//! Which session or transport a number belongs to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rand_core::CryptoRng;

use super::pair::PairRank;
use crate::plane::{PeerIndex, TransportId};
use crate::session::SessionIndex;

/// The numbers in use in one daemon.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    sessions: HashMap<SessionIndex, (PeerIndex, PairRank)>,
    transports: HashMap<TransportId, (PeerIndex, PairRank)>,
}

impl Indexes {
    /// A random session index that no other session has.
    pub(super) fn take(
        &mut self,
        peer: PeerIndex,
        pair: PairRank,
        rng: &mut dyn CryptoRng,
    ) -> SessionIndex {
        loop {
            let index = SessionIndex::truncate(rng.next_u32());
            if let Entry::Vacant(free) = self.sessions.entry(index) {
                free.insert((peer, pair));
                return index;
            }
        }
    }

    /// Gives a session index back.
    pub(super) fn release(&mut self, index: SessionIndex) {
        self.sessions.remove(&index);
    }

    /// Whose session it is.
    pub(super) fn session(&self, index: SessionIndex) -> Option<(PeerIndex, PairRank)> {
        self.sessions.get(&index).copied()
    }

    pub(super) fn add_transport(&mut self, id: TransportId, peer: PeerIndex, pair: PairRank) {
        self.transports.insert(id, (peer, pair));
    }

    pub(super) fn remove_transport(&mut self, id: TransportId) {
        self.transports.remove(&id);
    }

    /// Whose transport it is.
    pub(super) fn transport(&self, id: TransportId) -> Option<(PeerIndex, PairRank)> {
        self.transports.get(&id).copied()
    }
}
