//! The run that is being built: messages for one transport, laid out as one UDP_SEGMENT send.
//!
//! All messages of a run have the length of the first; a shorter one ends it. Packets are written
//! to where they will be sealed, 16 bytes into their message.

use crate::offload::split::Segments;
use crate::packet::{Mtu, PADDING};
use crate::plane::{PeerIndex, TransportId};
use crate::transport::{HEADER, OVERHEAD, TAG};

/// Longest run in bytes: what the kernel takes as one UDP datagram.
pub const LONGEST_RUN: usize = 65_507;

/// Most messages of a run: the kernel's limit before 6.9 (later ones take 128).
pub const MOST_SEGMENTS: usize = 64;

/// From this length on a run is sent without waiting for more: a full message fits no more.
const FULL: usize = 60_000;

/// The run that is being built.
pub(super) struct RunBuffer {
    mtu: usize,
    buffer: Box<[u8]>,
    open: Option<OpenRun>,
}

/// What is known of it.
#[derive(Clone, Copy)]
pub(super) struct OpenRun {
    pub(super) id: TransportId,
    pub(super) peer: PeerIndex,
    /// Length of the first message.
    pub(super) segment: usize,
    pub(super) length: usize,
    pub(super) data: u64,
    pub(super) data_bytes: u64,
    pub(super) empty: u64,
    /// A shorter message ended it.
    ended: bool,
}

/// What became of a packet that was to join the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It is in.
    Yes,
    /// The run has to be sent first.
    RunEnds,
    /// There is no such packet.
    Never,
}

impl RunBuffer {
    pub(super) fn new(mtu: Mtu) -> RunBuffer {
        RunBuffer {
            mtu: mtu.0.into(),
            buffer: vec![0; LONGEST_RUN].into_boxed_slice(),
            open: None,
        }
    }

    /// Appends the next segment of a packet.
    pub(super) fn append(
        &mut self,
        id: TransportId,
        peer: PeerIndex,
        segments: &mut Segments<'_>,
    ) -> Joined {
        let Some(packet) = segments.next_length() else {
            return Joined::Never;
        };
        let message = OVERHEAD + packet.next_multiple_of(PADDING).min(self.mtu.max(packet));
        let run = self.open.unwrap_or(OpenRun::new(id, peer, message));
        if !run.takes(id, message) {
            return Joined::RunEnds;
        }
        let slot = self.buffer.get_mut(run.length..run.length + message);
        let Some(slot) = slot.and_then(|slot| slot.get_mut(HEADER..message - TAG)) else {
            return Joined::Never;
        };
        let (slot, padding) = slot.split_at_mut(packet);
        if !segments.write_next(slot) {
            return Joined::Never;
        }
        padding.fill(0);
        self.open = Some(run.with(message, Some(packet)));
        Joined::Yes
    }

    /// Starts a run that is one empty message; the last run was taken.
    pub(super) fn start_empty(&mut self, id: TransportId, peer: PeerIndex) {
        self.open = Some(OpenRun::new(id, peer, OVERHEAD).with(OVERHEAD, None));
    }

    /// Whether the run should not wait for more.
    pub(super) fn is_full(&self) -> bool {
        self.open.is_some_and(|run| run.ended || run.length >= FULL)
    }

    /// Takes the run out: what it is, and its messages, not sealed yet.
    pub(super) fn take(&mut self) -> Option<(OpenRun, &mut [u8])> {
        let run = self.open.take()?;
        Some((run, self.buffer.get_mut(..run.length)?))
    }
}

impl OpenRun {
    fn new(id: TransportId, peer: PeerIndex, segment: usize) -> OpenRun {
        OpenRun {
            id,
            peer,
            segment,
            length: 0,
            data: 0,
            data_bytes: 0,
            empty: 0,
            ended: false,
        }
    }

    fn takes(&self, id: TransportId, message: usize) -> bool {
        self.id == id
            && !self.ended
            && message <= self.segment
            && self.data < MOST_SEGMENTS as u64
            && self.length + message <= LONGEST_RUN
    }

    fn with(mut self, message: usize, packet: Option<usize>) -> OpenRun {
        self.length += message;
        self.ended = message < self.segment;
        match packet {
            Some(packet) => {
                self.data += 1;
                self.data_bytes += packet as u64;
            }
            None => self.empty += 1,
        }
        self
    }

    pub(super) fn packets(&self) -> u64 {
        self.data + self.empty
    }
}
