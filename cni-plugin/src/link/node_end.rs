//! The node's end of a pod's link: no address, settings before it goes up, routes to the pod last.

use cni_protocol::contract::{POD_FACING_V4, POD_FACING_V6};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};

use super::{LinkError, PodLink, request, sysctl};
use crate::netlink::Rtnl;

impl PodLink<'_> {
    /// Sets the node's end up; runs in the node's namespace.
    pub(super) fn set_up_node_end(&self, rtnl: &mut Rtnl) -> Result<(), LinkError> {
        let name = &self.names.node;
        let index = self.index_of(rtnl, name)?;
        sysctl::set(sysctl::Version::V4, name, &POD_FACING_V4)?;
        if sysctl::has_ipv6(name) {
            sysctl::set(sysctl::Version::V6, name, &POD_FACING_V6)?;
            // The kernel refuses this in the message that makes the link (EAFNOSUPPORT).
            let action = format!("stop address generation on {name}");
            rtnl.ask(request::no_generated_address(index), 0, action)?;
        }
        rtnl.ask(request::link_up(index), 0, format!("set {name} up"))?;
        for address in self.addresses {
            let neighbour = request::permanent_neighbour(index, *address, self.names.pod_mac);
            rtnl.ask(
                neighbour,
                NLM_F_CREATE | NLM_F_REPLACE,
                format!("add neighbour {address} to {name}"),
            )?;
            let route = request::host_route(index, *address);
            let action = format!("add route {address} to {name}");
            rtnl.ask(route, request::CREATE, action)?;
        }
        Ok(())
    }
}
