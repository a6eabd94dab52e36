//! When which peer has something to do.

use std::collections::{BTreeSet, HashMap};

use crate::moment::Moment;
use crate::plane::PeerIndex;

/// The next deadline of each peer.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Moment, PeerIndex)>,
    by_peer: HashMap<PeerIndex, (Moment, &'static str)>,
}

impl Deadlines {
    /// Sets or clears a peer's deadline.
    pub(super) fn set(&mut self, peer: PeerIndex, deadline: Option<(Moment, &'static str)>) {
        if let Some((at, _)) = self.by_peer.remove(&peer) {
            self.by_time.remove(&(at, peer));
        }
        if let Some((at, what)) = deadline {
            self.by_time.insert((at, peer));
            self.by_peer.insert(peer, (at, what));
        }
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<(Moment, &'static str)> {
        let (_, peer) = self.by_time.first()?;
        self.by_peer.get(peer).copied()
    }

    /// The peers whose time has come.
    pub(super) fn due(&self, now: Moment) -> Vec<PeerIndex> {
        let due = self.by_time.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, peer)| *peer).collect()
    }
}
