//! The replay window of one receiving key: which counters were opened.
//!
//! A ring of bits as in RFC 6479: one word more than the window, so that moving forward clears
//! whole words. `may_open` before opening, `opened` only after the key has proven the packet, or
//! a forged counter could push the window past packets that are still on their way.

/// Width in packets: as wide as the Linux kernel's, so that reordering across receive queues is
/// not mistaken for a replay.
pub const WINDOW: u64 = 8192;

const WORD: u64 = u64::BITS as u64;
const WORDS: usize = (WINDOW / WORD) as usize + 1;

/// Which counters were opened under one key.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// One above the highest counter that was opened.
    next: u64,
    words: Box<[u64; WORDS]>,
}

impl Default for ReplayWindow {
    fn default() -> ReplayWindow {
        ReplayWindow {
            next: 0,
            words: Box::new([0; WORDS]),
        }
    }
}

impl ReplayWindow {
    /// Whether this counter is new and not too old.
    pub fn may_open(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        if self.next - counter > WINDOW {
            return false;
        }
        let (word, bit) = position(counter);
        self.words.get(word).is_some_and(|word| word & bit == 0)
    }

    /// Notes that the packet with this counter was opened.
    pub fn opened(&mut self, counter: u64) {
        if counter >= self.next {
            self.advance_to(counter);
        } else if self.next - counter > WINDOW {
            return;
        }
        let (word, bit) = position(counter);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    fn advance_to(&mut self, counter: u64) {
        let newest = self.next.saturating_sub(1) / WORD;
        let steps = (counter / WORD - newest).min(WORDS as u64);
        for step in 1..=steps {
            let (word, _) = position((newest + step) * WORD);
            if let Some(word) = self.words.get_mut(word) {
                *word = 0;
            }
        }
        self.next = counter.saturating_add(1);
    }
}

fn position(counter: u64) -> (usize, u64) {
    let word = (counter / WORD) % WORDS as u64;
    (word as usize, 1 << (counter % WORD))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The same window, slowly: the set of all opened counters.
    #[derive(Default)]
    struct Model {
        opened: BTreeSet<u64>,
    }

    impl Model {
        fn may_open(&self, counter: u64) -> bool {
            let highest = self.opened.last().copied();
            let behind = highest.is_some_and(|highest| counter + WINDOW <= highest);
            !behind && !self.opened.contains(&counter)
        }
    }

    #[test]
    fn hp01_a_packet_replayed_up_to_1e5_packets_later_is_refused() {
        for distance in [
            0,
            1,
            63,
            64,
            WINDOW - 1,
            WINDOW,
            WINDOW + 1,
            WINDOW + 64,
            100_000,
        ] {
            let mut window = ReplayWindow::default();
            for counter in 0..=distance {
                assert!(window.may_open(counter), "{counter}");
                window.opened(counter);
            }

            assert!(!window.may_open(0), "replayed {distance} packets later");
        }
    }

    #[test]
    fn a_late_packet_is_opened_once_up_to_the_window_s_edge() {
        let mut window = ReplayWindow::default();
        window.opened(20_000);

        assert!(window.may_open(20_001 - WINDOW));
        assert!(!window.may_open(20_000 - WINDOW));
        window.opened(20_001 - WINDOW);
        assert!(!window.may_open(20_001 - WINDOW));
        assert!(window.may_open(20_002 - WINDOW));
    }

    #[test]
    fn hp06_a_refused_counter_leaves_the_window_where_it_was() {
        let mut window = ReplayWindow::default();
        window.opened(5);

        assert!(window.may_open(u64::MAX), "asking is not opening");

        assert!(window.may_open(4));
        assert!(!window.may_open(5));
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_the_set_of_opened_counters(
            steps in prop::collection::vec((0_u64..3, 0_u64..20_000), 1..400),
        ) {
            let (mut window, mut model) = (ReplayWindow::default(), Model::default());
            let mut base = 0_u64;
            for (kind, offset) in steps {
                let counter = match kind {
                    0 => base + offset % 70,
                    1 => base.saturating_sub(offset),
                    _ => base + offset,
                };
                prop_assert_eq!(window.may_open(counter), model.may_open(counter), "{}", counter);
                if model.may_open(counter) {
                    window.opened(counter);
                    model.opened.insert(counter);
                    base = base.max(counter);
                }
            }
        }
    }
}
