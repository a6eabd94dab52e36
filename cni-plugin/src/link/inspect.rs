//! Compares a pod's link with what ADD made, for CHECK; and what the pool asks the kernel.

use std::net::IpAddr;
use std::time::Duration;

use pod_pool::{Kernel, Links, NodeLinks};

use super::{LinkError, PodLink, gateway, query};
use crate::deadline::Deadline;
use crate::netlink::{NetlinkError, Rtnl};
use crate::netns::PodNetns;

impl Links for Rtnl {
    fn has_link(&self, name: &str) -> bool {
        NodeLinks.has_link(name)
    }

    fn since_boot(&self) -> Duration {
        NodeLinks.since_boot()
    }
}

impl Kernel for Rtnl {
    type Error = NetlinkError;

    fn has_host_route(&mut self, address: IpAddr) -> Result<bool, NetlinkError> {
        let route = query::route_to(self, address)?;
        Ok(route.is_some_and(|route| query::is_host_route(&route)))
    }
}

impl PodLink<'_> {
    /// Everything that is not as ADD left it, in words; empty when all is well.
    pub(crate) fn differences(
        &self,
        rtnl: &mut Rtnl,
        netns: &PodNetns,
        deadline: Deadline,
    ) -> Result<Vec<String>, LinkError> {
        let mut found = self.node_end_differences(rtnl)?;
        found.extend(netns.run(|| self.pod_end_differences(&mut Rtnl::open(deadline)?))?);
        Ok(found)
    }

    fn node_end_differences(&self, rtnl: &mut Rtnl) -> Result<Vec<String>, LinkError> {
        let name = &self.names.node;
        let Some(link) = query::find_link(rtnl, name)? else {
            return Ok(vec![format!("link {name} is gone from the node")]);
        };
        let mut found = Vec::new();
        if !link.is_up {
            found.push(format!("link {name} is down"));
        }
        if link.group != self.group {
            let (is, must) = (link.group, self.group);
            found.push(format!(
                "link {name} is in group {is}, the guard knows {must}"
            ));
        }
        for address in self.addresses {
            let route = query::route_to(rtnl, *address)?;
            let right =
                |route: &_| query::is_host_route(route) && query::device(route) == Some(link.index);
            if !route.as_ref().is_some_and(right) {
                found.push(format!(
                    "route to {address} by {name} is gone from the node"
                ));
            }
            if !query::has_neighbour(rtnl, link.index, *address, &self.names.pod_mac.0)? {
                found.push(format!(
                    "neighbour {address} of {name} is gone from the node"
                ));
            }
        }
        Ok(found)
    }

    fn pod_end_differences(&self, rtnl: &mut Rtnl) -> Result<Vec<String>, LinkError> {
        let name = self.interface.as_str();
        let Some(link) = query::find_link(rtnl, name)? else {
            return Ok(vec![format!("interface {name} is gone from the pod")]);
        };
        let mut found = Vec::new();
        if !link.is_up {
            found.push(format!("interface {name} of the pod is down"));
        }
        if link.mac != self.names.pod_mac.0 {
            found.push(format!(
                "interface {name} of the pod has another link-layer address"
            ));
        }
        let present = query::addresses_of(rtnl, link.index)?;
        for address in self.addresses {
            let gateway = gateway(*address);
            if !present.contains(address) {
                found.push(format!("address {address} is gone from {name} of the pod"));
            }
            if !query::has_default_route(rtnl, link.index, gateway)? {
                found.push(format!("default route via {gateway} is gone from the pod"));
            }
            if !query::has_neighbour(rtnl, link.index, gateway, &self.names.node_mac.0)? {
                found.push(format!("neighbour {gateway} is gone from the pod"));
            }
        }
        Ok(found)
    }
}
