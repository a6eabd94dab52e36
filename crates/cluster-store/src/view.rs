//! What is shown to people. No program of ours reads any of it back.

use node_identity::{CertificateSerial, NodeName, NodeUid, PodRanges, UnixTime};

/// A node as the controller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The node.
    pub uid: NodeUid,
    /// Its name.
    pub name: NodeName,
    /// How far it is with its identity.
    pub identity: IdentityView,
    /// Why, in a sentence; empty where there is nothing to say.
    pub reason: String,
    /// The pod ranges of its certificate.
    pub pod_ranges: PodRanges,
    /// Serial and end of its newest certificate.
    pub certificate: Option<(CertificateSerial, UnixTime)>,
}

/// How far a node is with its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityView {
    /// It has asked and has no certificate yet.
    Pending,
    /// Its certificate is valid.
    Verified,
    /// Its certificate has ended.
    Expired,
    /// It is revoked.
    Revoked,
}

/// Something that people should know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The node it is about.
    pub node: NodeName,
    /// Whether somebody should look.
    pub severity: Severity,
    /// What happened, in one CamelCase word: `CertificateIssued`.
    pub reason: &'static str,
    /// The same in a sentence.
    pub message: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}
