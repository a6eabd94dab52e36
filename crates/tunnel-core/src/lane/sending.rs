//! The keys this lane sends under, and which of them each peer is sent under.
//!
//! A key stays until it is forgotten, also when another is chosen: if the choice comes back, its
//! counter goes on. A key made anew from the same bytes would use nonces twice.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::run::{LONGEST_RUN, MOST_SEGMENTS};
use crate::moment::Moment;
use crate::plane::{LaneIndex, PeerIndex, SendingTransport, TransportId};
use crate::transport::SealingKey;

/// How often the same wish is repeated: the control side may have had no room for it, and hears
/// of it twice without harm.
pub(super) const REPEAT_WISH: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Sending {
    keys: HashMap<TransportId, Sender>,
    choice: HashMap<PeerIndex, TransportId>,
}

/// A key and where it leads.
pub(super) struct Sender {
    pub(super) key: SealingKey,
    pub(super) destination: SocketAddr,
    pub(super) source: Option<IpAddr>,
    asked: Option<Moment>,
}

impl Sending {
    /// Sends to the peer under this transport from here on.
    pub(super) fn choose(&mut self, transport: SendingTransport, lane: LaneIndex) {
        let SendingTransport {
            id,
            peer,
            suite,
            role,
            base,
            key,
            destination,
            source,
            born,
        } = transport;
        let sender = self.keys.entry(id).or_insert_with(|| Sender {
            key: SealingKey::new(suite, &key, base.wire(lane), role, born),
            destination,
            source,
            asked: None,
        });
        (sender.destination, sender.source) = (destination, source);
        self.choice.insert(peer, id);
    }

    pub(super) fn stop(&mut self, peer: PeerIndex) {
        self.choice.remove(&peer);
    }

    pub(super) fn forget(&mut self, id: TransportId) {
        self.keys.remove(&id);
        self.choice.retain(|_, chosen| *chosen != id);
    }

    /// The transport to send to the peer under, if there is one whose key may still be used.
    pub(super) fn usable(&mut self, peer: PeerIndex, now: Moment) -> Option<TransportId> {
        let id = *self.choice.get(&peer)?;
        let sender = self.keys.get(&id)?;
        if !sender.key.has_room(LONGEST_RUN, MOST_SEGMENTS, now) {
            self.choice.remove(&peer);
            return None;
        }
        Some(id)
    }

    pub(super) fn sender(&mut self, id: TransportId) -> Option<&mut Sender> {
        self.keys.get_mut(&id)
    }

    /// The peer's chosen transport, if it is this one.
    pub(super) fn chosen(&mut self, peer: PeerIndex, id: TransportId) -> Option<&mut Sender> {
        if self.choice.get(&peer) == Some(&id) {
            self.keys.get_mut(&id)
        } else {
            None
        }
    }
}

impl Sender {
    /// Whether the next transport has to be asked for, given that its own or the peer's key is
    /// due; not again within a second.
    pub(super) fn asks(&mut self, due: bool, now: Moment) -> bool {
        let lately = self
            .asked
            .is_some_and(|asked| now.duration_since(asked) < REPEAT_WISH);
        let asks = due && !lately;
        if asks {
            self.asked = Some(now);
        }
        asks
    }
}
