//! A node as `sotto-node` leaves it when it dies: its guard's table, its tun, its `node.json`.
//!
//! All that the plugin needs; for tests and benchmarks of the plugin alone.

use anyhow::Result;
use serde_json::{Value, json};

use crate::lab::Node;

/// Which boot such a node is in.
pub const BOOT_ID: &str = "boot-1";

/// Where the pool of that boot lies.
pub const POOL: &str = "/run/sotto/pool/boot-1";

/// The plugin's configuration there.
pub fn configuration() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "name": "sotto",
        "type": "sotto-cni",
        "bootIdFile": "/etc/sotto/boot-id",
    })
}

/// Makes a machine such a node, with these pod ranges.
///
/// # Errors
/// When the kernel refuses.
pub fn prepare(node: &Node, ranges: &[&str]) -> Result<()> {
    node.write("/etc/sotto/boot-id", format!("{BOOT_ID}\n"))?;
    node.shell(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        nft add table inet sotto_guard
        ip tuntap add dev sotto0 mode tun multi_queue vnet_hdr
        ip link set sotto0 addrgenmode none up
        ip address add 10.244.1.1/32 dev sotto0
        ip address add fd00:10:244:1::1/128 dev sotto0 nodad
        ip route add unreachable 10.244.0.0/16 metric 4278198272
        ip route add unreachable fd00:10:244::/56 metric 4278198272",
    )?;
    node.write("/run/sotto/node.json", node_state(ranges).to_string())
}

/// The content of a `node.json` with these ranges of the node.
pub fn node_state(ranges: &[&str]) -> Value {
    let ours = |address: &&&str| {
        let prefix = if address.contains(':') {
            "fd00:10:244:1::"
        } else {
            "10.244.1."
        };
        ranges.iter().any(|range| range.starts_with(prefix))
    };
    let reserved = ["10.244.1.1", "fd00:10:244:1::1"];
    json!({
        "version": 1,
        "podRanges": ranges,
        "clusterPodRanges": ["10.244.0.0/16", "fd00:10:244::/56"],
        "reserved": reserved.iter().filter(ours).collect::<Vec<_>>(),
        "mtu": 1420,
        "bootId": BOOT_ID,
        "linkGroup": 0x5353,
    })
}
