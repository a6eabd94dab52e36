//! Reads links, addresses and routes from the kernel.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Gateway, HostLink, HostNetworks, HostRoute};
use crate::io::netlink::{Netlink, NetlinkError};

const NETLINK_ROUTE: isize = 0;

/// Reads everything once.
///
/// # Errors
/// When the kernel does not tell.
pub(crate) fn read() -> Result<HostNetworks, NetlinkError> {
    let mut netlink = Netlink::open(NETLINK_ROUTE)?;
    let mut host = HostNetworks::default();
    let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
    for message in list(&mut netlink, "list interfaces", &links)? {
        if let RouteNetlinkMessage::NewLink(link) = message {
            host.links.push(read_link(&link));
        }
    }
    let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    for message in list(&mut netlink, "list addresses", &addresses)? {
        if let RouteNetlinkMessage::NewAddress(address) = message {
            add_address(&mut host, &address);
        }
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        for message in list(
            &mut netlink,
            "list routes",
            &RouteNetlinkMessage::GetRoute(message),
        )? {
            if let RouteNetlinkMessage::NewRoute(route) = message {
                host.routes.extend(read_route(&route));
            }
        }
    }
    Ok(host)
}

fn list(
    netlink: &mut Netlink,
    what: &'static str,
    request: &RouteNetlinkMessage,
) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
    let mut body = vec![0; request.buffer_len()];
    request.serialize(&mut body);
    let answers = netlink.dump(what, request.message_type(), &body)?;
    let parse = |kind, body: &[u8]| {
        let mut header = NetlinkHeader::default();
        header.message_type = kind;
        RouteNetlinkMessage::deserialize(&header, body).ok()
    };
    Ok(answers
        .iter()
        .filter_map(|answer| parse(answer.kind, &answer.body))
        .collect())
}

fn read_link(link: &LinkMessage) -> HostLink {
    let mut found = HostLink {
        index: link.header.index,
        name: String::new(),
        group: 0,
        mtu: 0,
        addresses: Vec::new(),
    };
    for attribute in &link.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            found.name.clone_from(name);
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            found.mtu = *mtu;
        } else if let LinkAttribute::Group(group) = attribute {
            found.group = *group;
        }
    }
    found
}

/// On a point-to-point link `Address` is the other end's, so `Local` is preferred.
fn add_address(host: &mut HostNetworks, message: &AddressMessage) {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    let local = find(|attribute| {
        if let AddressAttribute::Local(address) = attribute {
            Some(*address)
        } else {
            None
        }
    });
    let other = find(|attribute| {
        if let AddressAttribute::Address(address) = attribute {
            Some(*address)
        } else {
            None
        }
    });
    let network = local
        .or(other)
        .and_then(|address| IpNetwork::new(address, message.header.prefix_len).ok());
    let link = host
        .links
        .iter_mut()
        .find(|link| link.index == message.header.index);
    if let (Some(link), Some(network)) = (link, network) {
        link.addresses.push(network);
    }
}

fn read_route(route: &RouteMessage) -> Option<HostRoute> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let mut found = HostRoute {
        destination: default_route(route.header.address_family)?,
        link: None,
        gateway: Gateway::OnLink,
        protocol: route.header.protocol.into(),
    };
    for attribute in &route.attributes {
        if let RouteAttribute::Destination(destination) = attribute {
            found.destination = IpNetwork::new(
                address(destination)?,
                route.header.destination_prefix_length,
            )
            .ok()?;
        } else if let RouteAttribute::Oif(link) = attribute {
            found.link = Some(*link);
        } else if matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_)
        ) {
            found.gateway = Gateway::Via;
        }
    }
    Some(found)
}

fn default_route(family: AddressFamily) -> Option<IpNetwork> {
    let unspecified: IpAddr = if family == AddressFamily::Inet {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    IpNetwork::new(unspecified, 0).ok()
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some((*address).into())
    } else if let RouteAddress::Inet6(address) = address {
        Some((*address).into())
    } else {
        None
    }
}
