//! The store as objects of a Kubernetes API server.
//!
//! What is published is read from watches that this store keeps (`watched.rs`), so a change costs
//! no list; what decides is asked for live (`requests.rs`, `nodes.rs`). Whatever others can write
//! there is bounded, and what is passed over is named.

mod access;

use node_identity::{NodeName, NodeUid};
use node_status::NodeStatus;

use crate::error::StoreError;
use crate::published::{Published, PublishedRoot};
use crate::request::{Answer, EnrolmentRequest, RequestId, RequestState, Requests};
use crate::view::{NodeView, Notice};
use crate::{ClusterStore, StoreChanges};

pub use access::{Access, connect};

/// A [`ClusterStore`] kept in an API server. Clones share their watches, which end with the last.
#[derive(Clone)]
pub struct KubernetesStore {
    #[expect(dead_code, reason = "under construction")]
    client: kube::Client,
}

/// What the controller's store has to know of the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerScope {
    /// The namespace that Sotto runs in.
    pub namespace: String,
    /// The daemons' ServiceAccount.
    pub service_account: String,
    /// The daemons' DaemonSet.
    pub daemon_set: String,
    /// Whether nodes are certified for their ExternalIPs too.
    pub external_addresses: bool,
}

/// Changes of a [`KubernetesStore`].
#[derive(Debug)]
pub struct KubernetesChanges {}

impl KubernetesStore {
    /// A store as a node's daemon uses it. Must be called inside a runtime, where it watches.
    #[must_use]
    pub fn for_node(client: kube::Client, name: NodeName, uid: NodeUid, namespace: &str) -> Self {
        let _ = (name, uid, namespace);
        Self { client }
    }

    /// A store as the controller uses it. Must be called inside a runtime, where it watches.
    #[must_use]
    pub fn for_controller(client: kube::Client, scope: ControllerScope) -> Self {
        let _ = scope;
        Self { client }
    }
}

impl ClusterStore for KubernetesStore {
    type Changes = KubernetesChanges;

    fn watch(&self) -> Result<KubernetesChanges, StoreError> {
        Ok(KubernetesChanges {})
    }

    async fn published(&self) -> Result<Published, StoreError> {
        Ok(Published::default())
    }

    async fn publish_root(&self, _: &PublishedRoot) -> Result<(), StoreError> {
        Ok(())
    }

    async fn publish_certificate(&self, _: &NodeUid, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn withdraw_node(&self, _: &NodeUid, _: &NodeName) -> Result<(), StoreError> {
        Ok(())
    }

    async fn departed(&self, _: &[(NodeUid, NodeName)]) -> Result<Vec<NodeUid>, StoreError> {
        Ok(Vec::new())
    }

    async fn show_nodes(&self, _: &[NodeView]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn show_status(&self, _: &NodeStatus) -> Result<(), StoreError> {
        Ok(())
    }

    async fn notify(&self, _: Notice) {}

    async fn publish_envelopes(&self, _: &NodeUid, _: &[Vec<u8>]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn submit_request(&self, request: &EnrolmentRequest) -> Result<RequestId, StoreError> {
        Ok(request.id())
    }

    async fn request_state(&self, _: &RequestId) -> Result<Option<RequestState>, StoreError> {
        Ok(None)
    }

    async fn requests(&self) -> Result<Requests, StoreError> {
        Ok(Requests::default())
    }

    async fn answer_request(&self, _: &RequestId, _: Answer<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn withdraw_request(&self, _: &RequestId) -> Result<(), StoreError> {
        Ok(())
    }
}

impl StoreChanges for KubernetesChanges {
    async fn changed(&mut self) {
        std::future::pending().await
    }
}
