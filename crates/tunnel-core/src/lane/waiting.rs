//! First packets to a peer that has no transport yet: a few wait, the oldest gives way.
//!
//! A new connection's first packet would otherwise be lost, and TCP tries again only after a
//! second. One queue for all peers with a limit for each, so that no scan of the pod range can
//! fill the memory.

use std::collections::{HashMap, VecDeque};

use super::sending::REPEAT_WISH;
use crate::moment::Moment;
use crate::plane::PeerIndex;

/// Frames for one peer (a guess: a handful of connections, or two seconds of ping -i 0.1).
const FRAMES_PER_PEER: usize = 16;

/// Frames in all (a guess: first packets to 64 peers at once).
const FRAMES: usize = 1024;

/// Bytes in all (a guess).
const BYTES: usize = 4 << 20;

/// Frames that wait.
#[derive(Default)]
pub(super) struct Waiting {
    frames: VecDeque<(PeerIndex, Vec<u8>)>,
    bytes: usize,
    asked: HashMap<PeerIndex, Moment>,
}

impl Waiting {
    /// Adds a frame; returns how many gave way.
    pub(super) fn push(&mut self, peer: PeerIndex, frame: &[u8]) -> u64 {
        let mut gave_way = 0;
        let of_peer = self
            .frames
            .iter()
            .filter(|(owner, _)| *owner == peer)
            .count();
        if of_peer >= FRAMES_PER_PEER {
            let oldest = self.frames.iter().position(|(owner, _)| *owner == peer);
            gave_way += self.drop_at(oldest.unwrap_or(0));
        }
        self.frames.push_back((peer, frame.to_vec()));
        self.bytes += frame.len();
        while self.frames.len() > FRAMES || self.bytes > BYTES {
            gave_way += self.drop_at(0);
        }
        gave_way
    }

    /// Whether the control side has to be told that packets wait; not again within a second.
    pub(super) fn asks(&mut self, peer: PeerIndex, now: Moment) -> bool {
        let asked = self.asked.get(&peer);
        let asks = asked.is_none_or(|asked| now.duration_since(*asked) >= REPEAT_WISH);
        if asks {
            self.asked.insert(peer, now);
        }
        asks
    }

    /// Takes out the peer's frames, oldest first.
    pub(super) fn take(&mut self, peer: PeerIndex) -> Vec<Vec<u8>> {
        self.asked.remove(&peer);
        let (of_peer, others): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.frames)
            .into_iter()
            .partition(|(owner, _)| *owner == peer);
        self.frames = others;
        let frames: Vec<_> = of_peer.into_iter().map(|(_, frame)| frame).collect();
        self.bytes -= frames.iter().map(Vec::len).sum::<usize>();
        frames
    }

    fn drop_at(&mut self, position: usize) -> u64 {
        let Some((_, frame)) = self.frames.remove(position) else {
            return 0;
        };
        self.bytes -= frame.len();
        1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOB: PeerIndex = PeerIndex(1);
    const MALLORY: PeerIndex = PeerIndex(2);

    #[test]
    fn the_oldest_frame_of_a_peer_gives_way_to_its_newest() {
        let mut waiting = Waiting::default();
        waiting.push(MALLORY, &[99]);
        let gave_way: u64 = (0..20).map(|number| waiting.push(BOB, &[number])).sum();

        assert_eq!(gave_way, 4);
        let expected: Vec<_> = (4..20).map(|number| vec![number]).collect();
        assert_eq!(waiting.take(BOB), expected);
        assert_eq!(waiting.take(MALLORY), [[99]]);
    }

    #[test]
    fn a_scan_of_many_peers_stays_within_the_memory() {
        let mut waiting = Waiting::default();

        for peer in 0..5_000 {
            waiting.push(PeerIndex(peer), &[0; 60_000]);
        }

        assert!(waiting.bytes <= BYTES);
        assert_eq!(waiting.bytes, waiting.frames.len() * 60_000);
        assert_eq!(waiting.take(PeerIndex(4_999)).len(), 1);
        for peer in 0..5_000 {
            waiting.push(PeerIndex(peer), &[0; 60]);
        }
        assert!(waiting.frames.len() <= FRAMES);
    }

    #[test]
    fn a_wish_is_repeated_after_a_second_and_at_once_for_another_peer() {
        let mut waiting = Waiting::default();
        let start = Moment::since_boot(Duration::from_secs(9));

        assert!(waiting.asks(BOB, start));
        assert!(!waiting.asks(BOB, start + Duration::from_millis(999)));
        assert!(waiting.asks(MALLORY, start));
        assert!(waiting.asks(BOB, start + Duration::from_secs(1)));
    }
}
