//! What the guard has to look like on this node: the only input of everything else here.
//!
//! A plan is plain values. The ruleset ([`super::ruleset`]), the routes and rules
//! ([`super::routes`]) and the settings ([`super::settings`]) are functions of it, so two equal
//! plans give the same bytes and a repair is the difference between plan and kernel.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use node_identity::{PodCidr, PodRanges, contains, overlap};
use thiserror::Error;

/// The table that holds nothing but "into the tunnel, else unreachable". The number is arbitrary.
pub(crate) const ROUTE_TABLE: u32 = 5077;
/// The nftables table that translates sources. Family `inet`.
pub(crate) const NAT_TABLE: &str = "sotto_nat";

/// The guard of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuardPlan {
    /// Name of the tun device.
    pub(crate) tun: String,
    /// MTU of the tun device and of the routes into it, in bytes.
    pub(crate) mtu: u16,
    /// Every pod range of the cluster.
    pub(crate) cluster: PodRanges,
    /// This node's part of it.
    pub(crate) own: PodRanges,
    /// Ranges of Service addresses; untranslated they must never leave in clear.
    pub(crate) services: Vec<IpNetwork>,
    /// Addresses of all nodes, this one included.
    pub(crate) nodes: Vec<IpAddr>,
    /// UDP ports of the lanes, the same on every node.
    pub(crate) ports: RangeInclusive<u16>,
    /// Addresses of the tun device: one of each family that the node has a range in.
    pub(crate) tun_addresses: Vec<IpAddr>,
}

/// Why a plan makes no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum PlanError {
    /// A range of this node is not the cluster's.
    #[error(
        "use pod range {0}: it is outside cluster_pod_ranges, ask the controller which ranges it gives out"
    )]
    OwnRangeOutsideCluster(String),
    /// The device's address would have no owner.
    #[error("give {tun} the address {address}: it is outside this node's pod ranges")]
    TunAddressOutsideOwnRange {
        /// The device.
        tun: String,
        /// The address.
        address: IpAddr,
    },
    /// A family has a range but no address to translate sources to.
    #[error("give {0} an address: none lies in a pod range of that family")]
    NoTunAddress(&'static str),
    /// Services and pods overlap.
    #[error(
        "use service range {0}: it overlaps cluster_pod_ranges, one of the two settings is wrong"
    )]
    ServiceOverlapsPods(IpNetwork),
    /// The tunnel would run through itself.
    #[error(
        "reach node {0}: its address is inside cluster_pod_ranges, so the tunnel would run through itself"
    )]
    NodeInsidePodRange(IpAddr),
    /// No port.
    #[error("open lanes: the range of tunnel ports is empty, check port and lanes")]
    NoPorts,
    /// Too small for IPv6.
    #[error("set an MTU of {0} bytes on the tunnel: IPv6 needs 1280, check endpoint_mtu")]
    MtuTooSmall(u16),
}

impl GuardPlan {
    /// Says whether the parts of the plan fit together.
    ///
    /// # Errors
    /// The first contradiction found.
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        self.check_ranges()?;
        self.check_addresses()?;
        if self.ports.is_empty() {
            return Err(PlanError::NoPorts);
        }
        if self.own.ipv6().next().is_some() && self.mtu < 1280 {
            return Err(PlanError::MtuTooSmall(self.mtu));
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), PlanError> {
        let clusters = |own: &&PodCidr| {
            let mut cluster = self.cluster.iter();
            cluster.any(|pods| contains(pods.to_network(), own.to_network()))
        };
        if let Some(own) = self.own.iter().find(|own| !clusters(own)) {
            return Err(PlanError::OwnRangeOutsideCluster(own.to_string()));
        }
        let is_pods = |service: &&IpNetwork| {
            let mut cluster = self.cluster.iter();
            cluster.any(|pods| overlap(pods.to_network(), **service))
        };
        let overlapping = self.services.iter().find(is_pods);
        overlapping.map_or(Ok(()), |service| {
            Err(PlanError::ServiceOverlapsPods(*service))
        })
    }

    fn check_addresses(&self) -> Result<(), PlanError> {
        if let Some(&address) = self.tun_addresses.iter().find(|a| !self.own.contains(**a)) {
            return Err(PlanError::TunAddressOutsideOwnRange {
                tun: self.tun.clone(),
                address,
            });
        }
        if self.own.ipv4().next().is_some() && self.tun_address(Family::Ipv4).is_none() {
            return Err(PlanError::NoTunAddress("IPv4"));
        }
        if self.own.ipv6().next().is_some() && self.tun_address(Family::Ipv6).is_none() {
            return Err(PlanError::NoTunAddress("IPv6"));
        }
        let inside = self.nodes.iter().find(|node| self.cluster.contains(**node));
        inside.map_or(Ok(()), |node| Err(PlanError::NodeInsidePodRange(*node)))
    }

    /// The cluster's pod ranges of one family.
    pub(crate) fn cluster_networks(&self, family: Family) -> Vec<IpNetwork> {
        networks(&self.cluster, family)
    }

    /// This node's pod ranges of one family.
    pub(crate) fn own_networks(&self, family: Family) -> Vec<IpNetwork> {
        networks(&self.own, family)
    }

    /// The Service ranges of one family, in order and without repetition.
    pub(crate) fn service_networks(&self, family: Family) -> Vec<IpNetwork> {
        let mut services: Vec<_> = self
            .services
            .iter()
            .filter(|service| Family::of(service.ip()) == family)
            .copied()
            .collect();
        services.sort();
        services.dedup();
        services
    }

    /// The node addresses of one family, in order and without repetition.
    pub(crate) fn node_addresses(&self, family: Family) -> Vec<IpAddr> {
        let mut nodes: Vec<_> = self
            .nodes
            .iter()
            .copied()
            .filter(|node| Family::of(*node) == family)
            .collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// The tun device's address of one family.
    pub(crate) fn tun_address(&self, family: Family) -> Option<IpAddr> {
        self.tun_addresses
            .iter()
            .copied()
            .find(|address| Family::of(*address) == family)
    }
}

/// One of the two families, which never share a rule, a route or a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both, in the order in which everything is written.
    pub(crate) const BOTH: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::Ipv4
        } else {
            Self::Ipv6
        }
    }
}

fn networks(ranges: &PodRanges, family: Family) -> Vec<IpNetwork> {
    ranges
        .iter()
        .filter(|range| range.is_ipv4() == (family == Family::Ipv4))
        .map(PodCidr::to_network)
        .collect()
}

#[cfg(test)]
mod tests;
