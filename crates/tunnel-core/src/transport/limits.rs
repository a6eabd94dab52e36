//! How long, and for how much, one key may be used; checked by the lane itself on every run.
//!
//! AES-GCM's safety margin shrinks with packets and with bytes (RFC 9001, section 6.6 and appendix
//! B: 2^28 packets only up to 2 KiB each, 2^23 at 64 KiB), hence both. ChaCha20-Poly1305 would
//! allow more; one rule for both is simpler. Ages are WireGuard's.

use std::time::Duration;

use thiserror::Error;

use super::OVERHEAD;
use crate::moment::Moment;
use crate::plane::Role;

/// Nothing is sent under a key of this age (WireGuard's REJECT_AFTER_TIME).
pub const SENDING_LIFE: Duration = Duration::from_secs(180);

/// Nothing is opened under a key of this age: half a life later, so that what the peer sent with
/// its last breath still arrives.
pub const RECEIVING_LIFE: Duration = Duration::from_secs(270);

/// Most packets under one key.
pub const PACKETS: u64 = 1 << 28;

/// Most bytes under one key, padding included.
pub const BYTES: u64 = 1 << 39;

/// The key may not be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("use transport key: its age, packets or bytes are spent, a new agreement is due")]
pub struct KeyEnded;

/// What one key was used for.
#[derive(Debug)]
pub(super) struct Usage {
    role: Role,
    born: Moment,
    packets: u64,
    bytes: u64,
}

impl Usage {
    pub(super) fn new(role: Role, born: Moment) -> Usage {
        Usage {
            role,
            born,
            packets: 0,
            bytes: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn set(&mut self, packets: u64, bytes: u64) {
        (self.packets, self.bytes) = (packets, bytes);
    }

    /// Counts one packet and returns how many were counted before: its counter, when sending.
    pub(super) fn count(&mut self, bytes: usize) -> u64 {
        let counter = self.packets;
        self.packets += 1;
        self.bytes += bytes as u64;
        counter
    }

    /// Whether messages of this total length may be sent.
    pub(super) fn check_sending(
        &self,
        length: usize,
        messages: usize,
        now: Moment,
    ) -> Result<(), KeyEnded> {
        let bytes = length.saturating_sub(messages * OVERHEAD) as u64;
        let spent = now.duration_since(self.born) >= SENDING_LIFE
            || self.packets + messages as u64 > PACKETS
            || self.bytes + bytes > BYTES;
        if spent { Err(KeyEnded) } else { Ok(()) }
    }

    pub(super) fn check_receiving(&self, now: Moment) -> Result<(), KeyEnded> {
        let spent = now.duration_since(self.born) >= RECEIVING_LIFE;
        if spent { Err(KeyEnded) } else { Ok(()) }
    }

    /// Whether a packet with this counter and length may be opened.
    pub(super) fn admits(&self, counter: u64, bytes: usize) -> bool {
        counter < PACKETS && self.bytes + bytes as u64 <= BYTES
    }

    /// Whether this end has to ask for the next transport. The offerer asks first; the accepter
    /// waits longer, so that both do not ask at once.
    pub(super) fn rekey_due(&self, now: Moment) -> bool {
        let (age, packets, bytes) = match self.role {
            Role::Offerer => (Duration::from_secs(120), 1 << 26, 1 << 37),
            Role::Accepter => (Duration::from_secs(150), 1 << 27, 1 << 38),
        };
        now.duration_since(self.born) >= age || self.packets >= packets || self.bytes >= bytes
    }
}
