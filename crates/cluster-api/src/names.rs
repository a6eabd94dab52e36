//! What an installation of Sotto is called inside a cluster, whichever way it was installed. The
//! chart in `deploy/` says the same.

/// The namespace of daemons and controller.
pub const NAMESPACE: &str = "sotto-system";

/// The daemon: DaemonSet, container, ServiceAccount, ClusterRole and its binding.
pub const NODE: &str = "sotto-node";

/// The controller: Deployment, container, Lease, ServiceAccount, ClusterRole, Role and their
/// bindings.
pub const CONTROLLER: &str = "sotto-controller";

/// The Secret with the root, in the entries [`ROOT_KEY`] and [`ROOT_CERTIFICATE`].
pub const ROOT_SECRET: &str = "sotto-root";

/// The root's private key, PEM.
pub const ROOT_KEY: &str = "root.key";

/// The root's certificate, DER.
pub const ROOT_CERTIFICATE: &str = "root.der";

/// The Secret with the controller's ledger, in the entry [`LEDGER`].
pub const LEDGER_SECRET: &str = "sotto-ledger";

/// The ledger. Without it the root has signed nothing yet.
pub const LEDGER: &str = "ledger";

/// The admission policy around what daemons write; its binding has the same name.
pub const STATUS_POLICY: &str = "sotto-node-status";

/// The admission policy around certificate requests; its binding has the same name.
pub const REQUESTS_POLICY: &str = "sotto-node-requests";
