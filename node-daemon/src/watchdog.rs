//! Watches the guard and puts back within a second what another program took away.
//!
//! A thread of its own, so that a busy daemon does not make it late. It wakes on each change to
//! the ruleset, links, addresses, routes and rules, and once a second in case a notice was lost.
//! It shares the [`Guard`] with [`Watch::update`]; what is missing is decided in `guard/`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use service_log::Once;
use tracing::{error, warn};

use crate::capture::LeakCapture;
use crate::guard::counters::{DropCounts, Part};
use crate::guard::plan::GuardPlan;
use crate::guard::{Guard, GuardError, Inspection, TunState};
use crate::io::netlink::netfilter::ruleset_notices;
use crate::io::netlink::route::route_notices;
use crate::io::netlink::{NetlinkError, Notices};

/// The longest time between two looks: the bound on a repair when a notice is lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two looks, for hosts where other programs change routes and rules
/// without pause. A guess: well below the second within which a repair is due.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(50);

/// The shortest time between two looks at pods' links (a guess: their changes are frequent where pods
/// come and go, and a lost packet or two is all that waits).
const PODS_AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// How often the settings of all pods' links are read: two thousand files on a full node.
const POD_SETTINGS_EVERY: Duration = Duration::from_secs(10);

/// How a look at the guard left it, which is what the watchdog tells the daemon after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardState {
    /// Every part is there.
    Stands,
    /// A part is gone and could not be put back; the log says why.
    Broken,
    /// The tun device is gone: open it anew. The guard drops what would have used it.
    TunGone,
}

impl GuardState {
    fn after(inspection: &Inspection) -> Self {
        match inspection.tun {
            TunState::Gone => Self::TunGone,
            TunState::Present if inspection.failures.is_empty() => Self::Stands,
            TunState::Present => Self::Broken,
        }
    }
}

/// Everything counted since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuardCounters {
    /// Packets dropped by the guard, by reason. `injected` are clear pod packets from outside.
    pub(crate) dropped: DropCounts,
    /// Repairs, by what was gone.
    pub(crate) repairs: BTreeMap<Part, u64>,
    /// Clear pod packets that left the node. Must stay 0.
    pub(crate) plaintext_leaks: u64,
    /// Interfaces on which a leak would not be seen. Must stay 0.
    pub(crate) unwatched_interfaces: u64,
}

/// A running watchdog. Dropping it ends the thread; the guard stays.
pub(crate) struct Watch {
    guard: Arc<Mutex<Guard>>,
    counters: Arc<Mutex<GuardCounters>>,
    /// Closing our end wakes the thread, which then ends.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts watching an installed guard. `tell` is called from the watchdog's thread and must
    /// not block.
    ///
    /// # Errors
    /// When the kernel gives no notices or no thread.
    pub(crate) fn start(
        guard: Guard,
        tell: impl Fn(GuardState) + Send + 'static,
    ) -> Result<Self, WatchError> {
        let (stop, stopped) = UnixStream::pair().map_err(WatchError::Thread)?;
        let capture = LeakCapture::new(&guard.plan().cluster);
        let notices = [ruleset_notices()?, route_notices()?];
        let guard = Arc::new(Mutex::new(guard));
        let counters = Arc::new(Mutex::new(GuardCounters::default()));
        let rounds = Rounds {
            guard: Arc::clone(&guard),
            report: Report {
                counters: Arc::clone(&counters),
                tell: Box::new(tell),
            },
            capture,
            notices,
            stopped,
            pods_seen: None,
            pod_settings_seen: None,
            said: Once::default(),
        };
        let builder = thread::Builder::new().name("guard-watchdog".to_owned());
        let thread = builder
            .spawn(move || rounds.run())
            .map_err(WatchError::Thread)?;
        Ok(Self {
            guard,
            counters,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Goes over to another plan. Blocks for some ten milliseconds.
    ///
    /// # Errors
    /// What could not be changed; the watchdog goes on trying.
    pub(crate) fn update(&self, plan: GuardPlan) -> Result<(), GuardError> {
        lock(&self.guard).update(plan)
    }

    /// How many clear pod packets left the node. Must stay 0.
    pub(crate) fn plaintext_leaks(&self) -> u64 {
        lock(&self.counters).plaintext_leaks
    }

    /// What was put back, by what was gone.
    pub(crate) fn repairs(&self) -> BTreeMap<Part, u64> {
        lock(&self.counters).repairs.clone()
    }

    /// Reads all counters. Does not wait for a repair: while one goes on, what was dropped is
    /// told as of the last look.
    pub(crate) fn counters(&self) -> GuardCounters {
        let dropped = self.guard.try_lock().ok().map(|mut guard| guard.dropped());
        let mut counters = lock(&self.counters);
        if let Some(Ok(dropped)) = dropped {
            counters.dropped = dropped;
        }
        counters.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Why there is no watchdog.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// No notices.
    #[error("hear of changes to rules and routes")]
    Notices(#[from] NetlinkError),
    /// No thread.
    #[error("start the guard's watchdog")]
    Thread(#[source] io::Error),
}

/// The thread's own.
struct Rounds {
    guard: Arc<Mutex<Guard>>,
    report: Report,
    capture: LeakCapture,
    notices: [Notices; 2],
    stopped: UnixStream,
    pods_seen: Option<Instant>,
    pod_settings_seen: Option<Instant>,
    said: Once,
}

enum Woken {
    ByNotice,
    ByClock,
    ToStop,
}

impl Rounds {
    fn run(mut self) {
        // What happened before the notices were ordered is found by the first look.
        let mut woken = Woken::ByClock;
        loop {
            let mut inspection = match woken {
                Woken::ToStop => return,
                Woken::ByNotice => lock(&self.guard).repair(),
                Woken::ByClock => self.look_at_everything(),
            };
            inspection.repaired.extend(self.look_at_pods());
            self.report.look(inspection);
            self.follow_interfaces();
            self.count();
            thread::sleep(LOOK_AT_MOST_EVERY);
            woken = self.wait();
        }
    }

    fn look_at_everything(&mut self) -> Inspection {
        let mut guard = lock(&self.guard);
        let mut inspection = guard.repair();
        inspection
            .repaired
            .extend(guard.repair_forward_chain().repaired);
        inspection
    }

    fn look_at_pods(&mut self) -> Vec<Part> {
        let now = Instant::now();
        let is_due = |seen: Option<Instant>, every| {
            seen.is_none_or(|seen| now.duration_since(seen) >= every)
        };
        let mut repaired = Vec::new();
        if is_due(self.pods_seen, PODS_AT_MOST_EVERY) {
            self.pods_seen = Some(now);
            match lock(&self.guard).repair_pod_links() {
                Ok(parts) => repaired = parts,
                Err(error) => {
                    let error = service_log::chain(&error);
                    if self.said.admits(error.clone(), now) {
                        warn!(
                            error,
                            "Pods' links could not be put right, it is tried again"
                        );
                    }
                }
            }
        }
        if is_due(self.pod_settings_seen, POD_SETTINGS_EVERY) {
            self.pod_settings_seen = Some(now);
            repaired.extend(lock(&self.guard).repair_pod_settings());
        }
        repaired
    }

    fn count(&mut self) {
        let leaks = self.capture.count();
        let dropped = lock(&self.guard).dropped();
        let mut counters = lock(&self.report.counters);
        counters.plaintext_leaks = leaks;
        counters.unwatched_interfaces = self.capture.untapped();
        // What cannot be read this time keeps its last value.
        if let Ok(dropped) = dropped {
            counters.dropped = dropped;
        }
    }

    fn follow_interfaces(&mut self) {
        if let Ok(links) = lock(&self.guard).underlay_links() {
            self.capture.follow(&links);
        }
    }

    fn wait(&mut self) -> Woken {
        let timeout = PollTimeout::try_from(LOOK_EVERY).unwrap_or(PollTimeout::MAX);
        let mut descriptors = vec![PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)];
        let notices = self.notices.iter().map(|notices| notices.as_fd());
        let sources = notices.chain(self.capture.descriptors());
        descriptors.extend(sources.map(|source| PollFd::new(source, PollFlags::POLLIN)));
        // An interruption is as good as a notice.
        let _ = poll(&mut descriptors, timeout);
        let stop = descriptors.first().and_then(PollFd::any).unwrap_or(false);
        drop(descriptors);
        if stop {
            return Woken::ToStop;
        }
        let heard = self
            .notices
            .iter_mut()
            .map(Notices::take)
            .filter(|heard| *heard)
            .count();
        if heard > 0 {
            Woken::ByNotice
        } else {
            Woken::ByClock
        }
    }
}

/// Where the rounds' findings go: the log, the counters, the daemon.
struct Report {
    counters: Arc<Mutex<GuardCounters>>,
    tell: Box<dyn Fn(GuardState) + Send>,
}

impl Report {
    fn look(&self, inspection: Inspection) {
        let state = GuardState::after(&inspection);
        let mut repairs: BTreeMap<Part, u64> = BTreeMap::new();
        for part in inspection.repaired {
            *repairs.entry(part).or_default() += 1;
        }
        for (part, times) in repairs {
            warn!(
                part = part.label(),
                times, "Part of the guard was gone and has been put back"
            );
            *lock(&self.counters).repairs.entry(part).or_default() += times;
        }
        for failure in inspection.failures {
            let failure = format!("{:#}", anyhow::Error::new(failure));
            error!(
                failure,
                "Part of the guard is gone and could not be put back"
            );
        }
        (self.tell)(state);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_guard_that_broke_stands_again_after_the_next_clean_look() {
        let (told, states) = mpsc::channel();
        let report = Report {
            counters: Arc::default(),
            tell: Box::new(move |state| told.send(state).unwrap()),
        };
        let broken = Inspection {
            failures: vec![GuardError::NoTun("sotto0".to_owned())],
            ..Inspection::default()
        };
        let half_repaired = Inspection {
            repaired: vec![Part::Rule],
            failures: vec![GuardError::NoTun("sotto0".to_owned())],
            ..Inspection::default()
        };
        let gone = Inspection {
            tun: TunState::Gone,
            ..Inspection::default()
        };

        for inspection in [broken, Inspection::default(), half_repaired, gone] {
            report.look(inspection);
        }

        let states: Vec<_> = states.try_iter().collect();
        assert_eq!(
            states,
            [
                GuardState::Broken,
                GuardState::Stands,
                GuardState::Broken,
                GuardState::TunGone
            ]
        );
        assert_eq!(lock(&report.counters).repairs[&Part::Rule], 1);
    }
}
