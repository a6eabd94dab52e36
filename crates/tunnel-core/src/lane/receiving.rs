//! The keys this lane opens with, by the receiver index that a message carries.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::plane::{LaneIndex, PeerIndex, ReceivingTransport, TransportId};
use crate::transport::OpeningKey;

#[derive(Default)]
pub(super) struct Receiving {
    keys: HashMap<u32, Receiver>,
    /// Transports under which nothing was opened yet.
    silent: HashSet<TransportId>,
}

/// A key and whose it is.
pub(super) struct Receiver {
    pub(super) key: OpeningKey,
    pub(super) id: TransportId,
    pub(super) peer: PeerIndex,
}

impl Receiving {
    /// Opens under this transport. Keys that another lane has to hold are left out: a message
    /// copied to this lane's port would meet a second, empty replay window. A key that is known
    /// keeps its window.
    pub(super) fn add(&mut self, transport: ReceivingTransport, lane: LaneIndex, lanes: u8) {
        let ReceivingTransport {
            id,
            peer,
            suite,
            role,
            base,
            keys,
            born,
        } = transport;
        for (sending_lane, key) in keys {
            if sending_lane.receiver(lanes) != lane {
                continue;
            }
            if let Entry::Vacant(entry) = self.keys.entry(base.wire(sending_lane)) {
                let key = OpeningKey::new(suite, &key, role, born);
                entry.insert(Receiver { key, id, peer });
                self.silent.insert(id);
            }
        }
    }

    pub(super) fn forget(&mut self, id: TransportId) {
        self.keys.retain(|_, receiver| receiver.id != id);
        self.silent.remove(&id);
    }

    pub(super) fn receiver(&mut self, index: u32) -> Option<&mut Receiver> {
        self.keys.get_mut(&index)
    }

    /// Notes that something was opened; true the first time.
    pub(super) fn opened(&mut self, id: TransportId) -> bool {
        !self.silent.is_empty() && self.silent.remove(&id)
    }
}
