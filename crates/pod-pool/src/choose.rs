//! Which addresses of the node's ranges a pod may have, in the order in which they are tried; or
//! whether it may have those that another plugin assigned.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni_protocol::node_state::NodeState;
use ipnetwork::IpNetwork;

use crate::error::unanswered;
use crate::resting::Resting;
use crate::{Kernel, PoolError};

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

/// Whether [`usable`] leaves an address out.
fn is_an_end(range: &IpNetwork, address: IpAddr) -> bool {
    match range {
        IpNetwork::V4(range) => {
            let ends = [range.network(), range.broadcast()];
            range.prefix() < 31 && ends.iter().any(|end| address == *end)
        }
        IpNetwork::V6(range) => range.prefix() < 127 && address == range.network(),
    }
}

/// The search for free addresses, with what is known to be used.
pub(crate) struct Choice<'a> {
    pub(crate) node: &'a NodeState,
    pub(crate) used: BTreeSet<IpAddr>,
}

impl Choice<'_> {
    /// A free address of each family that the node has.
    pub(crate) fn of_each_family(
        mut self,
        resting: &mut Resting,
        kernel: &mut impl Kernel,
    ) -> Result<Vec<IpAddr>, PoolError> {
        let mut addresses = Vec::new();
        for family in families(&self.node.pod_ranges) {
            let address = self.one(family, resting, kernel)?;
            self.used.insert(address);
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// What another plugin assigned, if the node may give it away. Its rest is that plugin's
    /// business: refused, it would only be assigned again.
    pub(crate) fn assigned(
        &self,
        addresses: &[IpAddr],
        kernel: &mut impl Kernel,
    ) -> Result<Vec<IpAddr>, PoolError> {
        let fours = addresses.iter().filter(|it| it.is_ipv4()).count();
        if addresses.is_empty() || fours > 1 || addresses.len() - fours > 1 {
            return Err(PoolError::NotOneOfEach(addresses.to_vec()));
        }
        for address in addresses {
            self.require_the_nodes(*address)?;
            let taken = self.used.contains(address);
            if taken || kernel.has_host_route(*address).map_err(unanswered)? {
                return Err(PoolError::Taken(*address));
            }
        }
        let mut addresses = addresses.to_vec();
        addresses.sort_by_key(IpAddr::is_ipv6);
        Ok(addresses)
    }

    fn require_the_nodes(&self, address: IpAddr) -> Result<(), PoolError> {
        let mut ranges = self.node.pod_ranges.iter();
        let reason = match ranges.find(|range| range.contains(address)) {
            None => {
                "it lies outside this node's pod ranges, so guard and peers would drop its packets"
            }
            Some(_) if self.node.reserved.contains(&address) => "it is the tunnel device's own",
            Some(range) if is_an_end(range, address) => "it is an end of the range",
            Some(_) => return Ok(()),
        };
        let ranges: Vec<_> = self
            .node
            .pod_ranges
            .iter()
            .map(ToString::to_string)
            .collect();
        Err(PoolError::NotTheNodes {
            address,
            reason,
            ranges: ranges.join(", "),
        })
    }

    /// A free address; when there is none, the oldest resting ones lose the rest of their rest.
    fn one(
        &self,
        family: Family,
        resting: &mut Resting,
        kernel: &mut impl Kernel,
    ) -> Result<IpAddr, PoolError> {
        loop {
            for address in candidates(self.node, family) {
                let taken = self.used.contains(&address) || resting.contains(address);
                if !taken && !kernel.has_host_route(address).map_err(unanswered)? {
                    return Ok(address);
                }
            }
            if !resting.wake_oldest()? {
                return Err(self.exhausted(family));
            }
        }
    }

    fn exhausted(&self, family: Family) -> PoolError {
        let ranges = self.node.pod_ranges.iter();
        let of_family: Vec<_> = ranges
            .filter(|range| family.holds(range))
            .map(ToString::to_string)
            .collect();
        PoolError::Exhausted {
            family: family.name(),
            ranges: of_family.join(", "),
            held: self.used.len(),
        }
    }
}
