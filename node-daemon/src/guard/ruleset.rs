//! The guard as text for `nft -f -`.
//!
//! The chains are constant and live in `guard.nft` and `nat.nft`, where they can be read as what
//! they are. This module puts the plan in front of them: defines and sets. Each table is added,
//! deleted and added again in one transaction, which works the first time and the hundredth and
//! at no moment leaves the node without rules. (`destroy table` is unknown to nft 1.0.6.)

use std::fmt::Display;
use std::fmt::Write as _;

use cni_protocol::contract::{GUARD_TABLE, POD_LINK_GROUP};

use super::plan::{Family, GuardPlan, NAT_TABLE};

const GUARD_CHAINS: &str = include_str!("guard.nft");
const NAT_CHAINS: &str = include_str!("nat.nft");

/// Renders both tables as one transaction.
pub(crate) fn render(plan: &GuardPlan) -> String {
    let mut text = defines(plan);
    text.push_str(&fresh_table(GUARD_TABLE, &guard_sets(plan)));
    text.push_str(GUARD_CHAINS);
    text.push_str(&fresh_table(NAT_TABLE, &nat_sets(plan)));
    text.push_str(NAT_CHAINS);
    text
}

/// Renders the removal of both tables, there or not.
pub(crate) fn render_removal() -> String {
    [GUARD_TABLE, NAT_TABLE]
        .map(|table| format!("add table inet {table}\ndelete table inet {table}\n"))
        .concat()
}

fn defines(plan: &GuardPlan) -> String {
    format!(
        "define tun = \"{}\"\ndefine pod_links = {POD_LINK_GROUP}\ndefine tunnel_ports = {}-{}\n",
        plan.tun,
        plan.ports.start(),
        plan.ports.end()
    )
}

fn fresh_table(name: &str, body: &str) -> String {
    format!("add table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n{body}}}\n")
}

fn guard_sets(plan: &GuardPlan) -> String {
    let mut sets = pod_sets(plan);
    for family in Family::BOTH {
        sets.push_str(&range_set("own", family, &plan.own_networks(family)));
        sets.push_str(&range_set(
            "services",
            family,
            &plan.service_networks(family),
        ));
        sets.push_str(&set("nodes", family, "", &plan.node_addresses(family)));
    }
    sets
}

fn nat_sets(plan: &GuardPlan) -> String {
    let mut body = pod_sets(plan);
    body.push_str("  chain into_tunnel {\n");
    for (family, keyword, digit) in [(Family::Ipv4, "ip", 4), (Family::Ipv6, "ip6", 6)] {
        if let Some(address) = plan.tun_address(family) {
            let _ = writeln!(
                body,
                "    {keyword} saddr != @pods{digit} snat {keyword} to {address}"
            );
        }
    }
    body.push_str("  }\n");
    body
}

fn pod_sets(plan: &GuardPlan) -> String {
    Family::BOTH
        .map(|family| range_set("pods", family, &plan.cluster_networks(family)))
        .concat()
}

fn range_set<T: Display>(name: &str, family: Family, elements: &[T]) -> String {
    set(name, family, "flags interval; auto-merge; ", elements)
}

/// A set without elements has no `elements` clause: nft refuses an empty one.
fn set<T: Display>(name: &str, family: Family, flags: &str, elements: &[T]) -> String {
    let (digit, kind) = match family {
        Family::Ipv4 => (4, "ipv4_addr"),
        Family::Ipv6 => (6, "ipv6_addr"),
    };
    let listed = elements
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let clause = if listed.is_empty() {
        String::new()
    } else {
        format!("elements = {{ {listed} }}; ")
    };
    format!("  set {name}{digit} {{ type {kind}; {flags}{clause}}}\n")
}

#[cfg(test)]
mod tests;
