//! What daemon and plugin agree on beside `node.json`: where files lie and how pod links are marked.
//!
//! The guard recognises a pod's link by its group, `uninstall` its routes by their protocol. None of
//! these values may change while pods of an older version run.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Folder of everything that lives as long as this boot, unless the configurations say otherwise.
pub const DEFAULT_RUNTIME_DIRECTORY: &str = "/run/sotto";

/// Name of the file, in the runtime directory, that holds a [`NodeState`](crate::node_state::NodeState).
pub const NODE_STATE_FILE: &str = "node.json";

/// Where the kernel tells which boot this is.
pub const DEFAULT_BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Name of the tun device that the pod range is routed at.
pub const TUN_NAME: &str = "sotto0";

/// Link group of every pod's link, "SS": the guard trusts the group, because a name pattern also
/// matches somebody's uplink.
pub const POD_LINK_GROUP: u32 = 0x5353;

/// What the name of the host's end of a pod's link starts with; 13 hex digits follow, which fills
/// the kernel's 15 bytes.
pub const POD_LINK_PREFIX: &str = "sp";

/// `rtm_protocol` of every route that Sotto makes; 83 is unassigned in iproute2's table and is 'S'.
pub const ROUTE_PROTOCOL: u8 = 83;

/// Name of the nftables table, family `inet`, that stops clear pod packets.
pub const GUARD_TABLE: &str = "sotto_guard";

/// The pods' IPv4 gateway: link-local, the same on every node, held by no interface.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The pods' IPv6 gateway.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// IPv4 settings of every link of the node that pods' packets come through, `sotto0` and the node's
/// end of a pod's link, by their names below `/proc/sys/net/ipv4/conf/<link>`: the source is checked,
/// no redirects, no source routes, no answers for other links' addresses.
pub const POD_FACING_V4: [(&str, &str); 7] = [
    ("rp_filter", "1"),
    ("send_redirects", "0"),
    ("accept_redirects", "0"),
    ("accept_source_route", "0"),
    ("proxy_arp", "0"),
    ("forwarding", "1"),
    ("arp_ignore", "1"),
];

/// The same for IPv6: besides, nothing is learned from router advertisements.
pub const POD_FACING_V6: [(&str, &str); 9] = [
    // Some runtimes and distributions disable IPv6 on new links.
    ("disable_ipv6", "0"),
    ("accept_ra", "0"),
    ("autoconf", "0"),
    ("accept_dad", "0"),
    ("accept_redirects", "0"),
    ("forwarding", "1"),
    ("keep_addr_on_down", "1"),
    ("accept_source_route", "-1"),
    ("proxy_ndp", "0"),
];
