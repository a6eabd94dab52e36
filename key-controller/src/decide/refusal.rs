//! The reasons for which a request is refused, one each.

use std::net::IpAddr;

use node_identity::{NodeName, PodCidr};

/// Why a request is refused. The log and the counters tell; the requester is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("V1: the request is malformed: {0}")]
    Malformed(String),
    #[error("V2: no token, and the ledger does not know the key")]
    NoAuthority,
    #[error("V2: the token was not made here, or is long gone")]
    UnknownToken,
    #[error("V2: the token's MAC is wrong")]
    WrongMac,
    #[error("V3: the token was used before, with another key")]
    TokenUsed,
    #[error("V4: the token has expired")]
    TokenExpired,
    #[error("V5: the node is revoked")]
    Revoked,
    #[error("V6: the trust domain is another")]
    ForeignTrustDomain,
    #[error("V6: the UID is not the token's")]
    WrongUid,
    #[error("V6: the name is not this node's")]
    WrongName,
    #[error("V6: a node that is not revoked has the name")]
    NameTaken,
    #[error("V8: the key is the root's own")]
    KeyOfRoot,
    #[error("V8: the key belongs to another node")]
    KeyOfAnotherNode,
    #[error("V8: the key was replaced by order of an operator")]
    RetiredKey,
    #[error("V9: {0} addresses, 1 to 8 are expected")]
    AddressCount(usize),
    #[error("V9: address {0} is not on the underlay, or not allowed by the token")]
    AddressNotAllowed(IpAddr),
    #[error("V9: address {address} is {owner}'s, a live node")]
    AddressTaken { address: IpAddr, owner: NodeName },
    #[error("V9: the node's pod ranges lie outside the cluster's")]
    RangesOutsideCluster,
    #[error("V1: the request names addresses, which the Node's are to say")]
    NamesAddresses,
    #[error("V2: the store does not vouch for who asks")]
    NotStamped,
    #[error("V2: the store vouches for who asks, a token or known key is expected")]
    StampedInFolder,
    #[error("V2: {0:?} is not the daemon's ServiceAccount")]
    NotTheDaemon(String),
    #[error("V3: the requester's token is bound to no pod")]
    NoPodBehindToken,
    #[error("V3: the requester's token names no node")]
    NoNodeBehindToken,
    #[error("V3: a stamp has more than one value")]
    AmbiguousStamps,
    #[error("V4: the pod is gone")]
    PodGone,
    #[error("V4: another pod has the name")]
    PodReplaced,
    #[error("V4: the pod has another ServiceAccount")]
    PodOfAnotherAccount,
    #[error("V4: the pod is on another node")]
    PodOnAnotherNode,
    #[error("V4: the pod is none of the daemons' DaemonSet")]
    PodNotOfDaemonSet,
    #[error("V5: the Node is gone")]
    NodeGone,
    #[error("V5: another Node has the name")]
    NodeReplaced,
    #[error("V5: the Node is being deleted")]
    NodeBeingDeleted,
    #[error("V9: {0:?} in the Node's podCIDRs is no pod range")]
    MalformedRange(String),
    #[error("V9: {0} in the Node's podCIDRs is larger than node_prefix_lengths allow")]
    RangeTooLarge(PodCidr),
    #[error("V9: the Node's pod ranges are not those of its live certificate")]
    RangesChanged,
    #[error("V9: pod range {range} is {owner}'s")]
    RangeTaken { range: PodCidr, owner: NodeName },
}

impl Refusal {
    /// A short constant name for counters.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NoAuthority => "no_authority",
            Self::UnknownToken => "unknown_token",
            Self::WrongMac => "wrong_mac",
            Self::TokenUsed => "token_used",
            Self::TokenExpired => "token_expired",
            Self::Revoked => "revoked",
            Self::ForeignTrustDomain => "foreign_trust_domain",
            Self::WrongUid => "wrong_uid",
            Self::WrongName => "wrong_name",
            Self::NameTaken => "name_taken",
            Self::KeyOfRoot => "key_of_root",
            Self::KeyOfAnotherNode => "key_of_another_node",
            Self::RetiredKey => "retired_key",
            Self::AddressCount(_) => "address_count",
            Self::AddressNotAllowed(_) => "address_not_allowed",
            Self::AddressTaken { .. } => "address_taken",
            Self::RangesOutsideCluster => "ranges_outside_cluster",
            Self::NamesAddresses => "names_addresses",
            Self::NotStamped => "not_stamped",
            Self::StampedInFolder => "stamped_in_folder",
            Self::NotTheDaemon(_) => "not_the_daemon",
            Self::NoPodBehindToken => "no_pod_behind_token",
            Self::NoNodeBehindToken => "no_node_behind_token",
            Self::AmbiguousStamps => "ambiguous_stamps",
            Self::PodGone => "pod_gone",
            Self::PodReplaced => "pod_replaced",
            Self::PodOfAnotherAccount => "pod_of_another_account",
            Self::PodOnAnotherNode => "pod_on_another_node",
            Self::PodNotOfDaemonSet => "pod_not_of_daemon_set",
            Self::NodeGone => "node_gone",
            Self::NodeReplaced => "node_replaced",
            Self::NodeBeingDeleted => "node_being_deleted",
            Self::MalformedRange(_) => "malformed_range",
            Self::RangeTooLarge(_) => "range_too_large",
            Self::RangesChanged => "ranges_changed",
            Self::RangeTaken { .. } => "range_taken",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Rule and label of every reason, read from this file: an enum cannot be walked.
    fn reasons() -> Vec<(&'static str, &'static str)> {
        let code = include_str!("refusal.rs");
        let labels = code.lines().filter_map(|line| {
            let (variant, label) = line.trim().strip_prefix("Self::")?.split_once(" => ")?;
            Some((variant.split(['(', ' ']).next()?, label.split('"').nth(1)?))
        });
        let rule = |variant: &str| {
            let (before, _) = code
                .split_once(&format!("    {variant},"))
                .or_else(|| code.split_once(&format!("    {variant}(")))
                .or_else(|| code.split_once(&format!("    {variant} {{")))?;
            let (_, text) = before.rsplit_once("#[error(\"")?;
            text.split(':').next()
        };
        labels
            .map(|(variant, label)| (rule(variant).unwrap(), label))
            .collect()
    }

    #[test]
    fn every_reason_has_its_own_label() {
        let reasons = reasons();
        let labels: BTreeSet<_> = reasons.iter().map(|(_, label)| label).collect();

        assert_eq!(labels.len(), reasons.len());
    }

    #[test]
    fn every_reason_stands_in_the_document_under_its_rule() {
        let document = include_str!("../../../docs/enrolment.md");

        let reasons = reasons();

        assert!(reasons.len() >= 36, "{reasons:?}");
        for (rule, label) in reasons {
            let row = document
                .lines()
                .find(|line| line.starts_with(&format!("| {rule} |")));
            assert!(
                row.is_some_and(|row| row.contains(&format!("`{label}`"))),
                "{rule}: {label}"
            );
        }
    }
}
