//! How much of what strangers can cause is named in the log: so much in a time, not in one look,
//! because they also choose how often there is something to look at.

use std::time::{Duration, Instant};

/// How many entries or requests of a kind are named in [`WINDOW`]: whoever writes to the store can
/// make up as many as it holds (a guess at what a person reads).
const MOST_NAMED: usize = 100;

/// The time in which they are (a guess).
const WINDOW: Duration = Duration::from_secs(60);

/// The names of one kind.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    since: Option<Instant>,
    named: usize,
    unnamed: usize,
    is_rest_told: bool,
}

impl Naming {
    /// Whether one more may be named.
    pub(crate) fn admits_one(&mut self, now: Instant) -> bool {
        self.start_anew(now);
        let admits = self.named < MOST_NAMED;
        if admits {
            self.named += 1;
        } else {
            self.unnamed += 1;
        }
        admits
    }

    /// How many went unnamed, once in the time.
    pub(crate) fn rest(&mut self, now: Instant) -> Option<usize> {
        self.start_anew(now);
        if self.is_rest_told || self.unnamed == 0 {
            return None;
        }
        self.is_rest_told = true;
        Some(std::mem::take(&mut self.unnamed))
    }

    fn start_anew(&mut self, now: Instant) {
        let is_over = |since: Instant| now.duration_since(since) >= WINDOW;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.named = 0;
            self.is_rest_told = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many are named, and what is told of the rest.
    fn look(naming: &mut Naming, now: Instant, count: usize) -> (usize, Option<usize>) {
        let named = (0..count).filter(|_| naming.admits_one(now)).count();
        (named, naming.rest(now))
    }

    #[test]
    fn a_flood_is_named_only_at_first_however_often_it_is_looked_at() {
        let (mut naming, start) = (Naming::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);

        assert_eq!(look(&mut naming, start, 60), (60, None));
        assert_eq!(look(&mut naming, after(1), 60), (40, Some(20)));
        assert_eq!(look(&mut naming, after(2), 3000), (0, None));
        assert_eq!(look(&mut naming, after(59), 7), (0, None));
        assert_eq!(look(&mut naming, after(60), 1), (1, Some(3007)));
        assert_eq!(look(&mut naming, after(61), 99), (99, None));
    }
}
