//! Names and numbers of an installation that more than one verb needs.

pub(crate) use cluster_api::names::{
    CONTROLLER, LEDGER, LEDGER_SECRET, NAMESPACE, NODE, ROOT_CERTIFICATE, ROOT_KEY, ROOT_SECRET,
};
use cluster_api::names::{REQUESTS_POLICY, STATUS_POLICY};

/// The admission policies; their bindings have the same names.
pub(crate) const POLICIES: [&str; 2] = [STATUS_POLICY, REQUESTS_POLICY];
/// The DaemonSet that takes Sotto away from nodes.
pub(crate) const UNINSTALL: &str = "sotto-uninstall";
/// Who writes the fields that this program applies.
pub(crate) const FIELD_MANAGER: &str = "sotto";
/// The oldest and the newest Kubernetes that is supported, by minor version of 1.
pub(crate) const SUPPORTED: std::ops::RangeInclusive<u32> = 33..=37;
