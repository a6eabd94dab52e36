//! The roots that an operator's pins select.

use super::{Pin, RootCertificate};
use crate::PodRanges;

/// The roots that hash to a pin, and optionally the addresses that the cluster's pods live in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedRoots {
    roots: Vec<RootCertificate>,
    cluster: Option<PodRanges>,
}

impl TrustedRoots {
    /// Keeps those candidates that hash to a pin. Candidates may come from anywhere.
    #[must_use]
    pub fn new(pins: &[Pin], candidates: impl IntoIterator<Item = RootCertificate>) -> Self {
        let mut roots: Vec<RootCertificate> = candidates
            .into_iter()
            .filter(|root| pins.contains(&root.pin()))
            .collect();
        roots.sort_by(|one, other| one.der.cmp(&other.der));
        roots.dedup();
        Self {
            roots,
            cluster: None,
        }
    }

    /// Also confines pods to these ranges, and nodes' addresses to the rest.
    #[must_use]
    pub fn within(mut self, cluster: PodRanges) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// The trusted root certificates.
    pub fn iter(&self) -> impl Iterator<Item = &RootCertificate> {
        self.roots.iter()
    }

    /// Whether no candidate matched a pin: nothing can be verified then.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Whether a root with this pin is here.
    #[must_use]
    pub fn contains(&self, pin: &Pin) -> bool {
        self.roots.iter().any(|root| root.pin() == *pin)
    }

    pub(crate) const fn cluster(&self) -> Option<&PodRanges> {
        self.cluster.as_ref()
    }
}
