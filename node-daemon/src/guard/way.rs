//! Brings the tun device's state, the routes and the policy rules to what the plan says.

use std::collections::BTreeSet;

use super::counters::Part;
use super::node_settings::enforce;
use super::plan::GuardPlan;
use super::routes::{missing, planned_routes, planned_rules};
use super::settings::tun_settings;
use super::{GuardError, TunState};
use crate::io::netlink::route::{Link, RouteNetlink};

/// Adds what is missing, and notes what it was.
///
/// Rules come before routes: they refuse more than they allow, and what they refer to may follow.
/// Unreachable routes do not need the device and stand without it.
pub(super) fn restore(
    netlink: &mut RouteNetlink,
    plan: &GuardPlan,
    repaired: &mut Vec<Part>,
) -> Result<TunState, GuardError> {
    let tun = find_tun(netlink, plan)?;
    restore_rules(netlink, plan, repaired)?;
    if let Some(tun) = &tun {
        restore_tun(netlink, plan, tun, repaired)?;
    }
    let observed: Vec<_> = netlink
        .routes()?
        .into_iter()
        .filter_map(|found| found.route)
        .collect();
    for route in missing(
        &planned_routes(plan, tun.as_ref().map(|tun| tun.index)),
        &observed,
    ) {
        netlink.add_route(&route)?;
        repaired.push(Part::Route);
    }
    Ok(if tun.is_some() {
        TunState::Present
    } else {
        TunState::Gone
    })
}

/// Deletes what an earlier plan wanted and this one does not, once all that is planned stands.
///
/// A pod's own route is the plugin's and stays, though it carries our protocol number.
pub(super) fn retire(netlink: &mut RouteNetlink, plan: &GuardPlan) -> Result<(), GuardError> {
    let device = find_tun(netlink, plan)?.map(|tun| tun.index);
    let planned = planned_rules(plan);
    for found in netlink.rules()? {
        if found
            .rule
            .as_ref()
            .is_none_or(|rule| !planned.contains(rule))
        {
            netlink.delete_rule(&found)?;
        }
    }
    let planned = planned_routes(plan, device);
    for found in netlink.routes()? {
        if found
            .route
            .as_ref()
            .is_some_and(|route| !planned.contains(route))
        {
            netlink.delete_route(&found)?;
        }
    }
    for (index, address) in netlink.addresses()? {
        if device == Some(index) && !plan.tun_addresses.contains(&address) {
            netlink.delete_address(index, address)?;
        }
    }
    Ok(())
}

fn find_tun(netlink: &mut RouteNetlink, plan: &GuardPlan) -> Result<Option<Link>, GuardError> {
    Ok(netlink
        .links()?
        .into_iter()
        .find(|link| link.name == plan.tun && link.is_tun))
}

fn restore_rules(
    netlink: &mut RouteNetlink,
    plan: &GuardPlan,
    repaired: &mut Vec<Part>,
) -> Result<(), GuardError> {
    let observed: Vec<_> = netlink
        .rules()?
        .into_iter()
        .filter_map(|found| found.rule)
        .collect();
    for rule in missing(&planned_rules(plan), &observed) {
        netlink.add_rule(&rule)?;
        repaired.push(Part::Rule);
    }
    Ok(())
}

fn restore_tun(
    netlink: &mut RouteNetlink,
    plan: &GuardPlan,
    tun: &Link,
    repaired: &mut Vec<Part>,
) -> Result<(), GuardError> {
    enforce(&tun_settings(plan), repaired)?;
    let mtu = u32::from(plan.mtu);
    if tun.mtu != mtu || !tun.up {
        netlink.raise_link(tun.index, mtu)?;
        repaired.push(Part::Tun);
    }
    let present: BTreeSet<_> = netlink.addresses()?.into_iter().collect();
    for &address in &plan.tun_addresses {
        if !present.contains(&(tun.index, address)) {
            netlink.add_address(tun.index, address)?;
            repaired.push(Part::TunAddress);
        }
    }
    Ok(())
}
