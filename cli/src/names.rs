//! What the installation of Sotto is called inside a cluster, whichever way it was installed.

/// The namespace of the daemon and the controller.
pub(crate) const NAMESPACE: &str = "sotto-system";
/// The daemon: DaemonSet, ServiceAccount, ClusterRole and its binding.
pub(crate) const NODE: &str = "sotto-node";
/// The controller: Deployment, Lease, ServiceAccount, ClusterRole and its binding.
pub(crate) const CONTROLLER: &str = "sotto-controller";
/// The Secret with the root's key and certificate.
pub(crate) const ROOT_SECRET: &str = "sotto-root";
/// The Secret with the controller's memory.
pub(crate) const LEDGER_SECRET: &str = "sotto-ledger";
/// The admission policies; their bindings have the same names.
pub(crate) const POLICIES: [&str; 2] = ["sotto-node-status", "sotto-node-requests"];
/// Who writes the fields that this program applies.
pub(crate) const FIELD_MANAGER: &str = "sotto";
/// The oldest and the newest Kubernetes that is supported, by minor version of 1.
pub(crate) const SUPPORTED: std::ops::RangeInclusive<u32> = 33..=37;
