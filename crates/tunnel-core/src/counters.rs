//! Counters of one lane: written by the lane, sampled by the control side, relaxed atomics.
//!
//! The only memory that the two sides share. Traffic is counted per peer, drops per reason.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::drop_reason::DropReason;
use crate::plane::PeerIndex;

/// Peers in one block of counters: a block is allocated when the first of them is counted.
const BLOCK: usize = 64;

/// Peers that are counted: more than any cluster has nodes (a guess with room).
const PEERS: usize = 1 << 16;

/// What passed between this node and one peer. "All" includes empty packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Data packets sent.
    pub data_sent: u64,
    /// Bytes of the inner packets sent.
    pub data_sent_bytes: u64,
    /// Packets sent, empty ones included.
    pub all_sent: u64,
    /// Data packets received.
    pub data_received: u64,
    /// Bytes of the inner packets received.
    pub data_received_bytes: u64,
    /// Packets received, empty ones included.
    pub all_received: u64,
    /// Of the data packets received, those that were refused for what they held: a source that
    /// is not the peer's, a destination that is not ours, no packet at all.
    pub refused: u64,
}

impl Traffic {
    /// Adds another lane's traffic with the same peer.
    pub fn add(&mut self, other: Traffic) {
        self.data_sent += other.data_sent;
        self.data_sent_bytes += other.data_sent_bytes;
        self.all_sent += other.all_sent;
        self.data_received += other.data_received;
        self.data_received_bytes += other.data_received_bytes;
        self.all_received += other.all_received;
        self.refused += other.refused;
    }
}

#[derive(Debug, Default)]
struct PeerCounters {
    data_sent: AtomicU64,
    data_sent_bytes: AtomicU64,
    all_sent: AtomicU64,
    data_received: AtomicU64,
    data_received_bytes: AtomicU64,
    all_received: AtomicU64,
    refused: AtomicU64,
}

/// The counters of one lane.
#[derive(Debug)]
pub struct LaneCounters {
    blocks: Box<[OnceLock<Box<[PeerCounters]>>]>,
    drops: [AtomicU64; DropReason::ALL.len()],
}

impl Default for LaneCounters {
    fn default() -> LaneCounters {
        LaneCounters {
            blocks: (0..PEERS / BLOCK).map(|_| OnceLock::new()).collect(),
            drops: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl LaneCounters {
    /// Counts a sent run: data packets, their bytes, and empty packets.
    pub fn sent(&self, peer: PeerIndex, data: u64, bytes: u64, empty: u64) {
        if let Some(counters) = self.peer(peer) {
            counters.data_sent.fetch_add(data, Ordering::Relaxed);
            counters.data_sent_bytes.fetch_add(bytes, Ordering::Relaxed);
            counters.all_sent.fetch_add(data + empty, Ordering::Relaxed);
        }
    }

    /// Counts a received run: data packets, their bytes, and empty packets.
    pub fn received(&self, peer: PeerIndex, data: u64, bytes: u64, empty: u64) {
        if let Some(counters) = self.peer(peer) {
            counters.data_received.fetch_add(data, Ordering::Relaxed);
            counters
                .data_received_bytes
                .fetch_add(bytes, Ordering::Relaxed);
            counters
                .all_received
                .fetch_add(data + empty, Ordering::Relaxed);
        }
    }

    /// Counts a data packet that was opened and then refused for what it held.
    pub fn refused(&self, peer: PeerIndex, reason: DropReason) {
        self.dropped(reason);
        if let Some(counters) = self.peer(peer) {
            counters.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one dropped packet.
    pub fn dropped(&self, reason: DropReason) {
        self.dropped_many(reason, 1);
    }

    /// Counts dropped packets.
    pub fn dropped_many(&self, reason: DropReason, packets: u64) {
        if let Some(counter) = self.drops.get(reason as usize) {
            counter.fetch_add(packets, Ordering::Relaxed);
        }
    }

    /// The traffic with every peer that there ever was some with.
    pub fn sample(&self) -> Vec<(PeerIndex, Traffic)> {
        let blocks = self.blocks.iter().zip((0..).step_by(BLOCK));
        blocks
            .filter_map(|(block, first)| Some((block.get()?, first)))
            .flat_map(|(block, first)| block.iter().zip(first..))
            .map(|(counters, peer)| (PeerIndex(peer), counters.sample()))
            .filter(|(_, traffic)| *traffic != Traffic::default())
            .collect()
    }

    /// How many packets were dropped for this reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops
            .get(reason as usize)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn peer(&self, peer: PeerIndex) -> Option<&PeerCounters> {
        let index = usize::try_from(peer.0).ok()?;
        let block = self.blocks.get(index / BLOCK)?;
        block
            .get_or_init(|| (0..BLOCK).map(|_| PeerCounters::default()).collect())
            .get(index % BLOCK)
    }
}

impl PeerCounters {
    fn sample(&self) -> Traffic {
        Traffic {
            data_sent: self.data_sent.load(Ordering::Relaxed),
            data_sent_bytes: self.data_sent_bytes.load(Ordering::Relaxed),
            all_sent: self.all_sent.load(Ordering::Relaxed),
            data_received: self.data_received.load(Ordering::Relaxed),
            data_received_bytes: self.data_received_bytes.load(Ordering::Relaxed),
            all_received: self.all_received.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_each_peer_that_there_was_traffic_with() {
        let counters = LaneCounters::default();
        counters.sent(PeerIndex(3), 2, 100, 0);
        counters.sent(PeerIndex(3), 0, 0, 1);
        counters.received(PeerIndex(64), 5, 400, 1);
        counters.refused(PeerIndex(64), DropReason::SourceNotPeers);

        let sent = Traffic {
            data_sent: 2,
            data_sent_bytes: 100,
            all_sent: 3,
            ..Traffic::default()
        };
        let received = Traffic {
            data_received: 5,
            data_received_bytes: 400,
            all_received: 6,
            refused: 1,
            ..Traffic::default()
        };
        assert_eq!(
            counters.sample(),
            [(PeerIndex(3), sent), (PeerIndex(64), received)]
        );
        assert_eq!(counters.drops(DropReason::SourceNotPeers), 1);
    }

    #[test]
    fn a_peer_beyond_the_last_counter_is_not_counted_and_harms_nothing() {
        let counters = LaneCounters::default();

        for peer in [
            PeerIndex(PEERS as u32 - 1),
            PeerIndex(PEERS as u32),
            PeerIndex(u32::MAX),
        ] {
            counters.sent(peer, 1, 1, 1);
        }

        assert_eq!(counters.sample().len(), 1);
    }
}
