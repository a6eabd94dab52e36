//! Puts the accepts of [`super::forward_chain`] into the chain, and takes them out.

use std::fs;

use super::counters::Part;
use super::forward_chain::{accepts, drops_by_policy, program};
use super::plan::Family;
use crate::io::guard as tools;

/// Adds the accepts that are missing where the chain exists and drops by policy. Without
/// `iptables`, or where it fails, pods stay cut off by that other program, which is no leak.
pub(super) fn restore(tun: &str, repaired: &mut Vec<Part>) {
    for family in Family::BOTH
        .into_iter()
        .filter(|family| has_filter_table(*family))
    {
        let Some(Ok(listing)) = tools::iptables(program(family), &["-w", "-S", "FORWARD"]) else {
            continue;
        };
        if !drops_by_policy(&listing) {
            continue;
        }
        for rule in accepts(tun) {
            if !is_there(family, &rule) && run(family, &["-w", "-I", "FORWARD", "1"], &rule) {
                repaired.push(Part::ForwardAccept);
            }
        }
    }
}

/// Takes the accepts out.
pub(super) fn remove(tun: &str) {
    for family in Family::BOTH
        .into_iter()
        .filter(|family| has_filter_table(*family))
    {
        for rule in accepts(tun) {
            if is_there(family, &rule) {
                run(family, &["-w", "-D", "FORWARD"], &rule);
            }
        }
    }
}

/// Asked first, because `iptables` makes the table by looking at it.
fn has_filter_table(family: Family) -> bool {
    let (keyword, names) = match family {
        Family::Ipv4 => ("ip", "/proc/net/ip_tables_names"),
        Family::Ipv6 => ("ip6", "/proc/net/ip6_tables_names"),
    };
    let legacy = fs::read_to_string(names).unwrap_or_default();
    legacy.lines().any(|table| table == "filter") || tools::has_chain(keyword, "filter", "FORWARD")
}

fn is_there(family: Family, rule: &[String]) -> bool {
    run(family, &["-w", "-C", "FORWARD"], rule)
}

fn run(family: Family, verb: &[&str], rule: &[String]) -> bool {
    let rule = rule.iter().map(String::as_str);
    let arguments: Vec<_> = verb.iter().copied().chain(rule).collect();
    matches!(tools::iptables(program(family), &arguments), Some(Ok(_)))
}
