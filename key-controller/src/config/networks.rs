//! Ranges of the settings: read, and none over another.

use ipnetwork::IpNetwork;
use node_identity::{PodCidr, overlap};

use super::ConfigError;

pub(super) fn parse_cidr(key: &'static str, text: &str) -> Result<PodCidr, ConfigError> {
    text.parse::<PodCidr>().map_err(|error| ConfigError::Value {
        key,
        value: text.to_owned(),
        cure: error.to_string(),
    })
}

pub(super) fn parse_network(key: &'static str, text: &str) -> Result<IpNetwork, ConfigError> {
    node_identity::parse_network(text).map_err(|error| ConfigError::Value {
        key,
        value: text.to_owned(),
        cure: error.to_string(),
    })
}

/// Refuses ranges that share an address, within a key and across keys.
pub(super) fn disjoint(keys: &[(&'static str, &[IpNetwork])]) -> Result<(), ConfigError> {
    let all: Vec<(&'static str, &IpNetwork)> = keys
        .iter()
        .flat_map(|(key, ranges)| ranges.iter().map(|range| (*key, range)))
        .collect();
    for (position, (key, range)) in all.iter().enumerate() {
        for (other_key, other) in all.iter().skip(position + 1) {
            if overlap(**range, **other) {
                return Err(ConfigError::Overlap {
                    key,
                    value: range.to_string(),
                    other_key,
                    other: other.to_string(),
                });
            }
        }
    }
    Ok(())
}

pub(super) fn within_family(key: &'static str, bits: u8, most: u8) -> Result<(), ConfigError> {
    if (1..=most).contains(&bits) {
        return Ok(());
    }
    Err(ConfigError::Value {
        key,
        value: bits.to_string(),
        cure: format!("between 1 and {most}, so that the daemon and a pod have an address"),
    })
}
