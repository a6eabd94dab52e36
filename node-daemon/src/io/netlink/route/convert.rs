//! Our routes and rules to rtnetlink's messages and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni_protocol::contract::ROUTE_PROTOCOL;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::{family, network};
use crate::guard::plan::Family;
use crate::guard::routes::{Route, Rule, RuleVerdict, Way};

const OUR_PROTOCOL: RouteProtocol = RouteProtocol::Other(ROUTE_PROTOCOL);

pub(super) fn is_our_route(message: &RouteMessage) -> bool {
    message.header.protocol == OUR_PROTOCOL
}

pub(super) fn write_route(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(Family::of(route.destination.ip())),
        destination_prefix_length: route.destination.prefix(),
        protocol: OUR_PROTOCOL,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(route.destination.ip().into()),
        RouteAttribute::Priority(route.metric),
        RouteAttribute::Table(route.table),
    ];
    match &route.way {
        Way::Unreachable => {
            message.header.kind = RouteType::Unreachable;
            message.header.scope = RouteScope::Universe;
        }
        Way::Tun {
            device,
            source,
            mtu,
        } => {
            message.header.kind = RouteType::Unicast;
            message.header.scope = RouteScope::Link;
            message.attributes.push(RouteAttribute::Oif(*device));
            message
                .attributes
                .push(RouteAttribute::PrefSource((*source).into()));
            message
                .attributes
                .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(*mtu)]));
        }
    }
    message
}

pub(super) fn read_route(message: &RouteMessage) -> Option<Route> {
    let side = read_family(message.header.address_family)?;
    let mut destination = unspecified(side);
    let mut table = u32::from(message.header.table);
    let (mut metric, mut device, mut source, mut mtu) = (0, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = read_address(address)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::PrefSource(address) => source = read_address(address),
            RouteAttribute::Metrics(metrics) => mtu = read_mtu(metrics),
            RouteAttribute::Gateway(_) | RouteAttribute::MultiPath(_) => return None,
            _ => {}
        }
    }
    let way = match message.header.kind {
        RouteType::Unreachable => Way::Unreachable,
        RouteType::Unicast => Way::Tun {
            device: device?,
            source: source?,
            mtu: mtu?,
        },
        _ => return None,
    };
    let destination = network(destination, message.header.destination_prefix_length)?;
    Some(Route {
        table,
        destination,
        metric,
        way,
    })
}

pub(super) fn is_host_route(message: &RouteMessage) -> bool {
    let whole = match read_family(message.header.address_family) {
        Some(Family::Ipv4) => 32,
        Some(Family::Ipv6) => 128,
        None => return false,
    };
    message.header.kind == RouteType::Unicast && message.header.destination_prefix_length == whole
}

/// What identifies a route when it is deleted.
pub(super) fn route_key(message: &RouteMessage) -> RouteMessage {
    let mut key = RouteMessage::default();
    key.header = message.header.clone();
    key.attributes = message
        .attributes
        .iter()
        .filter(|attribute| {
            matches!(
                attribute,
                RouteAttribute::Destination(_)
                    | RouteAttribute::Table(_)
                    | RouteAttribute::Priority(_)
                    | RouteAttribute::Oif(_)
            )
        })
        .cloned()
        .collect();
    key
}

pub(super) fn is_our_rule(message: &RuleMessage) -> bool {
    message
        .attributes
        .contains(&RuleAttribute::Protocol(OUR_PROTOCOL))
}

pub(super) fn write_rule(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.family);
    message.attributes = vec![
        RuleAttribute::Priority(rule.preference),
        RuleAttribute::Protocol(OUR_PROTOCOL),
    ];
    if let Some(from) = rule.from {
        message.header.src_len = from.prefix();
        message.attributes.push(RuleAttribute::Source(from.ip()));
    }
    if let Some(to) = rule.to {
        message.header.dst_len = to.prefix();
        message.attributes.push(RuleAttribute::Destination(to.ip()));
    }
    if let Some(name) = &rule.from_interface {
        message
            .attributes
            .push(RuleAttribute::Iifname(name.clone()));
    }
    match rule.verdict {
        RuleVerdict::Prohibit => message.header.action = RuleAction::Prohibit,
        RuleVerdict::Goto(preference) => {
            message.header.action = RuleAction::Goto;
            message.attributes.push(RuleAttribute::Goto(preference));
        }
        RuleVerdict::Lookup {
            table,
            suppress_prefix_length,
        } => {
            message.header.action = RuleAction::ToTable;
            message.attributes.push(RuleAttribute::Table(table));
            message.attributes.extend(
                suppress_prefix_length
                    .map(|length| RuleAttribute::SuppressPrefixLen(length.into())),
            );
        }
    }
    message
}

pub(super) fn read_rule(message: &RuleMessage) -> Option<Rule> {
    let side = read_family(message.header.family)?;
    let (mut preference, mut table) = (0, u32::from(message.header.table));
    let (mut from, mut to, mut from_interface) = (None, None, None);
    let (mut suppress_prefix_length, mut target) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(number) => preference = *number,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Source(address) => from = network(*address, message.header.src_len),
            RuleAttribute::Destination(address) => to = network(*address, message.header.dst_len),
            RuleAttribute::Iifname(name) => from_interface = Some(name.clone()),
            RuleAttribute::Goto(number) => target = Some(*number),
            // The kernel writes -1 for "not set".
            RuleAttribute::SuppressPrefixLen(length) => {
                suppress_prefix_length = u8::try_from(*length).ok();
            }
            // A selector that we never set narrows the rule.
            RuleAttribute::FwMark(_)
            | RuleAttribute::Oifname(_)
            | RuleAttribute::UidRange(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::DestinationPortRange(_) => return None,
            _ => {}
        }
    }
    let verdict = match message.header.action {
        RuleAction::ToTable => RuleVerdict::Lookup {
            table,
            suppress_prefix_length,
        },
        RuleAction::Goto => RuleVerdict::Goto(target?),
        RuleAction::Prohibit => RuleVerdict::Prohibit,
        _ => return None,
    };
    Some(Rule {
        family: side,
        preference,
        from,
        to,
        from_interface,
        verdict,
    })
}

fn read_family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::Ipv4),
        AddressFamily::Inet6 => Some(Family::Ipv6),
        _ => None,
    }
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn read_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn read_mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
