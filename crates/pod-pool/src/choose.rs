//! Which addresses of the node's ranges a pod may have, in the order in which they are tried.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni_protocol::node_state::NodeState;
use ipnetwork::IpNetwork;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The family's name, for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Whether a range is of this family.
    pub(crate) fn holds(self, range: &IpNetwork) -> bool {
        match self {
            Self::V4 => range.is_ipv4(),
            Self::V6 => range.is_ipv6(),
        }
    }
}

/// The families that the ranges have, IPv4 first: runtimes take the first address as the pod's own.
pub(crate) fn families(ranges: &[IpNetwork]) -> Vec<Family> {
    let present = |family: &Family| ranges.iter().any(|range| family.holds(range));
    [Family::V4, Family::V6]
        .into_iter()
        .filter(present)
        .collect()
}

/// All addresses of a family that pods may have, lowest first.
pub(crate) fn candidates(node: &NodeState, family: Family) -> impl Iterator<Item = IpAddr> + '_ {
    let ranges = node.pod_ranges.iter();
    let all = ranges
        .filter(move |range| family.holds(range))
        .flat_map(usable);
    all.filter(|address| !node.reserved.contains(address))
}

/// A range without its ends: the first address is the subnet's own (RFC 4291, section 2.6.1, in
/// IPv6), the last one IPv4's broadcast, and hosts with an older mask in mind still mean that.
fn usable(range: &IpNetwork) -> Box<dyn Iterator<Item = IpAddr>> {
    match range {
        IpNetwork::V4(range) => {
            let (first, last) = (range.network().to_bits(), range.broadcast().to_bits());
            let inner = if range.prefix() >= 31 {
                first..=last
            } else {
                first + 1..=last - 1
            };
            Box::new(inner.map(|bits| Ipv4Addr::from_bits(bits).into()))
        }
        IpNetwork::V6(range) => {
            let (first, last) = (range.network().to_bits(), range.broadcast().to_bits());
            let inner = if range.prefix() >= 127 {
                first..=last
            } else {
                first + 1..=last
            };
            Box::new(inner.map(|bits| Ipv6Addr::from_bits(bits).into()))
        }
    }
}
