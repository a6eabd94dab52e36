//! `node.json`: what the daemon tells the plugin about this node.
//!
//! The daemon writes it, by rename, once guard and tun stand and the node's range is known, so its
//! presence is the permission to attach pods. It is bound to a boot: the kernel's half of the guard
//! dies with the boot and so does the permission. A field that is added raises the version; a plugin
//! refuses what it does not know, because a wrong guess here costs a pod its guard.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// The only version of the format so far.
pub const NODE_STATE_VERSION: u32 = 1;

/// Smallest MTU of a link that carries IPv6 (RFC 8200, section 5).
const MINIMUM_MTU_V6: u16 = 1280;

/// Smallest datagram that every IPv4 host takes (RFC 791).
const MINIMUM_MTU_V4: u16 = 576;

/// Longest boot id; the kernel's is a UUID of 36, a lab's is its own.
const MAXIMUM_BOOT_ID: usize = 64;

/// What a node's plugin has to know to attach a pod.
///
/// The fields are open for the daemon to fill; [`NodeState::to_json`] and [`NodeState::from_json`]
/// let only a checked one through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// This node's own pod ranges; pods get their addresses from them, one of each family present.
    pub pod_ranges: Vec<IpNetwork>,
    /// The whole cluster's pod ranges.
    pub cluster_pod_ranges: Vec<IpNetwork>,
    /// Addresses of the own ranges that no pod gets: those of `sotto0`.
    pub reserved: Vec<IpAddr>,
    /// MTU of the pods' links in bytes, that of `sotto0`.
    pub mtu: u16,
    /// The boot in which guard and tun were installed.
    pub boot_id: String,
    /// Link group that marks pods' links for the guard.
    pub link_group: u32,
}

/// Why a `node.json` is not believed.
#[derive(Debug, thiserror::Error)]
pub enum NodeStateError {
    /// Not the JSON that is expected.
    #[error("decode node.json: is it truncated, or written by another version of sotto-node?")]
    Decode(#[source] serde_json::Error),
    /// A version of the format that this program does not know.
    #[error(
        "read node.json: version {0} is unknown here, install the plugin of sotto-node's release"
    )]
    Version(u32),
    /// A range is missing, malformed or outside the cluster's.
    #[error("check node.json: {field} holds {value}: {reason}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// The value found there.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An MTU that the families in use cannot live with.
    #[error("check node.json: mtu {mtu} is below {minimum}: raise the underlay's MTU")]
    Mtu {
        /// The value found.
        mtu: u16,
        /// The smallest that is possible.
        minimum: u16,
    },
    /// No boot id, or one that is not a plain word.
    #[error("check node.json: bootId {0:?} is not 1 to 64 letters, digits and hyphens")]
    BootId(String),
    /// Group 0 is every link's group.
    #[error("check node.json: linkGroup 0 marks every link, use {group}", group = crate::contract::POD_LINK_GROUP)]
    LinkGroup,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    version: u32,
    pod_ranges: Vec<String>,
    cluster_pod_ranges: Vec<String>,
    reserved: Vec<IpAddr>,
    mtu: u16,
    boot_id: String,
    link_group: u32,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl NodeState {
    /// Reads and checks the content of a `node.json`.
    ///
    /// # Errors
    /// When the text is not version 1 of the format or a value cannot be.
    pub fn from_json(text: &[u8]) -> Result<Self, NodeStateError> {
        let VersionOnly { version } =
            serde_json::from_slice(text).map_err(NodeStateError::Decode)?;
        if version != NODE_STATE_VERSION {
            return Err(NodeStateError::Version(version));
        }
        let wire: Wire = serde_json::from_slice(text).map_err(NodeStateError::Decode)?;
        let state = Self {
            pod_ranges: parse_ranges("podRanges", &wire.pod_ranges)?,
            cluster_pod_ranges: parse_ranges("clusterPodRanges", &wire.cluster_pod_ranges)?,
            reserved: wire.reserved,
            mtu: wire.mtu,
            boot_id: wire.boot_id,
            link_group: wire.link_group,
        };
        state.validate()?;
        Ok(state)
    }

    /// Checks this state and gives the text to write.
    ///
    /// # Errors
    /// When a value cannot be; nothing that [`NodeState::from_json`] refuses is ever written.
    pub fn to_json(&self) -> Result<String, NodeStateError> {
        self.validate()?;
        let wire = Wire {
            version: NODE_STATE_VERSION,
            pod_ranges: self.pod_ranges.iter().map(ToString::to_string).collect(),
            cluster_pod_ranges: self
                .cluster_pod_ranges
                .iter()
                .map(ToString::to_string)
                .collect(),
            reserved: self.reserved.clone(),
            mtu: self.mtu,
            boot_id: self.boot_id.clone(),
            link_group: self.link_group,
        };
        serde_json::to_string_pretty(&wire).map_err(NodeStateError::Decode)
    }

    /// Checks every value, and that they fit together.
    ///
    /// # Errors
    /// Names the first field that cannot be, with its value.
    pub fn validate(&self) -> Result<(), NodeStateError> {
        check_ranges("podRanges", &self.pod_ranges)?;
        check_ranges("clusterPodRanges", &self.cluster_pod_ranges)?;
        for own in &self.pod_ranges {
            if !self.cluster_pod_ranges.iter().any(|all| holds(all, own)) {
                return Err(refuse("podRanges", own, "outside clusterPodRanges"));
            }
        }
        for address in &self.reserved {
            if !self.pod_ranges.iter().any(|own| own.contains(*address)) {
                return Err(refuse("reserved", address, "outside podRanges"));
            }
        }
        self.check_mtu()?;
        if !is_boot_id(&self.boot_id) {
            return Err(NodeStateError::BootId(self.boot_id.clone()));
        }
        if self.link_group == 0 {
            return Err(NodeStateError::LinkGroup);
        }
        Ok(())
    }

    fn check_mtu(&self) -> Result<(), NodeStateError> {
        let minimum = if self.pod_ranges.iter().any(IpNetwork::is_ipv6) {
            MINIMUM_MTU_V6
        } else {
            MINIMUM_MTU_V4
        };
        if self.mtu < minimum {
            let mtu = self.mtu;
            return Err(NodeStateError::Mtu { mtu, minimum });
        }
        Ok(())
    }
}

/// Whether a text can be a boot id; it becomes a folder's name.
#[must_use]
pub fn is_boot_id(text: &str) -> bool {
    (1..=MAXIMUM_BOOT_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn parse_ranges(field: &'static str, texts: &[String]) -> Result<Vec<IpNetwork>, NodeStateError> {
    texts.iter().map(|text| parse_range(field, text)).collect()
}

/// `ipnetwork` alone takes bare addresses and dotted masks.
fn parse_range(field: &'static str, text: &String) -> Result<IpNetwork, NodeStateError> {
    let canonical = |range: &IpNetwork| range.to_string() == *text;
    text.parse::<IpNetwork>()
        .ok()
        .filter(canonical)
        .ok_or_else(|| refuse(field, text, "not address/length in its usual form"))
}

fn check_ranges(field: &'static str, ranges: &[IpNetwork]) -> Result<(), NodeStateError> {
    if ranges.is_empty() {
        return Err(refuse(field, "nothing", "at least one range is needed"));
    }
    for (position, range) in ranges.iter().enumerate() {
        if range.ip() != range.network() {
            return Err(refuse(field, range, "has host bits"));
        }
        if range.prefix() == 0 {
            return Err(refuse(field, range, "is the whole address space"));
        }
        let mut earlier = ranges.iter().take(position);
        if earlier.any(|other| holds(other, range) || holds(range, other)) {
            return Err(refuse(field, range, "overlaps another one"));
        }
    }
    Ok(())
}

fn holds(outer: &IpNetwork, inner: &IpNetwork) -> bool {
    outer.prefix() <= inner.prefix() && outer.contains(inner.network())
}

fn refuse(field: &'static str, value: impl ToString, reason: &'static str) -> NodeStateError {
    let value = value.to_string();
    NodeStateError::Range {
        field,
        value,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alice() -> NodeState {
        NodeState {
            pod_ranges: ranges(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
            cluster_pod_ranges: ranges(&["10.244.0.0/16", "fd00:10:244::/56"]),
            reserved: vec![
                "10.244.1.1".parse().unwrap(),
                "fd00:10:244:1::1".parse().unwrap(),
            ],
            mtu: 1420,
            boot_id: "26fd817d-d465-419c-9da9-1ba09b3bdd0e".into(),
            link_group: crate::contract::POD_LINK_GROUP,
        }
    }

    fn ranges(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn changed(change: impl FnOnce(&mut NodeState)) -> String {
        let mut state = alice();
        change(&mut state);
        state.to_json().unwrap_err().to_string()
    }

    #[test]
    fn what_the_daemon_writes_the_plugin_reads() {
        let text = alice().to_json().unwrap();

        let read = NodeState::from_json(text.as_bytes()).unwrap();

        assert_eq!(read, alice());
        assert!(text.contains("\"clusterPodRanges\""), "{text}");
    }

    #[test]
    fn each_impossible_value_is_refused_by_name() {
        let cases: Vec<(String, &str)> = vec![
            (changed(|s| s.pod_ranges.clear()), "podRanges holds nothing"),
            (
                changed(|s| s.pod_ranges = ranges(&["10.244.1.7/24"])),
                "has host bits",
            ),
            (
                changed(|s| s.pod_ranges = ranges(&["10.9.0.0/24"])),
                "10.9.0.0/24: outside clusterPodRanges",
            ),
            (
                changed(|s| s.cluster_pod_ranges = ranges(&["0.0.0.0/0"])),
                "whole address space",
            ),
            (
                changed(|s| s.cluster_pod_ranges.push("10.244.9.0/24".parse().unwrap())),
                "overlaps",
            ),
            (
                changed(|s| s.reserved.push("10.244.2.1".parse().unwrap())),
                "reserved holds 10.244.2.1",
            ),
            (changed(|s| s.mtu = 1279), "mtu 1279 is below 1280"),
            (changed(|s| s.boot_id = "../x".into()), "bootId \"../x\""),
            (changed(|s| s.boot_id = String::new()), "bootId"),
            (changed(|s| s.link_group = 0), "linkGroup 0"),
        ];

        for (text, expected) in cases {
            assert!(text.contains(expected), "{text:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_text_that_is_not_version_one_is_refused() {
        let good = alice().to_json().unwrap();
        let bad = [
            good.replace("\"version\": 1", "\"version\": 2"),
            good.replace("\"mtu\"", "\"futureField\": 1, \"mtu\""),
            good.replace("10.244.1.0/24", "10.244.1.0"),
            good.replace("10.244.1.0/24", "10.244.1.0/255.255.255.0"),
            good.replace("1420", "70000"),
            good.get(..good.len() / 2).unwrap().to_owned(),
            String::new(),
        ];

        for text in bad {
            assert!(NodeState::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn i5_no_bytes_make_the_reader_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = NodeState::from_json(&text);
        }

        #[test]
        fn i5_no_range_makes_the_check_panic(range in "[0-9a-f:./]{0,24}", mtu in any::<u16>()) {
            let text = alice().to_json().unwrap();
            let text = text.replace("10.244.1.0/24", &range).replace("1420", &mtu.to_string());
            let _ = NodeState::from_json(text.as_bytes());
        }
    }

    #[test]
    fn a_node_without_ipv6_may_have_a_smaller_mtu() {
        let mut state = alice();
        state.pod_ranges = ranges(&["10.244.1.0/24"]);
        state.reserved.truncate(1);
        state.mtu = 1000;

        assert!(state.to_json().is_ok());
    }
}
