//! `NodeIdentity`: a node's certificate, by the controller, and its envelopes, by the node itself.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derive makes copies of the structs inside functions, and columns have types in common"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most envelopes of a node: the one in use and the one it moves to.
pub const MAX_STATEMENTS: usize = 2;

/// What the controller says of the node. The object carries the node's name.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "sotto.dev",
    version = "v1alpha1",
    kind = "NodeIdentity",
    plural = "nodeidentities",
    shortname = "nid",
    category = "sotto",
    status = "NodeIdentityStatus",
    doc = "The certified identity of a node and the keys it uses. Written by Sotto alone; nothing in it is believed unless it verifies up to a pinned root.",
    printcolumn(name = "UID", type_ = "string", json_path = ".spec.nodeUID"),
    printcolumn(name = "Revoked", type_ = "boolean", json_path = ".spec.revoked"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct NodeIdentitySpec {
    /// UID of the Node object that the identity belongs to.
    #[serde(rename = "nodeUID")]
    #[schemars(length(min = 36, max = 36))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("an identity belongs to one Node for good").reason(Reason::FieldValueForbidden))]
    pub node_uid: String,
    /// The node certificate, DER in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub certificate: Option<String>,
    /// Set to have the node revoked. Cannot be taken back.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self || !oldSelf").message("a revocation cannot be taken back; delete the Node and let it join anew").reason(Reason::FieldValueForbidden))]
    pub revoked: bool,
}

/// What the node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeIdentityStatus {
    /// Envelopes, DER in base64, the preferred one first: each a key statement, signed, with its
    /// certificate.
    #[serde(default)]
    #[schemars(length(max = 2), inner(length(max = 8192)))]
    pub statements: Vec<String>,
}
