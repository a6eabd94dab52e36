//! What the parts of Sotto tell one another, and nothing about whom to believe.
//!
//! The controller publishes root certificates, revocation lists and node certificates; each node
//! publishes the envelopes that prove its tunnel key, and asks for a certificate. All of it is
//! bytes in and bytes out: whoever can write to the store can withhold and can disturb, but what
//! is read counts only after `node-identity` has verified it.
//!
//! [`DirectoryStore`] keeps the objects as files in a folder, [`KubernetesStore`] as objects of an API
//! server. Anything else that can hold a few small named objects and tell when they change can
//! stand behind [`ClusterStore`].

mod directory;
mod error;
pub mod kubernetes;
mod published;
mod request;
mod requester;
mod view;

use std::future::Future;

use node_identity::{NodeName, NodeUid};
use node_status::NodeStatus;

pub use directory::{DirectoryChanges, DirectoryStore};
pub use error::StoreError;
pub use kubernetes::KubernetesStore;
pub use published::{Published, PublishedNode, PublishedRoot, Refusal, RefusedEntry};
pub use request::{
    Answer, DecodeError, EnrolmentRequest, PendingReason, RequestId, RequestState, Requests,
    StoredRequest, TokenProof,
};
pub use requester::{Departed, NodeSeen, PodSeen, Requester, Stamp};
pub use view::{IdentityView, NodeView, Notice, Severity};

/// Most envelopes that one node may have published: the one in use and the one it moves to.
pub const MAX_ENVELOPES: usize = 2;

/// A place where controller and nodes leave small objects for one another.
///
/// Used as a generic parameter, never as a trait object. Every call may be repeated; writing what
/// is already there changes nothing. An absent object is never a command: readers keep what they
/// verified until it is revoked, replaced or expired.
pub trait ClusterStore: Send + Sync + 'static {
    /// Tells of changes; see [`ClusterStore::watch`].
    type Changes: StoreChanges;

    /// Starts to watch. Changes from before the call are not told: watch first, then read.
    ///
    /// # Errors
    /// [`StoreError::Watch`] when the store cannot be watched.
    fn watch(&self) -> Result<Self::Changes, StoreError>;

    /// Reads everything that is published, as found: nothing of it has been verified.
    ///
    /// An entry that cannot be read is named in [`Published::refused`]; the others are returned.
    ///
    /// # Errors
    /// Any [`StoreError`], when the store as a whole cannot be read.
    fn published(&self) -> impl Future<Output = Result<Published, StoreError>> + Send;

    /// Publishes a root certificate and its newest revocation list (controller).
    ///
    /// # Errors
    /// Any [`StoreError`]; what was published before then stays.
    fn publish_root(
        &self,
        root: &PublishedRoot,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Publishes a node's certificate in place of its previous one (controller).
    ///
    /// # Errors
    /// Any [`StoreError`]; what was published before then stays.
    fn publish_certificate(
        &self,
        node: &NodeUid,
        certificate: &[u8],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a node's certificate and envelopes away (controller, after revocation). Removing
    /// what is not there succeeds.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn withdraw_node(
        &self,
        node: &NodeUid,
        name: &NodeName,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Which of these nodes the store does not list (controller): those worth a question to
    /// [`ClusterStore::departed`]. Proves nothing of any of them. A store that knows no nodes names
    /// none.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn missing(
        &self,
        nodes: &[(NodeUid, NodeName)],
    ) -> impl Future<Output = Result<Vec<NodeUid>, StoreError>> + Send {
        let _ = nodes;
        async { Ok(Vec::new()) }
    }

    /// Which of these nodes are gone for good (controller), so that they can be revoked. Asks for
    /// each of them: the caller bounds how many. A store that knows no nodes names none.
    ///
    /// # Errors
    /// Any [`StoreError`], when the store as a whole is away.
    fn departed(
        &self,
        nodes: &[(NodeUid, NodeName)],
    ) -> impl Future<Output = Result<Departed, StoreError>> + Send {
        let _ = nodes;
        async { Ok(Departed::default()) }
    }

    /// Shows people how far each node is with its identity (controller): all nodes, each time. A
    /// store that people do not look at shows nothing.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn show_nodes(
        &self,
        nodes: &[NodeView],
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = nodes;
        async { Ok(()) }
    }

    /// Shows people how a node is (that node). The caller keeps the pace.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn show_status(
        &self,
        status: &NodeStatus,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = status;
        async { Ok(()) }
    }

    /// Tells people of one event. It may be lost: what matters is in the log too.
    fn notify(&self, notice: Notice) -> impl Future<Output = ()> + Send {
        let _ = notice;
        async {}
    }

    /// Replaces a node's envelopes as a whole, the preferred one first (that node).
    ///
    /// # Errors
    /// [`StoreError::TooManyEnvelopes`] for more than [`MAX_ENVELOPES`]; any other [`StoreError`].
    fn publish_envelopes(
        &self,
        node: &NodeUid,
        envelopes: &[Vec<u8>],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Leaves a request for the controller (a node) and forgets an earlier answer to the very same
    /// request.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn submit_request(
        &self,
        request: &EnrolmentRequest,
    ) -> impl Future<Output = Result<RequestId, StoreError>> + Send;

    /// Reads what became of a request (a node). `None`: the store has no such request, so it must
    /// be submitted again.
    ///
    /// The answer carries no proof. A certificate counts when it verifies; the other states are
    /// hints for a log line and a retry interval.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn request_state(
        &self,
        id: &RequestId,
    ) -> impl Future<Output = Result<Option<RequestState>, StoreError>> + Send;

    /// Reads all requests, answered or not (controller).
    ///
    /// # Errors
    /// Any [`StoreError`], when the store as a whole cannot be read.
    fn requests(&self) -> impl Future<Output = Result<Requests, StoreError>> + Send;

    /// Answers a request (controller).
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn answer_request(
        &self,
        id: &RequestId,
        answer: Answer<'_>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a request and its answer away (the node that is done with it, or the controller).
    /// Removing what is not there succeeds.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn withdraw_request(
        &self,
        id: &RequestId,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Tells that something in the store may have changed.
pub trait StoreChanges: Send + 'static {
    /// Waits until something may have changed. Wakes without cause are harmless and do happen: a
    /// slow poll stands behind the notifications. Cancel-safe.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}
