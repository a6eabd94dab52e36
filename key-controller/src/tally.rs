//! What the controller counts and measures, for `/metrics` and for its own log lines.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared by the steps and by whoever shows the counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Counts>>);

/// The counts of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Certificates granted.
    pub(crate) issued: u64,
    /// Requests that began to wait.
    pub(crate) pending: u64,
    /// Requests refused, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Nodes revoked.
    pub(crate) revoked: u64,
    /// Version of the ledger.
    pub(crate) ledger_version: u64,
    /// Nodes in the ledger.
    pub(crate) ledger_nodes: u64,
    /// Bytes of the ledger as it was written last; 0 until then.
    pub(crate) ledger_bytes: u64,
    /// Steps that were not finished.
    pub(crate) failed_steps: u64,
    /// Questions whether a node is gone that got no answer.
    pub(crate) unknown_nodes: u64,
    /// Writes that one object refused.
    pub(crate) refused_writes: u64,
    /// Whether this controller leads.
    pub(crate) leads: bool,
    /// No controller leads.
    pub(crate) vacant: bool,
    /// Nothing is granted: the ledger is older than what was signed from it.
    pub(crate) ledger_old: bool,
    /// Nothing is granted: an admission policy is missing or changed.
    pub(crate) policies_missing: bool,
    /// Nodes whose revocation waits for an operator.
    pub(crate) held: u64,
}

impl Counts {
    /// Forgets what only a leader knows.
    pub(crate) fn forget_led(&mut self) {
        self.ledger_old = false;
        self.held = 0;
        (self.ledger_version, self.ledger_nodes, self.ledger_bytes) = (0, 0, 0);
    }
}

impl Tally {
    /// Changes the counts.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a refusal; returns how many there were for the reason.
    pub(crate) fn refused(&self, label: &'static str) -> u64 {
        let mut total = 0;
        self.change(|counts| {
            let count = counts.refused.entry(label).or_default();
            *count = count.saturating_add(1);
            total = *count;
        });
        total
    }

    /// The counts as they are.
    pub(crate) fn read(&self) -> Counts {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_no_longer_leads_raises_no_leaders_alarm() {
        let mut counts = Counts {
            ledger_old: true,
            held: 7,
            ledger_nodes: 3,
            policies_missing: true,
            issued: 2,
            ..Counts::default()
        };

        counts.forget_led();

        let left = Counts {
            policies_missing: true,
            issued: 2,
            ..Counts::default()
        };
        assert_eq!(counts, left);
    }
}
