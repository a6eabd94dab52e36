//! The pod's end of a link: its addresses, its gateways, its default routes.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};

use super::{LinkError, PodLink, READY_RETRY, gateway, query, request, sysctl};
use crate::deadline::Deadline;
use crate::netlink::{NetlinkError, Rtnl};

impl PodLink<'_> {
    /// Sets the pod's end up; runs in the pod's namespace.
    pub(super) fn set_up_pod_end(
        &self,
        rtnl: &mut Rtnl,
        deadline: Deadline,
    ) -> Result<(), LinkError> {
        let name = self.interface.as_str();
        let index = self.index_of(rtnl, name)?;
        sysctl::set(sysctl::Version::V4, name, sysctl::POD_V4)?;
        if sysctl::has_ipv6(name) {
            sysctl::set(sysctl::Version::V6, name, sysctl::POD_V6)?;
            let action = format!("stop address generation on {name}");
            rtnl.ask(request::no_generated_address(index), 0, action)?;
        }
        rtnl.ask(request::link_up(index), 0, format!("set {name} up"))?;
        for address in self.addresses {
            let gateway = gateway(*address);
            let action = format!("add address {address} to {name}");
            rtnl.ask(
                request::new_address(index, *address),
                request::CREATE,
                action,
            )?;
            let neighbour = request::permanent_neighbour(index, gateway, self.names.node_mac);
            let action = format!("add neighbour {gateway} to {name}");
            rtnl.ask(neighbour, NLM_F_CREATE | NLM_F_REPLACE, action)?;
            let route = request::default_route(index, gateway);
            let action = format!("add default route via {gateway} on {name}");
            rtnl.ask(route, request::CREATE, action)?;
        }
        self.wait_until_local(rtnl, deadline)
    }

    /// The kernel answers for a new IPv6 address only when a work item of its own has run, without
    /// duplicate-address detection too; until then the pod throws its first packets away.
    fn wait_until_local(&self, rtnl: &mut Rtnl, deadline: Deadline) -> Result<(), LinkError> {
        for address in self.addresses {
            while !query::is_local(rtnl, *address)? {
                if deadline.remaining().is_none() {
                    return Err(LinkError::NotOperational(self.interface.to_string()));
                }
                std::thread::sleep(READY_RETRY);
            }
        }
        Ok(())
    }

    /// Index of an end that was just made.
    pub(super) fn index_of(&self, rtnl: &mut Rtnl, name: &str) -> Result<u32, LinkError> {
        match query::find_link(rtnl, name)? {
            Some(link) => Ok(link.index),
            None => Err(LinkError::Netlink(NetlinkError::Refused {
                action: format!("find link {name}"),
                source: std::io::Error::from_raw_os_error(libc::ENODEV),
            })),
        }
    }
}
