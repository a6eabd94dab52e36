//! Notices that the store has no place for what this node publishes.

use cluster_store::PublishedNode;
use tracing::warn;

use super::Credentials;
use crate::config::Store;
use crate::enrol::Place;

impl Credentials {
    /// Only the controller makes a node's object in a cluster's API, with a certificate.
    pub(super) fn judge_place(&mut self, own: Option<&PublishedNode>) {
        let place = match (&self.config.store, own) {
            (Store::Kubernetes(_), None) => Place::Missing,
            (Store::Kubernetes(_) | Store::Directory { .. }, _) => Place::Kept,
        };
        if (self.place, place) == (Place::Kept, Place::Missing) && self.certificate.is_some() {
            warn!(
                "The store has no entry of this node, a certificate is asked for so that it gets one; peers are kept"
            );
        }
        self.place = place;
    }
}
