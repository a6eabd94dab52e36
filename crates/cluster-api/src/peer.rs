//! `Peer`: one node of the pod network, for people.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derive makes copies of the structs inside functions, and columns have types in common"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most unhealthy peers that a node names, so that its status does not grow with the cluster.
pub const MAX_UNHEALTHY_NAMED: usize = 16;

/// What the controller says of a node. The object carries the node's name.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sotto.dev",
    version = "v1alpha1",
    kind = "Peer",
    plural = "peers",
    shortname = "spr",
    category = "sotto",
    status = "PeerStatus",
    doc = "A node of the Sotto pod network, as the controller and the node itself see it. For people: no daemon and no controller acts on it.",
    printcolumn(name = "Identity", type_ = "string", json_path = ".spec.identity"),
    printcolumn(
        name = "Tunnels",
        type_ = "string",
        json_path = ".status.summary.tunnels"
    ),
    printcolumn(
        name = "Oldest Handshake",
        type_ = "date",
        json_path = ".status.oldestHandshake"
    ),
    printcolumn(name = "Key Age", type_ = "date", json_path = ".status.keyMade"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint"),
    printcolumn(name = "MTU", type_ = "integer", json_path = ".status.pathMTU"),
    printcolumn(name = "RX", type_ = "string", json_path = ".status.summary.received"),
    printcolumn(name = "TX", type_ = "string", json_path = ".status.summary.sent"),
    printcolumn(
        name = "Drops",
        type_ = "integer",
        json_path = ".status.droppedPackets"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Lanes",
        type_ = "integer",
        json_path = ".status.lanes",
        priority = 1
    ),
    printcolumn(
        name = "Generation",
        type_ = "integer",
        json_path = ".status.generation",
        priority = 1
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.daemonVersion",
        priority = 1
    ),
    printcolumn(
        name = "Pod Ranges",
        type_ = "string",
        json_path = ".spec.podRanges",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct PeerSpec {
    /// UID of the Node object.
    #[serde(rename = "nodeUID")]
    #[schemars(length(max = 36))]
    pub node_uid: String,
    /// Whether the node has an identity that others believe.
    pub identity: IdentityState,
    /// Why that is so, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Pod ranges that the certificate gives the node.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(max = 43)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub pod_ranges: Vec<String>,
    /// Serial of the newest certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub certificate_serial: Option<i64>,
    /// End of the newest certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

/// How far a node is with its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IdentityState {
    /// It has no certificate yet.
    #[default]
    Pending,
    /// Its certificate is valid.
    Verified,
    /// Its certificate has ended.
    Expired,
    /// It is revoked, for good.
    Revoked,
}

/// What the node's daemon says of itself. Totals only, and the peers that are not well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// What `kubectl get` shows of the numbers below.
    #[serde(default)]
    pub summary: PeerSummary,
    /// Tunnels that can carry pod packets.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub tunnels_up: i32,
    /// Nodes that are believed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub tunnels_total: i32,
    /// When the oldest transport in use was agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_handshake: Option<Time>,
    /// When the tunnel key in use was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_made: Option<Time>,
    /// Where peers send to first: address and first port.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub endpoint: String,
    /// MTU of the pods' links, in bytes.
    #[serde(default, rename = "pathMTU")]
    #[schemars(range(min = 0, max = 65535))]
    pub path_mtu: i32,
    /// Bytes of pods' packets received from peers since the daemon started.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub received_bytes: i64,
    /// Bytes of pods' packets sent to peers since the daemon started.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub sent_bytes: i64,
    /// Packets dropped since the daemon started.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub dropped_packets: i64,
    /// Threads that move packets.
    #[serde(default)]
    #[schemars(range(min = 0, max = 64))]
    pub lanes: i32,
    /// Number of the generation in use.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// The daemon's version.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub daemon_version: String,
    /// How many believed nodes have no tunnel although pods want one, or are not believed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub unhealthy_total: i32,
    /// The first of them.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub unhealthy_peers: Vec<UnhealthyPeer>,
    /// `Ready`, `GuardStands`, `NoPlaintextLeaks`, `CertificateValid`, `RootPin`.
    #[serde(default)]
    #[schemars(with = "Vec<ShortCondition>", length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// Numbers as people read them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerSummary {
    /// Tunnels up of all, such as `3/4`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub tunnels: String,
    /// Bytes received, such as `1.2 GiB`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub received: String,
    /// Bytes sent.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub sent: String,
}

/// A peer that is not well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyPeer {
    /// Its name, or that of the object that is refused.
    #[schemars(length(max = 300))]
    pub node: String,
    /// What is wrong with it.
    #[schemars(length(max = 512))]
    pub reason: String,
}

// A `Condition` with limits: the node itself writes them.
/// Whether something about the node is as it should be.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "stands for its schema alone")]
struct ShortCondition {
    /// What it is about, in CamelCase.
    #[schemars(length(min = 1, max = 64))]
    r#type: String,
    /// `True`, `False` or `Unknown`.
    status: ConditionStatus,
    /// The generation of the object that it was judged by.
    observed_generation: Option<i64>,
    /// Since when it is so.
    last_transition_time: Time,
    /// Why, in one CamelCase word.
    #[schemars(length(min = 1, max = 64))]
    reason: String,
    /// The same in a sentence.
    #[schemars(length(max = 1024))]
    message: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "stands for its schema alone")]
enum ConditionStatus {
    True,
    False,
    Unknown,
}
