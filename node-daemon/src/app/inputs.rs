//! What the control task listens to. Each part tells for as long as the daemon runs: one that is silent
//! for ever, because its thread or task panicked, would leave the guard unrepaired or copied keys in use.

use tokio::sync::mpsc::Receiver;
use tunnel_core::plane::{LaneEvent, LaneIndex};

use crate::memory_copy::Copied;
use crate::store_task::StoreNews;
use crate::watchdog::GuardState;

/// The parts that tell the control task something.
pub(super) struct Inputs {
    /// Lanes.
    pub(super) lanes: Receiver<(LaneIndex, LaneEvent)>,
    /// The store task.
    pub(super) store: Receiver<StoreNews>,
    /// The guard's watchdog.
    pub(super) watch: Receiver<GuardState>,
    /// What notices copies of memory.
    pub(super) copies: Receiver<Copied>,
}

/// What one of them tells.
#[derive(Debug)]
pub(super) enum Input {
    /// A lane.
    Lane(LaneEvent),
    /// The store task.
    Store(StoreNews),
    /// Memory may have been copied.
    Copied,
    /// The guard's watchdog.
    Guard(GuardState),
    /// A part ended.
    Ended(Part),
}

/// A part of the daemon that ends only with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All lanes.
    Lanes,
    /// The store task.
    Store,
    /// The guard's watchdog.
    Watchdog,
    /// What notices copies of memory.
    MemoryCopy,
}

impl Part {
    /// Its name in the log.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Lanes => "lanes",
            Self::Store => "store task",
            Self::Watchdog => "guard's watchdog",
            Self::MemoryCopy => "watch for copies of memory",
        }
    }
}

impl Inputs {
    /// Waits for the next; nothing is lost when the caller stops waiting.
    pub(super) async fn next(&mut self) -> Input {
        let ended = |part| move || Input::Ended(part);
        tokio::select! {
            told = self.lanes.recv() => {
                told.map_or_else(ended(Part::Lanes), |(_, event)| Input::Lane(event))
            }
            told = self.store.recv() => told.map_or_else(ended(Part::Store), Input::Store),
            told = self.watch.recv() => told.map_or_else(ended(Part::Watchdog), Input::Guard),
            told = self.copies.recv() => {
                told.map_or_else(ended(Part::MemoryCopy), |_| Input::Copied)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::{self, Sender};
    use tokio::time::timeout;

    use super::*;

    /// Longer than a message takes on any machine.
    const LIMIT: Duration = Duration::from_secs(5);

    struct Tellers {
        lanes: Option<Sender<(LaneIndex, LaneEvent)>>,
        store: Option<Sender<StoreNews>>,
        watch: Option<Sender<GuardState>>,
        copies: Option<Sender<Copied>>,
    }

    fn connected() -> (Tellers, Inputs) {
        let (lanes, from_lanes) = mpsc::channel(1);
        let (store, from_store) = mpsc::channel(1);
        let (watch, from_watch) = mpsc::channel(1);
        let (copies, from_copies) = mpsc::channel(1);
        let tellers = Tellers {
            lanes: Some(lanes),
            store: Some(store),
            watch: Some(watch),
            copies: Some(copies),
        };
        let inputs = Inputs {
            lanes: from_lanes,
            store: from_store,
            watch: from_watch,
            copies: from_copies,
        };
        (tellers, inputs)
    }

    #[tokio::test]
    async fn a_part_that_ended_is_told_of() {
        type End = fn(&mut Tellers);
        let parts: [(Part, End); 4] = [
            (Part::Lanes, |it| drop(it.lanes.take())),
            (Part::Store, |it| drop(it.store.take())),
            (Part::Watchdog, |it| drop(it.watch.take())),
            (Part::MemoryCopy, |it| drop(it.copies.take())),
        ];
        for (part, end) in parts {
            let (mut tellers, mut inputs) = connected();
            end(&mut tellers);

            let input = timeout(LIMIT, inputs.next()).await;

            assert!(
                matches!(input, Ok(Input::Ended(ended)) if ended == part),
                "{part:?}: {input:?}"
            );
        }
    }
}
