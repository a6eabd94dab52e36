//! Looks, before the kernel is touched, whether it can hold the guard at all.

use std::path::Path;
use std::{fs, io};

use thiserror::Error;

use super::plan::{Family, GuardPlan, PlanError};
use super::ruleset;
use crate::io::guard::{self as tools, ToolError};
use crate::io::netlink::NetlinkError;
use crate::io::netlink::netfilter::Netfilter;
use crate::io::netlink::route::RouteNetlink;
use crate::io::sysctl;

const TUN_DEVICE: &str = "/dev/net/tun";
/// Capability numbers of the kernel's `capability.h`.
const NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const NET_RAW: (u32, &str) = (13, "CAP_NET_RAW");

/// Why there can be no guard on this machine.
#[derive(Debug, Error)]
pub(crate) enum PreflightError {
    /// The plan contradicts itself.
    #[error("plan the guard")]
    Plan(#[from] PlanError),
    /// Not privileged.
    #[error(
        "use {capability}: the daemon's effective capabilities are {effective}, run it as root or give the service AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"
    )]
    Capability {
        /// What is missing.
        capability: &'static str,
        /// What there is, as the kernel writes it.
        effective: String,
    },
    /// No tun.
    #[error(
        "open /dev/net/tun: load the module (modprobe tun) or mount the device into the container"
    )]
    NoTun(#[source] io::Error),
    /// No nft.
    #[error("find nft")]
    NoNft(#[source] ToolError),
    /// The kernel cannot do what the rules need.
    #[error(
        "load the guard's rules: the kernel needs nftables with sets, fib, conntrack and NAT (CONFIG_NF_TABLES, CONFIG_NFT_FIB_INET, CONFIG_NFT_CT, CONFIG_NFT_MASQ)"
    )]
    RulesetRefused(#[source] ToolError),
    /// No nftables in the kernel.
    #[error(
        "use nftables: this kernel has none (CONFIG_NF_TABLES), load the module nf_tables or take another kernel"
    )]
    NoNftables(#[source] NetlinkError),
    /// No IPv6.
    #[error(
        "use cluster_pod_ranges {0}: this kernel has no IPv6, boot it without ipv6.disable=1 or take the range out on all nodes"
    )]
    NoIpv6(String),
    /// No policy routing.
    #[error(
        "use policy rules: this kernel has none (CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES), take another kernel"
    )]
    NoPolicyRules(#[source] NetlinkError),
    /// The name is somebody else's.
    #[error("use interface {0}: one of that name exists and is no tun device, rename or remove it")]
    InterfaceTaken(String),
}

/// Says whether a guard by this plan could stand here. Changes nothing.
///
/// # Errors
/// The first thing that is missing, with its cure.
pub(crate) fn preflight(plan: &GuardPlan) -> Result<(), PreflightError> {
    plan.check()?;
    check_capabilities()?;
    fs::metadata(TUN_DEVICE).map_err(PreflightError::NoTun)?;
    if let Some(range) = plan
        .cluster_networks(Family::Ipv6)
        .first()
        .filter(|_| !sysctl::has_ipv6())
    {
        return Err(PreflightError::NoIpv6(range.to_string()));
    }
    check_routing(plan)?;
    check_ruleset(plan)
}

fn check_capabilities() -> Result<(), PreflightError> {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let effective = effective_capabilities(&status).unwrap_or_default();
    let bits = u64::from_str_radix(&effective, 16).unwrap_or(0);
    for (number, capability) in [NET_ADMIN, NET_RAW] {
        if bits >> number & 1 == 0 {
            return Err(PreflightError::Capability {
                capability,
                effective,
            });
        }
    }
    Ok(())
}

fn effective_capabilities(status: &str) -> Option<String> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .map(|bits| bits.trim().to_owned())
}

fn check_routing(plan: &GuardPlan) -> Result<(), PreflightError> {
    let mut netlink = RouteNetlink::open().map_err(PreflightError::NoPolicyRules)?;
    netlink.rules().map_err(PreflightError::NoPolicyRules)?;
    let links = netlink.links().map_err(PreflightError::NoPolicyRules)?;
    let taken = links
        .iter()
        .any(|link| link.name == plan.tun && !link.is_tun);
    if taken {
        Err(PreflightError::InterfaceTaken(plan.tun.clone()))
    } else {
        Ok(())
    }
}

fn check_ruleset(plan: &GuardPlan) -> Result<(), PreflightError> {
    Netfilter::open()
        .and_then(|mut netfilter| netfilter.ruleset_generation())
        .map_err(PreflightError::NoNftables)?;
    tools::try_out(&ruleset::render(plan)).map_err(|error| match error {
        ToolError::Refused { .. } => PreflightError::RulesetRefused(error),
        ToolError::Missing(_) | ToolError::Run { .. } => PreflightError::NoNft(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_capabilities_are_found_in_the_process_status() {
        let status = "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000003000\n";

        assert_eq!(
            effective_capabilities(status).as_deref(),
            Some("0000000000003000")
        );
        assert_eq!(effective_capabilities(""), None);
    }
}
