//! The controller's settings: one TOML file, read once, refused as a whole when anything in it is
//! unknown, malformed or contradicts something else, before anything is touched.

mod home;
mod networks;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use kept_files::{FileError, Links};
use node_identity::{NodeUid, PodCidr, PodRanges, TrustDomain};
use serde::Deserialize;
use service_log::LogFormat;
use settings_file::{SIZE_LIMIT, SettingsError};
use tracing::info;

use crate::allocate::{Family, allocate, family};
use home::FileHome;
pub(crate) use home::{Home, InKubernetes, PodRangesFrom};
use networks::{disjoint, parse_cidr, parse_network, within_family};

/// One address is the daemon's own, so /31 and /32 have no pod; /30 is the first with two.
const LONGEST_IPV4_NODE_PREFIX: u8 = 30;
const LONGEST_IPV6_NODE_PREFIX: u8 = 126;

/// Everything the controller can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where root, ledger and store are.
    pub(crate) home: Home,
    /// Where health and metrics are served, on loopback. Default 127.0.0.1:9470 in Kubernetes, else
    /// nowhere.
    pub(crate) http_address: Option<SocketAddr>,
    /// Name of the cluster in every identity; the root was made for it.
    pub(crate) trust_domain: TrustDomain,
    /// Where nodes' pod ranges are cut from.
    pub(crate) cluster_pod_ranges: Vec<PodCidr>,
    /// Size of a node's IPv4 and IPv6 range. Default 24 and 64.
    pub(crate) node_prefix_lengths: NodePrefixLengths,
    /// Where the nodes' own addresses lie.
    pub(crate) underlay_ranges: Vec<IpNetwork>,
    /// Where Services live, if there are any. Default none.
    pub(crate) service_ranges: Vec<IpNetwork>,
    /// How logs are written. Default text.
    pub(crate) log_format: LogFormat,
}

/// Prefix lengths of the ranges that one node gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NodePrefixLengths {
    /// Bits; 24 leaves 254 pods a node.
    pub(crate) ipv4: u8,
    /// Bits.
    pub(crate) ipv6: u8,
}

/// Why the settings are refused. Every text names the key, the value and the cure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration")]
    Unreadable(#[source] FileError),
    /// There is no such file.
    #[error("read configuration {}: no such file, name another with --config", path.display())]
    Missing { path: PathBuf },
    /// The bytes are not the shape of a configuration.
    #[error(transparent)]
    Shape(#[from] SettingsError),
    /// A value that cannot be.
    #[error("{key} = {value:?}: {cure}")]
    Value {
        key: &'static str,
        value: String,
        cure: String,
    },
    /// Keys that must be, or must not be, together.
    #[error("{given}: {cure}")]
    Keys {
        given: &'static str,
        cure: &'static str,
    },
    /// Two values that cannot be together.
    #[error("{key} = {value:?} overlaps {other_key} = {other:?}: give one of them another range")]
    Overlap {
        key: &'static str,
        value: String,
        other_key: &'static str,
        other: String,
    },
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSettings {
    state_directory: Option<PathBuf>,
    store_directory: Option<PathBuf>,
    kubernetes: Option<home::FileKubernetes>,
    http_address: Option<SocketAddr>,
    trust_domain: String,
    cluster_pod_ranges: Vec<String>,
    #[serde(default)]
    node_prefix_lengths: NodePrefixLengths,
    underlay_ranges: Vec<String>,
    #[serde(default)]
    service_ranges: Vec<String>,
    #[serde(default)]
    log_format: LogFormat,
}

impl Default for NodePrefixLengths {
    fn default() -> Self {
        Self { ipv4: 24, ipv6: 64 }
    }
}

impl NodePrefixLengths {
    /// The length for a family.
    pub(crate) fn of(self, family: Family) -> u8 {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }
}

impl Settings {
    /// Reads the settings from a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = kept_files::read(path, SIZE_LIMIT as u64, Links::Follow)
            .map_err(ConfigError::Unreadable)?
            .ok_or_else(|| ConfigError::Missing {
                path: path.to_path_buf(),
            })?;
        Self::parse(path, &bytes)
    }

    /// Reads the settings from a file's bytes; `path` is for the error.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        let file: FileSettings = settings_file::parse(path, bytes)?;
        let home = Home::try_from(FileHome {
            state_directory: file.state_directory,
            store_directory: file.store_directory,
            kubernetes: file.kubernetes,
        })?;
        let settings = Self {
            http_address: home::http_address(&home, file.http_address)?,
            home,
            trust_domain: file.trust_domain.parse().map_err(
                |error: node_identity::NameError| ConfigError::Value {
                    key: "trust_domain",
                    value: file.trust_domain,
                    cure: error.to_string(),
                },
            )?,
            cluster_pod_ranges: parse_all(
                "cluster_pod_ranges",
                &file.cluster_pod_ranges,
                parse_cidr,
            )?,
            node_prefix_lengths: file.node_prefix_lengths,
            underlay_ranges: parse_all("underlay_ranges", &file.underlay_ranges, parse_network)?,
            service_ranges: parse_all("service_ranges", &file.service_ranges, parse_network)?,
            log_format: file.log_format,
        };
        settings.check()?;
        Ok(settings)
    }

    /// Says at start what the controller works with.
    pub(crate) fn log(&self) {
        info!(
            home = %self.home,
            http_address = ?self.http_address,
            trust_domain = %self.trust_domain,
            cluster_pod_ranges = listed(&self.cluster_pod_ranges),
            node_prefix_length_ipv4 = self.node_prefix_lengths.ipv4,
            node_prefix_length_ipv6 = self.node_prefix_lengths.ipv6,
            underlay_ranges = listed(&self.underlay_ranges),
            service_ranges = listed(&self.service_ranges),
            "Settings read"
        );
    }

    /// Whether an address may be a node's: on the underlay, and neither a pod's nor a Service's.
    pub(crate) fn may_be_underlay(&self, address: IpAddr) -> bool {
        self.underlay_ranges
            .iter()
            .any(|range| range.contains(address))
            && !self
                .cluster_pod_ranges
                .iter()
                .any(|range| range.contains(address))
            && !self
                .service_ranges
                .iter()
                .any(|range| range.contains(address))
    }

    /// Whether ranges that a node has lie inside the cluster's.
    pub(crate) fn covers(&self, ranges: &PodRanges) -> bool {
        PodRanges::try_new(self.cluster_pod_ranges.clone())
            .is_ok_and(|cluster| cluster.covers(ranges))
    }

    /// The first of these ranges that is more than one node may have.
    pub(crate) fn too_large(&self, ranges: &PodRanges) -> Option<PodCidr> {
        let is_too_large =
            |range: &&PodCidr| range.prefix_len() < self.node_prefix_lengths.of(family(range));
        ranges.iter().find(is_too_large).copied()
    }

    /// Finds free ranges for one node. `None`: there are none left.
    ///
    /// In Kubernetes the search begins where the node's UID says: a node that a restored ledger knows
    /// nothing of, and whose store has no place to show it, asks as a newcomer does. It finds its
    /// range where it was, and a newcomer looks elsewhere.
    pub(crate) fn allocate(&self, node: &NodeUid, taken: &[PodCidr]) -> Option<PodRanges> {
        let (cluster, lengths) = (&self.cluster_pod_ranges, self.node_prefix_lengths);
        let begin = match &self.home {
            Home::Folders { .. } => 0,
            Home::Kubernetes(_) => u128::from_be_bytes(*node.as_bytes()),
        };
        let found = allocate(cluster, lengths, taken, begin)?;
        PodRanges::try_new(found).ok()
    }

    fn check(&self) -> Result<(), ConfigError> {
        not_empty("cluster_pod_ranges", self.cluster_pod_ranges.len())?;
        not_empty("underlay_ranges", self.underlay_ranges.len())?;
        let pods: Vec<IpNetwork> = self
            .cluster_pod_ranges
            .iter()
            .map(PodCidr::to_network)
            .collect();
        disjoint(&[
            ("cluster_pod_ranges", &pods),
            ("underlay_ranges", &self.underlay_ranges),
            ("service_ranges", &self.service_ranges),
        ])?;
        self.check_prefix_lengths()
    }

    fn check_prefix_lengths(&self) -> Result<(), ConfigError> {
        let NodePrefixLengths { ipv4, ipv6 } = self.node_prefix_lengths;
        within_family("node_prefix_lengths.ipv4", ipv4, LONGEST_IPV4_NODE_PREFIX)?;
        within_family("node_prefix_lengths.ipv6", ipv6, LONGEST_IPV6_NODE_PREFIX)?;
        for range in &self.cluster_pod_ranges {
            let length = self.node_prefix_lengths.of(family(range));
            if length < range.prefix_len() {
                return Err(ConfigError::Value {
                    key: "cluster_pod_ranges",
                    value: range.to_string(),
                    cure: format!(
                        "smaller than one node's share, /{length}: \
                         widen it or raise node_prefix_lengths"
                    ),
                });
            }
        }
        Ok(())
    }
}

fn listed(ranges: &[impl ToString]) -> String {
    let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn parse_all<T>(
    key: &'static str,
    texts: &[String],
    parse: impl Fn(&'static str, &str) -> Result<T, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    texts.iter().map(|text| parse(key, text)).collect()
}

fn not_empty(key: &'static str, count: usize) -> Result<(), ConfigError> {
    if count > 0 {
        return Ok(());
    }
    Err(ConfigError::Value {
        key,
        value: "[]".to_owned(),
        cure: "name at least one range".to_owned(),
    })
}

#[cfg(test)]
mod tests;
