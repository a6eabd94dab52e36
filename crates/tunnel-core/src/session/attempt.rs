//! When an initiation is repeated.

use std::time::Duration;

use crate::moment::Moment;

/// Repeats after the first initiation: soon while a lost packet is the likely reason, then as
/// WireGuard's Rekey-Timeout has it.
const SOON: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
];
const THEN_EVERY: Duration = Duration::from_secs(5);

/// WireGuard's Rekey-Attempt-Time.
const TRY_FOR: Duration = Duration::from_secs(90);

/// How long an initiation that is not repeated counts as outstanding.
const ONCE_FOR: Duration = Duration::from_secs(1);

/// An initiation that waits for its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    started: Moment,
    next: Moment,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Once,
    Repeated,
}

/// What time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Repeat,
    Over,
}

impl Attempt {
    pub(super) fn once(now: Moment) -> Self {
        Self {
            started: now,
            next: now + ONCE_FOR,
            kind: Kind::Once,
        }
    }

    pub(super) fn repeated(now: Moment) -> Self {
        let [first, ..] = SOON;
        Self {
            started: now,
            next: now + first,
            kind: Kind::Repeated,
        }
    }

    pub(super) fn repeats(self) -> bool {
        self.kind == Kind::Repeated
    }

    pub(super) fn next(self) -> Moment {
        self.next
    }

    pub(super) fn advance(&mut self, now: Moment) -> Due {
        if now < self.next {
            return Due::Nothing;
        }
        let elapsed = now.duration_since(self.started);
        if self.kind == Kind::Once || elapsed >= TRY_FOR {
            return Due::Over;
        }
        let soon = SOON.into_iter().find(|after| *after > elapsed);
        self.next = soon.map_or(now + THEN_EVERY, |after| self.started + after);
        Due::Repeat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_repeated_soon_then_seldom_then_given_up() {
        let start = Moment::since_boot(Duration::from_secs(1000));
        let mut attempt = Attempt::repeated(start);
        let mut repeats = Vec::new();

        let over = loop {
            let now = attempt.next();
            match attempt.advance(now) {
                Due::Repeat => repeats.push(now.duration_since(start).as_secs()),
                Due::Over => break now.duration_since(start).as_secs(),
                Due::Nothing => panic!("an attempt does nothing at its own deadline"),
            }
        };

        assert_eq!(repeats[..5], [1, 2, 3, 8, 13]);
        assert_eq!(over, 93);
    }
}
