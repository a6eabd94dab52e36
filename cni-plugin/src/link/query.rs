//! Questions about links, addresses, routes and neighbours, and what is read of the answers.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are the netlink crate's, with dozens of kinds that do not matter here"
)]

use std::net::IpAddr;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::request::{self, family, full_length};
use crate::netlink::{NetlinkError, Rtnl};

/// What is read of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundLink {
    pub(super) index: u32,
    pub(super) is_veth: bool,
    pub(super) is_up: bool,
    /// Whether packets pass: carrier is there and the kernel has noticed.
    pub(super) is_operational: bool,
    pub(super) group: u32,
    pub(super) mac: Vec<u8>,
}

/// Asks for a link by name.
pub(super) fn find_link(rtnl: &mut Rtnl, name: &str) -> Result<Option<FoundLink>, NetlinkError> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    let action = format!("find link {name}");
    match rtnl.ask(RouteNetlinkMessage::GetLink(message), 0, action) {
        Ok(answers) => Ok(answers.iter().find_map(found_link)),
        Err(error) if error.number() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn found_link(answer: &RouteNetlinkMessage) -> Option<FoundLink> {
    let RouteNetlinkMessage::NewLink(message) = answer else {
        return None;
    };
    let mut link = FoundLink {
        index: message.header.index,
        is_veth: false,
        is_up: message.header.flags.contains(LinkFlags::Up),
        is_operational: false,
        group: 0,
        mac: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Group(group) => link.group = *group,
            LinkAttribute::OperState(state) => link.is_operational = *state == State::Up,
            LinkAttribute::Address(mac) => link.mac.clone_from(mac),
            LinkAttribute::LinkInfo(infos) => {
                link.is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            _ => {}
        }
    }
    Some(link)
}

/// Asks which entry of the routing tables an address meets; `None` when it is unreachable.
pub(super) fn route_to(
    rtnl: &mut Rtnl,
    address: IpAddr,
) -> Result<Option<RouteMessage>, NetlinkError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = full_length(address);
    message.header.flags = RouteFlags::FibMatch;
    message
        .attributes
        .push(RouteAttribute::Destination(address.into()));
    let action = format!("look up the route to {address}");
    match rtnl.ask(RouteNetlinkMessage::GetRoute(message), 0, action) {
        Ok(answers) => Ok(answers.into_iter().find_map(route)),
        Err(error) if is_unreachable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the kernel takes packets to an address for its own.
pub(super) fn is_local(rtnl: &mut Rtnl, address: IpAddr) -> Result<bool, NetlinkError> {
    let route = route_to(rtnl, address)?;
    Ok(route.is_some_and(|route| route.header.kind == RouteType::Local))
}

/// The errors of routes of the types unreachable, prohibit and blackhole, and of no route at all.
fn is_unreachable(error: &NetlinkError) -> bool {
    let numbers = [
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EACCES,
        libc::EINVAL,
    ];
    error
        .number()
        .is_some_and(|number| numbers.contains(&number))
}

/// Whether a route leads to one address only.
pub(super) fn is_host_route(route: &RouteMessage) -> bool {
    let length = route.header.destination_prefix_length;
    match route.header.address_family {
        AddressFamily::Inet => length == 32,
        _ => length == 128,
    }
}

/// The device that a route leads to.
pub(super) fn device(route: &RouteMessage) -> Option<u32> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
}

/// The gateway that a route leads to.
fn gateway_of(route: &RouteMessage) -> Option<IpAddr> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some((*address).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some((*address).into()),
            _ => None,
        })
}

/// Whether a neighbour is there for good, with that link-layer address.
pub(super) fn has_neighbour(
    rtnl: &mut Rtnl,
    index: u32,
    address: IpAddr,
    mac: &[u8],
) -> Result<bool, NetlinkError> {
    let question = RouteNetlinkMessage::GetNeighbour(request::neighbour(index, address));
    let action = format!("look up neighbour {address}");
    let answers = match rtnl.ask(question, 0, action) {
        Ok(answers) => answers,
        Err(error) if error.number() == Some(libc::ENOENT) => return Ok(false),
        Err(error) => return Err(error),
    };
    let wanted = NeighbourAttribute::LinkLayerAddress(mac.into());
    Ok(answers.iter().any(|answer| match answer {
        RouteNetlinkMessage::NewNeighbour(entry) => {
            entry.header.state == NeighbourState::Permanent && entry.attributes.contains(&wanted)
        }
        _ => false,
    }))
}

/// Whether everything goes to that gateway by that link.
pub(super) fn has_default_route(
    rtnl: &mut Rtnl,
    index: u32,
    via: IpAddr,
) -> Result<bool, NetlinkError> {
    let question = all_routes(via);
    let answers = rtnl.ask(question, NLM_F_DUMP, "list the pod's routes")?;
    Ok(answers.iter().any(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => {
            route.header.destination_prefix_length == 0
                && device(route) == Some(index)
                && gateway_of(route) == Some(via)
        }
        _ => false,
    }))
}

/// All addresses of a link.
pub(super) fn addresses_of(rtnl: &mut Rtnl, index: u32) -> Result<Vec<IpAddr>, NetlinkError> {
    let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = rtnl.ask(question, NLM_F_DUMP, "list the pod's addresses")?;
    let mut found = Vec::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewAddress(message) = answer
            && message.header.index == index
        {
            found.extend(message.attributes.iter().filter_map(address));
        }
    }
    Ok(found)
}

fn address(attribute: &AddressAttribute) -> Option<IpAddr> {
    match attribute {
        AddressAttribute::Address(address) | AddressAttribute::Local(address) => Some(*address),
        _ => None,
    }
}

/// The question for all routes of an address's family.
fn all_routes(of_family: IpAddr) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(of_family);
    RouteNetlinkMessage::GetRoute(message)
}

fn route(answer: RouteNetlinkMessage) -> Option<RouteMessage> {
    match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    }
}
