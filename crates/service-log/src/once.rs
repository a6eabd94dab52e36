//! [`Once`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The time in which a text is said once (a guess).
const WINDOW: Duration = Duration::from_secs(60);

/// Most different texts that are said in it (a guess: strangers may choose how many there are).
const MOST_TEXTS: usize = 16;

/// What lasts or comes again and again, each text said once a minute, and no more than sixteen.
#[derive(Debug, Default)]
pub struct Once {
    since: Option<Instant>,
    said: BTreeSet<String>,
}

impl Once {
    /// Whether this is to be said now; it then counts as said.
    pub fn admits(&mut self, what: String, now: Instant) -> bool {
        let is_over = |since: Instant| now.duration_since(since) >= WINDOW;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.said.clear();
        }
        self.said.len() < MOST_TEXTS && self.said.insert(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_once_a_minute_and_a_flood_of_it_is_bounded() {
        let (mut once, start) = (Once::default(), Instant::now());

        assert!(once.admits("a".to_owned(), start));
        assert!(!once.admits("a".to_owned(), start));
        assert!(!once.admits("a".to_owned(), start + WINDOW / 2));
        let another = once.admits("b".to_owned(), start + WINDOW / 2);
        assert!(another, "another trouble is not passed over");
        let flood = (0..1000).filter(|number| once.admits(number.to_string(), start));
        assert_eq!(flood.count(), MOST_TEXTS - 2);
        assert!(once.admits("a".to_owned(), start + WINDOW), "it lasts");
    }
}
