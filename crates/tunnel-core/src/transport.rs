//! Keys that pod packets travel under: sealing and opening of whole runs, in place.
//!
//! A message is WireGuard's type 4: type and three zero bytes, receiver index, counter, then the
//! sealed packet and its tag. A run is several messages under one key, `segment` bytes apart, the
//! last one shorter; working on runs is what lets a multi-packet cipher take ring's place.
//! Each key counts its own packets and bytes and refuses to pass its limits (`limits`).
//! Which key is used when is the control side's business; `crate::lane` holds them.

mod cipher;
pub mod limits;

use zeroize::Zeroizing;

use crate::bytes::{field, put};
use crate::drop_reason::DropReason;
use crate::moment::Moment;
use crate::plane::{Role, Suite};
use crate::replay::ReplayWindow;
use cipher::Cipher;
use limits::{KeyEnded, Usage};

/// What stands before the sealed packet: type, index, counter.
pub const HEADER: usize = 16;

/// What stands after it.
pub const TAG: usize = 16;

/// How much longer a message is than the padded packet in it.
pub const OVERHEAD: usize = HEADER + TAG;

/// The message type of sealed packets.
pub const TYPE_DATA: u8 = 4;

/// The key of one sending lane towards one peer.
pub struct SealingKey {
    cipher: Cipher,
    index: u32,
    usage: Usage,
}

impl SealingKey {
    /// Makes the key; `index` is the peer's receiver index for this lane.
    pub fn new(
        suite: Suite,
        key: &Zeroizing<[u8; 32]>,
        index: u32,
        role: Role,
        born: Moment,
    ) -> SealingKey {
        SealingKey {
            cipher: Cipher::new(suite, key),
            index,
            usage: Usage::new(role, born),
        }
    }

    /// Seals the packets that stand at offset 16 of each message, and writes headers and tags.
    ///
    /// # Errors
    /// The key is too old, or the run would pass its limits. Nothing may be sent then.
    pub fn seal_run(
        &mut self,
        run: &mut [u8],
        segment: usize,
        now: Moment,
    ) -> Result<(), KeyEnded> {
        self.usage
            .check_sending(run.len(), run.len().div_ceil(segment.max(1)), now)?;
        for message in run.chunks_mut(segment.max(1)) {
            self.seal(message).ok_or(KeyEnded)?;
        }
        Ok(())
    }

    /// Whether a full run may still be sent.
    pub fn has_room(&self, longest_run: usize, most_segments: usize, now: Moment) -> bool {
        self.usage
            .check_sending(longest_run, most_segments, now)
            .is_ok()
    }

    /// Whether this end has to ask for the next transport.
    pub fn rekey_due(&self, now: Moment) -> bool {
        self.usage.rekey_due(now)
    }

    fn seal(&mut self, message: &mut [u8]) -> Option<()> {
        let (header, body) = message.split_at_mut_checked(HEADER)?;
        let (packet, tag) = body.split_at_mut_checked(body.len().checked_sub(TAG)?)?;
        // Counted before the cipher runs: whatever happens next, no counter is used twice.
        let counter = self.usage.count(packet.len());
        put(header, 0, [TYPE_DATA, 0, 0, 0])?;
        put(header, 4, self.index.to_le_bytes())?;
        put(header, 8, counter.to_le_bytes())?;
        put(tag, 0, self.cipher.seal(counter, packet)?)
    }
}

/// The key of one of a peer's sending lanes.
pub struct OpeningKey {
    cipher: Cipher,
    window: ReplayWindow,
    usage: Usage,
}

impl OpeningKey {
    /// Makes the key.
    pub fn new(suite: Suite, key: &Zeroizing<[u8; 32]>, role: Role, born: Moment) -> OpeningKey {
        OpeningKey {
            cipher: Cipher::new(suite, key),
            window: ReplayWindow::default(),
            usage: Usage::new(role, born),
        }
    }

    /// Opens the messages of a run; `each` is told a message's offset and the length of the
    /// packet that now stands 16 bytes after it, padding included, or why there is none.
    pub fn open_run(
        &mut self,
        run: &mut [u8],
        segment: usize,
        now: Moment,
        mut each: impl FnMut(usize, Result<usize, DropReason>),
    ) {
        let ended = self.usage.check_receiving(now).is_err();
        let segment = segment.max(1);
        for (message, offset) in run.chunks_mut(segment).zip((0..).step_by(segment)) {
            let opened = if ended {
                Err(DropReason::ReceivingKeyEnded)
            } else {
                self.open(message)
            };
            each(offset, opened);
        }
    }

    /// Whether this end has to ask for the next transport.
    pub fn rekey_due(&self, now: Moment) -> bool {
        self.usage.rekey_due(now)
    }

    /// Counter limit, window, open, then window update, in this order: nothing that is not proven
    /// moves the window, and nothing that is out of bounds costs a decryption.
    fn open(&mut self, message: &mut [u8]) -> Result<usize, DropReason> {
        let counter = field(message, 8).map(u64::from_le_bytes);
        let counter = counter.ok_or(DropReason::UnknownMessage)?;
        let body = message
            .get_mut(HEADER..)
            .ok_or(DropReason::UnknownMessage)?;
        let length = body
            .len()
            .checked_sub(TAG)
            .ok_or(DropReason::UnknownMessage)?;
        if !self.usage.admits(counter, length) {
            return Err(DropReason::CounterLimit);
        }
        if !self.window.may_open(counter) {
            return Err(DropReason::Replayed);
        }
        self.cipher
            .open(counter, body)
            .ok_or(DropReason::NotAuthentic)?;
        self.window.opened(counter);
        self.usage.count(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
