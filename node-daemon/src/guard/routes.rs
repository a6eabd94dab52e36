//! Routes and policy rules: the layer that no flush of nftables removes.
//!
//! ```text
//! 90..92  from <pods>: from here, from the tun, of the own range ── goto 100
//! 93      from <pods>                                            ── prohibit
//! 100     to <pods>     main, but no route shorter than the range (no default, no /1)
//! 101     to <pods>     table T:  tun, else unreachable
//! 102     from <own> to <services>   table T  (a Service packet nobody translated)
//! ```
//! IPv6 has no reverse path filter, so 90 to 93 are what holds pod sources there. A repair puts
//! back what is missing and removes nothing: flushing rules to build them anew lets packets by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::plan::{Family, GuardPlan, ROUTE_TABLE};

/// The kernel's main table.
pub(crate) const MAIN_TABLE: u32 = 254;
/// Metric of the routes into the tun: better than the 100 and up that DHCP and RA clients use.
const TUN_METRIC: u32 = 50;
/// Metric of the unreachable routes behind them: worse than any in use.
const LAST_METRIC: u32 = 0xff00_2000;
const EVERYTHING_V4: Option<Ipv4Network> = Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0);
const EVERYTHING_V6: Option<Ipv6Network> = Ipv6Network::new_checked(Ipv6Addr::UNSPECIFIED, 0);

/// A route of ours, planned or observed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    /// Table number.
    pub(crate) table: u32,
    /// Where to.
    pub(crate) destination: IpNetwork,
    /// Lower wins.
    pub(crate) metric: u32,
    /// By which way.
    pub(crate) way: Way,
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Through the tun device.
    Tun {
        /// Interface index.
        device: u32,
        /// Preferred source.
        source: IpAddr,
        /// MTU of the route.
        mtu: u32,
    },
    /// Answered with "unreachable".
    Unreachable,
}

/// A policy rule of ours, planned or observed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    /// IPv4 or IPv6.
    pub(crate) family: Family,
    /// Lower is asked first.
    pub(crate) preference: u32,
    /// Source selector.
    pub(crate) from: Option<IpNetwork>,
    /// Destination selector.
    pub(crate) to: Option<IpNetwork>,
    /// Incoming interface selector.
    pub(crate) from_interface: Option<String>,
    /// What happens.
    pub(crate) verdict: RuleVerdict,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RuleVerdict {
    /// Looks the destination up in a table.
    Lookup {
        /// Table number.
        table: u32,
        /// Routes with this prefix length or a shorter one do not count.
        suppress_prefix_length: Option<u8>,
    },
    /// Goes on at another preference.
    Goto(u32),
    /// Answers "prohibited".
    Prohibit,
}

/// Lists the routes of a plan. Without a device (`None`) only the unreachable ones.
pub(crate) fn planned_routes(plan: &GuardPlan, device: Option<u32>) -> Vec<Route> {
    let mut routes = Vec::new();
    for family in Family::BOTH {
        let cluster = plan.cluster_networks(family);
        if cluster.is_empty() {
            continue;
        }
        let own = plan.own_networks(family);
        let everything = everything(family);
        routes.extend(
            cluster
                .iter()
                .chain(&own)
                .map(|range| unreachable(MAIN_TABLE, *range)),
        );
        routes.extend(
            everything
                .iter()
                .chain(&own)
                .map(|range| unreachable(ROUTE_TABLE, *range)),
        );
        if let Some(way) = tun_way(plan, family, device) {
            routes.extend(
                cluster
                    .iter()
                    .map(|range| through(MAIN_TABLE, *range, &way)),
            );
            routes.extend(
                everything
                    .iter()
                    .map(|range| through(ROUTE_TABLE, *range, &way)),
            );
        }
    }
    routes.sort();
    routes.dedup();
    routes
}

/// Lists the rules of a plan in the order in which they are to be added: what a `goto` names
/// first, and the refusal before its exceptions.
pub(crate) fn planned_rules(plan: &GuardPlan) -> Vec<Rule> {
    let mut rules = Vec::new();
    for family in Family::BOTH {
        let cluster = plan.cluster_networks(family);
        let own = plan.own_networks(family);
        for &range in &cluster {
            rules.extend(destination_rules(family, range));
        }
        for &from in &own {
            let services = plan.service_networks(family);
            rules.extend(
                services
                    .into_iter()
                    .map(|to| service_rule(family, from, to)),
            );
        }
        rules.extend(
            cluster
                .iter()
                .map(|range| source_rule(family, 93, *range, None)),
        );
        rules.extend(
            own.iter()
                .map(|range| source_rule(family, 92, *range, None)),
        );
        rules.extend(
            cluster
                .iter()
                .map(|range| source_rule(family, 91, *range, Some(&plan.tun))),
        );
        rules.extend(
            cluster
                .iter()
                .map(|range| source_rule(family, 90, *range, Some("lo"))),
        );
    }
    rules
}

/// Lists what is planned and not there.
pub(crate) fn missing<T: PartialEq + Clone>(planned: &[T], observed: &[T]) -> Vec<T> {
    planned
        .iter()
        .filter(|item| !observed.contains(item))
        .cloned()
        .collect()
}

fn everything(family: Family) -> Option<IpNetwork> {
    match family {
        Family::Ipv4 => EVERYTHING_V4.map(IpNetwork::V4),
        Family::Ipv6 => EVERYTHING_V6.map(IpNetwork::V6),
    }
}

fn tun_way(plan: &GuardPlan, family: Family, device: Option<u32>) -> Option<Way> {
    let source = plan.tun_address(family)?;
    device.map(|device| Way::Tun {
        device,
        source,
        mtu: u32::from(plan.mtu),
    })
}

fn unreachable(table: u32, destination: IpNetwork) -> Route {
    Route {
        table,
        destination,
        metric: LAST_METRIC,
        way: Way::Unreachable,
    }
}

fn through(table: u32, destination: IpNetwork, way: &Way) -> Route {
    Route {
        table,
        destination,
        metric: TUN_METRIC,
        way: way.clone(),
    }
}

fn destination_rules(family: Family, range: IpNetwork) -> [Rule; 2] {
    let rule = |preference, table, suppress_prefix_length| Rule {
        family,
        preference,
        from: None,
        to: Some(range),
        from_interface: None,
        verdict: RuleVerdict::Lookup {
            table,
            suppress_prefix_length,
        },
    };
    let shorter = range.prefix().saturating_sub(1);
    [
        rule(100, MAIN_TABLE, Some(shorter)),
        rule(101, ROUTE_TABLE, None),
    ]
}

fn service_rule(family: Family, from: IpNetwork, to: IpNetwork) -> Rule {
    let verdict = RuleVerdict::Lookup {
        table: ROUTE_TABLE,
        suppress_prefix_length: None,
    };
    Rule {
        family,
        preference: 102,
        from: Some(from),
        to: Some(to),
        from_interface: None,
        verdict,
    }
}

fn source_rule(family: Family, preference: u32, range: IpNetwork, interface: Option<&str>) -> Rule {
    let verdict = if preference == 93 {
        RuleVerdict::Prohibit
    } else {
        RuleVerdict::Goto(100)
    };
    let from_interface = interface.map(str::to_owned);
    Rule {
        family,
        preference,
        from: Some(range),
        to: None,
        from_interface,
        verdict,
    }
}

#[cfg(test)]
mod tests;
