//! Links, addresses, routes and policy rules by rtnetlink.
//!
//! What a node's own and other programs' objects look like is no matter here: a message that
//! cannot be read, or has a shape that we never give, is simply not one of ours.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "rtnetlink's own enums have dozens of variants, of which we use a few"
)]

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{
    NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, NetlinkError, Notices};
use crate::guard::plan::Family;
use crate::guard::routes::{Route, Rule};

mod convert;
mod pod_link;

const NETLINK_ROUTE: isize = 0;
/// `RTNLGRP_*`: link, IPv4 address, route and rule, IPv6 address, route and rule, and both
/// families' settings.
const GROUPS: [u32; 9] = [1, 5, 7, 8, 9, 11, 19, 24, 25];

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Interface index.
    pub(crate) index: u32,
    /// Name.
    pub(crate) name: String,
    /// Link group.
    pub(crate) group: u32,
    /// MTU.
    pub(crate) mtu: u32,
    /// Administratively up.
    pub(crate) up: bool,
    /// Whether it is a tun or tap device.
    pub(crate) is_tun: bool,
}

/// A route of ours as the kernel has it, with what it takes to delete it.
pub(crate) struct ObservedRoute {
    /// `None` when it has a shape that we never give.
    pub(crate) route: Option<Route>,
    message: RouteMessage,
}

impl ObservedRoute {
    /// Whether it is the route of a single pod, which the plugin made: a host route in the main
    /// table that is not the guard's.
    pub(crate) fn is_pod_route(&self) -> bool {
        self.route.is_none() && convert::is_host_route(&self.message)
    }
}

/// A rule of ours as the kernel has it.
pub(crate) struct ObservedRule {
    /// `None` when it has a shape that we never give.
    pub(crate) rule: Option<Rule>,
    message: RuleMessage,
}

/// A socket for requests about links, routes and rules.
pub(crate) struct RouteNetlink(Netlink);

impl RouteNetlink {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Netlink::open(NETLINK_ROUTE).map(Self)
    }

    /// Lists all interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let messages = self.list("list interfaces", &request)?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(observe_link(&link)),
                _ => None,
            })
            .collect())
    }

    /// Lists the addresses of all interfaces, with the interface's index.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn addresses(&mut self) -> Result<Vec<(u32, IpAddr)>, NetlinkError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let messages = self.list("list addresses", &request)?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(address) => observe_address(&address),
                _ => None,
            })
            .collect())
    }

    /// Gives an interface an address of its own: /32 or /128, no duplicate-address detection.
    ///
    /// # Errors
    /// When the kernel refuses; one that is there already is success.
    pub(crate) fn add_address(&mut self, index: u32, address: IpAddr) -> Result<(), NetlinkError> {
        const WHAT: &str = "add an address to the tun device";
        let request = RouteNetlinkMessage::NewAddress(host_address(index, address));
        existing_is_fine(self.change(WHAT, &request, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Takes an address away; one that is gone already is success.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn delete_address(
        &mut self,
        index: u32,
        address: IpAddr,
    ) -> Result<(), NetlinkError> {
        let request = RouteNetlinkMessage::DelAddress(host_address(index, address));
        match self.change("delete an address of the tun device", &request, 0) {
            Err(error) if error.is(libc::EADDRNOTAVAIL) => Ok(()),
            other => other,
        }
    }

    /// Sets an interface's MTU and takes it up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn raise_link(&mut self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![LinkAttribute::Mtu(mtu)];
        self.change(
            "set MTU and take up a device",
            &RouteNetlinkMessage::SetLink(message),
            0,
        )
    }

    /// Deletes an interface.
    ///
    /// # Errors
    /// When the kernel refuses; one that is gone already is success.
    pub(crate) fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let deleted = self.change(
            "delete an interface",
            &RouteNetlinkMessage::DelLink(message),
            0,
        );
        match deleted {
            Err(error) if error.is(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Lists the routes that carry our protocol number, in all tables.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn routes(&mut self) -> Result<Vec<ObservedRoute>, NetlinkError> {
        let mut observed = Vec::new();
        for side in Family::BOTH {
            let mut message = RouteMessage::default();
            message.header.address_family = family(side);
            let request = RouteNetlinkMessage::GetRoute(message);
            for message in self.list("list routes", &request)? {
                let RouteNetlinkMessage::NewRoute(message) = message else {
                    continue;
                };
                if convert::is_our_route(&message) {
                    observed.push(ObservedRoute {
                        route: convert::read_route(&message),
                        message,
                    });
                }
            }
        }
        Ok(observed)
    }

    /// Adds a route, in place of one with the same table, destination and metric.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let request = RouteNetlinkMessage::NewRoute(convert::write_route(route));
        self.change("add a route", &request, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Deletes a route of ours; one that is gone already is success.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn delete_route(&mut self, observed: &ObservedRoute) -> Result<(), NetlinkError> {
        let request = RouteNetlinkMessage::DelRoute(convert::route_key(&observed.message));
        match self.change("delete a route", &request, 0) {
            Err(error) if error.is(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Lists the policy rules that carry our protocol number.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn rules(&mut self) -> Result<Vec<ObservedRule>, NetlinkError> {
        let mut observed = Vec::new();
        for side in Family::BOTH {
            let mut message = RuleMessage::default();
            message.header.family = family(side);
            let request = RouteNetlinkMessage::GetRule(message);
            for message in self.list("list policy rules", &request)? {
                let RouteNetlinkMessage::NewRule(message) = message else {
                    continue;
                };
                if convert::is_our_rule(&message) {
                    observed.push(ObservedRule {
                        rule: convert::read_rule(&message),
                        message,
                    });
                }
            }
        }
        Ok(observed)
    }

    /// Adds a policy rule; one that is there already is success.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn add_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        let request = RouteNetlinkMessage::NewRule(convert::write_rule(rule));
        existing_is_fine(self.change("add a policy rule", &request, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Deletes a policy rule of ours; one that is gone already is success.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn delete_rule(&mut self, observed: &ObservedRule) -> Result<(), NetlinkError> {
        let request = RouteNetlinkMessage::DelRule(observed.message.clone());
        match self.change("delete a policy rule", &request, 0) {
            Err(error) if error.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn list(
        &mut self,
        what: &'static str,
        request: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let answers = self.0.dump(what, request.message_type(), &body(request))?;
        // A message that this library cannot read is of a kind that we never make.
        Ok(answers
            .iter()
            .filter_map(|answer| {
                let mut header = NetlinkHeader::default();
                header.message_type = answer.kind;
                RouteNetlinkMessage::deserialize(&header, &answer.body).ok()
            })
            .collect())
    }

    fn change(
        &mut self,
        what: &'static str,
        request: &RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.0
            .change(what, request.message_type(), flags, &body(request))
    }
}

/// Opens a socket that hears of each change to links, addresses, routes and rules.
///
/// # Errors
/// When the kernel gives none.
pub(crate) fn route_notices() -> Result<Notices, NetlinkError> {
    Notices::open(NETLINK_ROUTE, &GROUPS)
}

fn body(request: &RouteNetlinkMessage) -> Vec<u8> {
    let mut body = vec![0; NetlinkSerializable::buffer_len(request)];
    NetlinkSerializable::serialize(request, &mut body);
    body
}

fn existing_is_fine(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn family(family: Family) -> AddressFamily {
    match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    }
}

fn host_address(index: u32, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(Family::of(address));
    message.header.prefix_len = if address.is_ipv4() { 32 } else { 128 };
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    message
}

fn observe_link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        group: 0,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        is_tun: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Group(group) => link.group = *group,
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                link.is_tun = infos.contains(&LinkInfo::Kind(InfoKind::Tun))
            }
            _ => {}
        }
    }
    link
}

/// The local address: with IPv4, `Address` is the peer's on a point-to-point link.
fn observe_address(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    address.map(|address| (message.header.index, address))
}

fn network(address: IpAddr, prefix_length: u8) -> Option<IpNetwork> {
    IpNetwork::new(address, prefix_length).ok()
}
