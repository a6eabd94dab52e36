//! Events on their way to the control side, few and never more than it can take.

use std::collections::VecDeque;
use std::time::Duration;

use crate::moment::Moment;
use crate::plane::LaneEvent;

/// Most events that wait (a guess: far above what one batch makes).
const MOST: usize = 4096;

/// Hints of unknown indexes in one second. The control side follows 50 a second in all; what is
/// above that is a flood.
const HINTS_PER_SECOND: u32 = 50;

/// The queue of events.
#[derive(Default)]
pub(super) struct Events {
    queue: VecDeque<LaneEvent>,
    hints: u32,
    hints_since: Moment,
}

impl Events {
    /// Adds an event; false if there is no room.
    pub(super) fn push(&mut self, event: LaneEvent) -> bool {
        let room = self.queue.len() < MOST;
        if room {
            self.queue.push_back(event);
        }
        room
    }

    /// Adds a hint, if there were not too many lately.
    pub(super) fn push_hint(&mut self, hint: LaneEvent, now: Moment) {
        if now.duration_since(self.hints_since) >= Duration::from_secs(1) {
            (self.hints, self.hints_since) = (0, now);
        }
        if self.hints < HINTS_PER_SECOND {
            self.hints += 1;
            self.push(hint);
        }
    }

    pub(super) fn pop(&mut self) -> Option<LaneEvent> {
        self.queue.pop_front()
    }

    pub(super) fn put_back(&mut self, event: LaneEvent) {
        self.queue.push_front(event);
    }
}
