//! The netlink messages that make, set up and delete a pod's link.

use std::net::IpAddr;
use std::os::fd::RawFd;

use cni_protocol::contract::ROUTE_PROTOCOL;
use cni_protocol::result::MacAddress;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::PodLink;

/// Flags of a request that must not find what it makes.
pub(super) const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// Makes the veth, its other end in the namespace of that file from the start.
pub(super) fn new_veth(link: &PodLink<'_>, netns: RawFd) -> RouteNetlinkMessage {
    let end = |name: &str, mac: MacAddress| {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Mtu(link.mtu.into()),
            LinkAttribute::Address(mac.0.into()),
        ];
        message
    };
    let mut pod = end(link.interface.as_str(), link.names.pod_mac);
    pod.attributes.push(LinkAttribute::NetNsFd(netns));
    let mut node = end(&link.names.node, link.names.node_mac);
    node.attributes.push(LinkAttribute::Group(link.group));
    node.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(pod))),
    ]));
    RouteNetlinkMessage::NewLink(node)
}

/// Stops the kernel from making link-local addresses on a link.
pub(super) fn no_generated_address(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let settings = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
    message.attributes.push(settings);
    RouteNetlinkMessage::SetLink(message)
}

pub(super) fn link_up(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(message)
}

pub(super) fn delete_link(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    RouteNetlinkMessage::DelLink(message)
}

/// A full-length address: no duplicate-address detection (it is unique by construction and DAD costs
/// seconds), no prefix route.
pub(super) fn new_address(index: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.family = family(address);
    message.header.prefix_len = full_length(address);
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        AddressAttribute::Flags(
            AddressFlags::Permanent | AddressFlags::Nodad | AddressFlags::Noprefixroute,
        ),
    ];
    RouteNetlinkMessage::NewAddress(message)
}

/// A neighbour that is never asked for and never forgotten.
pub(super) fn permanent_neighbour(
    index: u32,
    address: IpAddr,
    mac: MacAddress,
) -> RouteNetlinkMessage {
    let mut message = neighbour(index, address);
    message.header.state = NeighbourState::Permanent;
    let mac = NeighbourAttribute::LinkLayerAddress(mac.0.into());
    message.attributes.push(mac);
    RouteNetlinkMessage::NewNeighbour(message)
}

/// The question for one neighbour.
pub(super) fn neighbour(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    let destination = NeighbourAttribute::Destination(destination);
    message.attributes.push(destination);
    message
}

/// The route from the node to a pod's address.
pub(super) fn host_route(index: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = route(address, full_length(address));
    // No gateway: IPv4 wants that said, IPv6 has no scopes of routes.
    if address.is_ipv4() {
        message.header.scope = RouteScope::Link;
    }
    message
        .attributes
        .push(RouteAttribute::Destination(address.into()));
    message.attributes.push(RouteAttribute::Oif(index));
    RouteNetlinkMessage::NewRoute(message)
}

/// The pod's default route. No address of the gateway's subnet is on the link, hence onlink.
pub(super) fn default_route(index: u32, gateway: IpAddr) -> RouteNetlinkMessage {
    let mut message = route(gateway, 0);
    message.header.flags = RouteFlags::Onlink;
    message
        .attributes
        .push(RouteAttribute::Gateway(gateway.into()));
    message.attributes.push(RouteAttribute::Oif(index));
    RouteNetlinkMessage::NewRoute(message)
}

fn route(of_family: IpAddr, length: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(of_family);
    message.header.destination_prefix_length = length;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

pub(super) fn full_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}
