//! What a store can vouch for about who left a request.

use std::net::IpAddr;
use std::time::Instant;

use node_identity::NodeUid;

use crate::error::StoreError;

/// Who left a request, as far as the store knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Requester {
    /// Whoever can write to the folder: a token, or the node's own key, has to prove the rest.
    #[default]
    Anybody,
    /// Whom the API server authenticated.
    Stamped(Box<Stamp>),
}

/// What the API server stamped into a CertificateSigningRequest, and what it says now of the Pod
/// and the Node named in it. The requester can write none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// `spec.username`.
    pub username: String,
    /// `authentication.kubernetes.io/pod-name`, every value.
    pub pod_name: Vec<String>,
    /// `authentication.kubernetes.io/pod-uid`, every value.
    pub pod_uid: Vec<String>,
    /// `authentication.kubernetes.io/node-name`, every value.
    pub node_name: Vec<String>,
    /// `authentication.kubernetes.io/node-uid`, every value.
    pub node_uid: Vec<String>,
    /// Whether an operator approved exactly this request, see `sotto approve`.
    pub operator_approved: bool,
    /// That Pod, if there is one of that name.
    pub pod: Option<PodSeen>,
    /// That Node, if there is one of that name.
    pub node: Option<NodeSeen>,
    /// UID of the DaemonSet that the daemons belong to, if it is there.
    pub daemon_set_uid: Option<String>,
    /// When Pod, Node and DaemonSet were asked for, or shortly before that.
    pub looked_up: Option<Instant>,
}

/// A Pod as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.serviceAccountName`.
    pub service_account: String,
    /// `spec.nodeName`.
    pub node_name: String,
    /// UID of the controlling DaemonSet in `metadata.ownerReferences`.
    pub daemon_set_uid: Option<String>,
}

/// A Node as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSeen {
    /// `metadata.uid`.
    pub uid: String,
    /// Whether it has a deletion timestamp.
    pub being_deleted: bool,
    /// Its addresses, InternalIP and, where the store was told so, ExternalIP, in order.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_ranges: Vec<String>,
}

/// What asking for Nodes came to. Whoever is in neither list is there.
#[derive(Debug, Default)]
pub struct Departed {
    /// Gone for good.
    pub gone: Vec<NodeUid>,
    /// Those of which the store could not tell, and why.
    pub unknown: Vec<(NodeUid, StoreError)>,
}
