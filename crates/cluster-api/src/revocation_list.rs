//! `RevocationList`: a root certificate and the newest list that the root signed.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derive makes copies of the structs inside functions, and columns have types in common"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// One root. The object is named after its pin, see [`object_name`].
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sotto.dev",
    version = "v1alpha1",
    kind = "RevocationList",
    plural = "revocationlists",
    shortname = "srl",
    category = "sotto",
    doc = "A root certificate and the list of what it has revoked, signed by it. Written by the controller.",
    printcolumn(name = "Number", type_ = "integer", json_path = ".spec.number"),
    printcolumn(name = "Revoked", type_ = "integer", json_path = ".spec.entries"),
    printcolumn(name = "Next Update", type_ = "string", json_path = ".spec.nextUpdate"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RevocationListSpec {
    /// The root certificate, DER in base64. It counts only if it hashes to a pin.
    #[schemars(length(max = 16384))]
    pub root_certificate: String,
    /// The signed list, in base64.
    #[schemars(length(max = 1_000_000))]
    pub signed_list: String,
    /// Number of the list; for people.
    #[schemars(range(min = 0))]
    pub number: i64,
    /// How much it revokes; for people.
    #[schemars(range(min = 0))]
    pub entries: i64,
    /// By when there is a newer one; for people.
    pub next_update: Option<Time>,
}

/// The name of the object of a root: its pin, `sha256:<hex>`, with a hyphen in place of the colon.
#[must_use]
pub fn object_name(pin: &node_identity::Pin) -> String {
    pin.to_string().replace(':', "-")
}
