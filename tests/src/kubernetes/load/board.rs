//! Where the daemons of a load write down what they came to know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use node_identity::{Generation, NodeUid};
use tokio::sync::mpsc::UnboundedSender;

/// A daemon believes a new generation of another node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) uid: NodeUid,
    pub(super) generation: Generation,
    pub(super) at: Instant,
}

/// Processor time that one envelope took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) reading: Duration,
    pub(super) verifying: Duration,
}

/// What all daemons share.
#[derive(Debug)]
pub(super) struct Board {
    /// Daemons with a certificate.
    pub(super) certificates: AtomicUsize,
    /// Pairs of nodes of which one believes the other.
    pub(super) links: AtomicUsize,
    reading: AtomicU64,
    verifying: AtomicU64,
    verified: AtomicU64,
    faults: Mutex<BTreeMap<String, usize>>,
    news: UnboundedSender<Heard>,
}

impl Board {
    pub(super) fn new(news: UnboundedSender<Heard>) -> Self {
        Self {
            certificates: AtomicUsize::new(0),
            links: AtomicUsize::new(0),
            reading: AtomicU64::new(0),
            verifying: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            faults: Mutex::default(),
            news,
        }
    }

    /// Somebody believes this, which took so much of a processor.
    pub(super) fn believed(&self, heard: Heard, is_first: bool, spent: Spent) {
        add(&self.reading, spent.reading);
        add(&self.verifying, spent.verifying);
        self.verified.fetch_add(1, Ordering::Relaxed);
        if is_first {
            self.links.fetch_add(1, Ordering::Relaxed);
        } else {
            // Nobody listens any more at the end.
            let _ = self.news.send(heard);
        }
    }

    /// Processor time of all envelopes, and how many they were.
    pub(super) fn spent(&self) -> (Spent, u64) {
        let time = |sum: &AtomicU64| Duration::from_nanos(sum.load(Ordering::Relaxed));
        let spent = Spent {
            reading: time(&self.reading),
            verifying: time(&self.verifying),
        };
        (spent, self.verified.load(Ordering::Relaxed))
    }

    /// Something failed and is tried again.
    pub(super) fn fault(&self, what: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < 20 || faults.contains_key(&what) {
            *faults.entry(what).or_default() += 1;
        }
    }

    /// What failed, and how often.
    pub(super) fn faults(&self) -> BTreeMap<String, usize> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.clone()
    }
}

fn add(sum: &AtomicU64, time: Duration) {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    sum.fetch_add(nanoseconds, Ordering::Relaxed);
}
