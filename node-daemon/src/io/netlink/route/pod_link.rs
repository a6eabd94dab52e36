//! What hangs on the node's end of a pod's link: the routes and neighbours that the plugin made.

use std::net::IpAddr;

use cni_protocol::contract::ROUTE_PROTOCOL;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::{NetlinkError, ObservedRoute, RouteNetlink, family};
use crate::guard::plan::Family;
use crate::guard::pod_links::Neighbour;

impl RouteNetlink {
    /// Lists the pods' host routes: link and address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn pod_routes(&mut self) -> Result<Vec<(u32, IpAddr)>, NetlinkError> {
        let routes = self.routes()?;
        let pods = routes.iter().filter(|route| route.is_pod_route());
        Ok(pods.filter_map(link_and_address).collect())
    }

    /// Adds a pod's host route.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn add_pod_route(&mut self, link: u32, pod: IpAddr) -> Result<(), NetlinkError> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(Family::of(pod)),
            destination_prefix_length: if pod.is_ipv4() { 32 } else { 128 },
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Other(ROUTE_PROTOCOL),
            // No gateway: IPv4 wants that said, IPv6 has no scopes of routes.
            scope: if pod.is_ipv4() {
                RouteScope::Link
            } else {
                RouteScope::Universe
            },
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes = vec![
            RouteAttribute::Destination(pod.into()),
            RouteAttribute::Oif(link),
        ];
        let request = RouteNetlinkMessage::NewRoute(message);
        self.change("add a pod's route", &request, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Lists the neighbours that are never asked for.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn permanent_neighbours(&mut self) -> Result<Vec<Neighbour>, NetlinkError> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let messages = self.list("list neighbours", &request)?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewNeighbour(message) => permanent(message),
                _ => None,
            })
            .collect())
    }

    /// Adds such a neighbour.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn add_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(Family::of(neighbour.address));
        message.header.ifindex = neighbour.link;
        message.header.state = NeighbourState::Permanent;
        let destination = match neighbour.address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        message.attributes = vec![
            NeighbourAttribute::Destination(destination),
            NeighbourAttribute::LinkLayerAddress(neighbour.hardware.clone()),
        ];
        let request = RouteNetlinkMessage::NewNeighbour(message);
        self.change(
            "add a pod's neighbour entry",
            &request,
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }
}

fn link_and_address(route: &ObservedRoute) -> Option<(u32, IpAddr)> {
    let (mut link, mut address) = (None, None);
    for attribute in &route.message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Destination(RouteAddress::Inet(found)) => {
                address = Some(IpAddr::from(*found));
            }
            RouteAttribute::Destination(RouteAddress::Inet6(found)) => {
                address = Some(IpAddr::from(*found));
            }
            _ => {}
        }
    }
    Some((link?, address?))
}

fn permanent(message: &NeighbourMessage) -> Option<Neighbour> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut address, mut hardware) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => {
                address = Some(IpAddr::from(*found));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                address = Some(IpAddr::from(*found));
            }
            NeighbourAttribute::LinkLayerAddress(found) => hardware = Some(found.clone()),
            _ => {}
        }
    }
    Some(Neighbour {
        link: message.header.ifindex,
        address: address?,
        hardware: hardware?,
    })
}
