//! What the kernel has at the moment: links, addresses, routes; and whether the configuration can
//! live with them.
//!
//! `check_networks` is pure. What Sotto itself left behind in an earlier life is no conflict: its
//! tun, links of the pods' group, routes of its protocol.

mod read;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use cni_protocol::contract::{POD_LINK_GROUP, ROUTE_PROTOCOL, TUN_NAME};
use ipnetwork::IpNetwork;
use node_identity::{PodCidr, contains, overlap};

use crate::config::{Config, ConfigError, check_mtu};

pub(crate) use read::read;

/// The part of the kernel's network state that matters before anything is changed.
#[derive(Debug, Default)]
pub(crate) struct HostNetworks {
    /// All links.
    pub(crate) links: Vec<HostLink>,
    /// All unicast routes of all tables but the kernel's own of local addresses.
    pub(crate) routes: Vec<HostRoute>,
}

/// A link and its addresses.
#[derive(Debug)]
pub(crate) struct HostLink {
    /// The kernel's number for it.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// Its group.
    pub(crate) group: u32,
    /// The largest packet it takes, in bytes.
    pub(crate) mtu: u32,
    /// Its addresses, each with the prefix of its subnet.
    pub(crate) addresses: Vec<IpNetwork>,
}

/// A unicast route.
#[derive(Debug)]
pub(crate) struct HostRoute {
    /// Where it leads.
    pub(crate) destination: IpNetwork,
    /// The link it leaves by, if it names one.
    pub(crate) link: Option<u32>,
    /// Whether a router is on the way: then neighbours on the link do not have these addresses.
    pub(crate) gateway: Gateway,
    /// Who made it (`rtm_protocol`).
    pub(crate) protocol: u8,
}

/// Whether a route has a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// The destination is on the link itself.
    OnLink,
    /// A router is asked.
    Via,
}

impl HostLink {
    fn is_ours(&self) -> bool {
        self.name == TUN_NAME || self.group == POD_LINK_GROUP
    }
}

impl HostNetworks {
    /// The link that carries an address.
    pub(crate) fn link_of(&self, address: IpAddr) -> Option<&HostLink> {
        self.links
            .iter()
            .find(|link| link.addresses.iter().any(|own| own.ip() == address))
    }

    fn is_ours(&self, route: &HostRoute) -> bool {
        route.protocol == ROUTE_PROTOCOL
            || route.link.is_some_and(|index| {
                self.links
                    .iter()
                    .any(|link| link.index == index && link.is_ours())
            })
    }
}

/// Refuses pod ranges that the host already uses, and endpoints it does not have.
///
/// # Errors
/// The first conflict, as a refusal of the key that has to change.
pub(crate) fn check_networks(config: &Config, host: &HostNetworks) -> Result<(), ConfigError> {
    for pods in config.cluster_pod_ranges.iter() {
        check_addresses(pods, host)?;
        check_routes(pods, host)?;
    }
    Ok(())
}

/// The MTU between the endpoints: the setting, or the smallest of their links.
///
/// # Errors
/// When an endpoint is not on this host, its link carries less than the setting says, or the tun
/// would be too small for the pods.
pub(crate) fn endpoint_mtu(config: &Config, host: &HostNetworks) -> Result<u16, ConfigError> {
    let mut smallest = u16::MAX;
    for endpoint in &config.endpoints {
        let link = host.link_of(*endpoint).ok_or_else(|| {
            ConfigError::value(
                "endpoints",
                format!("\"{endpoint}\""),
                "no link of this host has it, correct it or add it to a link",
            )
        })?;
        let mtu = u16::try_from(link.mtu).unwrap_or(u16::MAX);
        if let Some(wanted) = config.endpoint_mtu.filter(|wanted| *wanted > mtu) {
            let cure = format!(
                "link {} of endpoint {endpoint} carries {mtu} at most, lower the one or raise the other",
                link.name
            );
            return Err(ConfigError::value("endpoint_mtu", wanted, cure));
        }
        smallest = smallest.min(mtu);
    }
    let mtu = config.endpoint_mtu.unwrap_or(smallest);
    check_mtu(&config.cluster_pod_ranges, mtu)?;
    Ok(mtu)
}

fn check_addresses(pods: &PodCidr, host: &HostNetworks) -> Result<(), ConfigError> {
    for link in host.links.iter().filter(|link| !link.is_ours()) {
        if let Some(address) = link
            .addresses
            .iter()
            .find(|address| overlap(subnet(**address), pods.to_network()))
        {
            let cure = format!(
                "link {} of this host has {address}, choose other pod ranges or take the address away",
                link.name
            );
            return Err(ConfigError::value(
                "cluster_pod_ranges",
                format!("\"{pods}\""),
                cure,
            ));
        }
    }
    Ok(())
}

/// A route wider than the pod range by way of a router is how any larger network looks from inside,
/// and the pods' own routes outrank it. Anything else says that somebody lives there already.
fn check_routes(pods: &PodCidr, host: &HostNetworks) -> Result<(), ConfigError> {
    let pods_network = pods.to_network();
    for route in host.routes.iter().filter(|route| !host.is_ours(route)) {
        let wider = contains(route.destination, pods_network) && route.destination != pods_network;
        let conflict =
            overlap(route.destination, pods_network) && !(wider && route.gateway == Gateway::Via);
        if conflict && route.destination.prefix() > 0 {
            let cure = format!(
                "this host has a route to {}, choose other pod ranges or remove the route",
                route.destination
            );
            return Err(ConfigError::value(
                "cluster_pod_ranges",
                format!("\"{pods}\""),
                cure,
            ));
        }
    }
    Ok(())
}

fn subnet(address: IpNetwork) -> IpNetwork {
    IpNetwork::new(address.network(), address.prefix()).unwrap_or(address)
}
