//! What the controller keeps in Kubernetes beside the store: root and ledger in Secrets, the Lease
//! by which one of several controllers leads, and the policies that must stand around it.

mod lease;
mod policies;
mod secret_ledger;
mod secret_root;

pub(crate) use lease::{Campaign, Standing, lost};
pub(crate) use policies::Policies;
pub(crate) use secret_ledger::SecretLedger;
pub(crate) use secret_root::open_root;

/// Account and DaemonSet of the node daemons.
pub(crate) use cluster_api::names::NODE as DAEMON;

// `CONTROLLER` is the account too.
use cluster_api::names::{CONTROLLER, CONTROLLER as LEASE, LEDGER, LEDGER_SECRET, ROOT_SECRET};

/// Whether the API server refused because the object was changed, or made, in between.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests;
