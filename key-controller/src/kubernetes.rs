//! What the controller keeps in Kubernetes beside the store: root and ledger in Secrets, the Lease
//! by which one of several controllers leads, and the policies that must stand around it.

mod lease;
mod policies;
mod secret_ledger;
mod secret_root;

pub(crate) use lease::{Campaign, Standing, lost};
pub(crate) use policies::{Policies, Verdict};
pub(crate) use secret_ledger::SecretLedger;
pub(crate) use secret_root::open_root;

/// Account and DaemonSet of the node daemons.
pub(crate) const DAEMON: &str = "sotto-node";

/// Account of the controllers.
const CONTROLLER: &str = "sotto-controller";

/// The Secret with the root's key and certificate.
const ROOT_SECRET: &str = "sotto-root";

/// The Secret with the ledger.
const LEDGER_SECRET: &str = "sotto-ledger";

/// The Lease of the controller that leads.
const LEASE: &str = "sotto-controller";

/// Whether the API server refused because the object was changed, or made, in between.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests;
