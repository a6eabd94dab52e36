//! Which connection-tracking entries a repair has to delete.
//!
//! While the rules were gone, a pod's flow to the outside was tracked without translation. The
//! entry outlives the repair, and every packet of the flow is then stopped with its pod source.
//! Without the entry, the flow's next packet is translated as it should be.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::plan::GuardPlan;

/// `IPS_SRC_NAT | IPS_DST_NAT` of the kernel's `nf_conntrack_common.h`.
const TRANSLATED: u32 = 1 << 4 | 1 << 5;

/// What matters here of a tracked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Who began it.
    pub(crate) source: IpAddr,
    /// With whom.
    pub(crate) destination: IpAddr,
    /// The kernel's status bits.
    pub(crate) status: u32,
}

/// Says whether a connection goes from a pod to the outside without translation.
///
/// `local` are the node's own addresses: pods talk to those untranslated by right.
pub(crate) fn is_stray(
    connection: &Connection,
    plan: &GuardPlan,
    local: &BTreeSet<IpAddr>,
) -> bool {
    connection.status & TRANSLATED == 0
        && plan.cluster.contains(connection.source)
        && !plan.cluster.contains(connection.destination)
        && !plan.tun_addresses.contains(&connection.source)
        && !local.contains(&connection.destination)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::sample::plan;

    fn connection(source: &str, destination: &str, status: u32) -> Connection {
        Connection {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            status,
        }
    }

    #[test]
    fn only_untranslated_flows_from_pods_to_the_outside_are_stray() {
        let local = BTreeSet::from(["198.51.100.1".parse().unwrap()]);
        let stray = |source, destination, status| {
            is_stray(&connection(source, destination, status), &plan(), &local)
        };

        assert!(stray("10.244.1.7", "203.0.113.9", 0));
        assert!(stray("fd00:10:244:1::7", "2001:db8:ffff::1", 0));
        assert!(!stray("10.244.1.7", "203.0.113.9", 1 << 4), "masqueraded");
        assert!(!stray("10.244.1.7", "10.96.0.1", 1 << 5), "a Service");
        assert!(!stray("10.244.1.7", "10.244.2.7", 0), "pod to pod");
        assert!(
            !stray("10.244.1.7", "198.51.100.1", 0),
            "pod to its own node"
        );
        assert!(!stray("203.0.113.9", "10.244.1.7", 0), "from the outside");
    }
}
