//! What the daemon shows of itself: one snapshot, taken each second by the control task, read by
//! metrics, health checks and the status socket.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use node_status::NodeStatus;

use crate::watchdog::GuardCounters;

/// The guard's counter of clear pod packets from outside.
const INJECTED: &str = "injected";

/// Everything that is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Telemetry {
    /// What `sotto status` prints.
    pub(crate) status: NodeStatus,
    /// Pod packets dropped, by reason, over all lanes.
    pub(crate) drops: BTreeMap<&'static str, u64>,
    /// What the watchdog put back, by what it was.
    pub(crate) repairs: BTreeMap<&'static str, u64>,
    /// Packets dropped by the guard, by reason.
    pub(crate) guard_drops: BTreeMap<String, u64>,
    /// Interfaces on which a leak would not be seen.
    pub(crate) unwatched_interfaces: u64,
    /// Datagrams that the control side refused, by reason.
    pub(crate) refused_datagrams: BTreeMap<String, u64>,
    /// Entries of the store that could not be read.
    pub(crate) unreadable_entries: u64,
    /// Failed operations on the store since the start.
    pub(crate) store_failures: u64,
    /// Transports agreed since the start.
    pub(crate) transports_agreed: u64,
    /// Agreements given up since the start.
    pub(crate) agreements_failed: u64,
    /// Known peers that the store lists no more.
    pub(crate) peers_missing: u64,
    /// Revocation lists that are overdue: somebody may be withholding them.
    pub(crate) revocations_overdue: u64,
}

impl Telemetry {
    /// Adds what the guard counted.
    pub(crate) fn with_guard(mut self, counters: GuardCounters) -> Self {
        self.status.guard.repairs = counters.repairs.values().sum();
        self.status.guard.plaintext_leaks = counters.plaintext_leaks;
        let injected = counters.dropped.get(INJECTED).copied();
        self.status.guard.injected_dropped = injected.unwrap_or_default();
        let repairs = counters.repairs.iter();
        self.repairs = repairs
            .map(|(part, count)| (part.label(), *count))
            .collect();
        self.guard_drops = counters.dropped;
        self.unwatched_interfaces = counters.unwatched_interfaces;
        self
    }
}

/// The newest snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown(Arc<RwLock<Arc<Telemetry>>>);

impl Shown {
    /// Replaces the snapshot.
    pub(crate) fn show(&self, telemetry: Telemetry) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(telemetry);
    }

    /// The newest snapshot.
    pub(crate) fn read(&self) -> Arc<Telemetry> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
