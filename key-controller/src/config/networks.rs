//! Ranges of the settings: one spelling each, and none over another.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use node_identity::{PodCidr, overlap, special_purpose};

use super::ConfigError;

pub(super) fn parse_cidr(key: &'static str, text: &str) -> Result<PodCidr, ConfigError> {
    text.parse::<PodCidr>().map_err(|error| ConfigError::Value {
        key,
        value: text.to_owned(),
        cure: error.to_string(),
    })
}

/// Stricter than `ipnetwork`, which takes bare addresses, netmasks and host bits.
pub(super) fn parse_network(key: &'static str, text: &str) -> Result<IpNetwork, ConfigError> {
    let refuse = |cure: String| ConfigError::Value {
        key,
        value: text.to_owned(),
        cure,
    };
    let malformed = || refuse("write it as address/length, such as 198.51.100.0/24".to_owned());
    let (address, length) = text.split_once('/').ok_or_else(malformed)?;
    let address: IpAddr = address.parse().map_err(|_| malformed())?;
    let length: u8 = length.parse().map_err(|_| malformed())?;
    let network = IpNetwork::new(address, length).map_err(|_| malformed())?;
    let masked = IpNetwork::new(network.network(), length).map_err(|_| malformed())?;
    if length == 0 {
        return Err(refuse(
            "it is every address there is: name the ranges in use".to_owned(),
        ));
    }
    if masked.ip() != address {
        return Err(refuse(format!("it has host bits: did you mean {masked}?")));
    }
    if masked.to_string() != text {
        return Err(refuse(format!("write it as {masked}")));
    }
    if let Some((special, name)) = special_purpose(masked) {
        return Err(refuse(format!(
            "it overlaps {special} ({name}): choose another range"
        )));
    }
    Ok(masked)
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
