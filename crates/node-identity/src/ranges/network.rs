//! Networks of the underlay and of Services, as settings name them.
//!
//! Strict like pod ranges, where `ipnetwork` takes a bare address, a netmask and host bits.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use thiserror::Error;

use super::special_purpose;

/// Why a text names no network of nodes or Services; worded to follow the text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// Not `address/prefix length`.
    #[error("give address/prefix length, for example 198.51.100.0/24")]
    Malformed,
    /// A prefix of no bits.
    #[error("covers every address, give the range itself")]
    Everything,
    /// Bits behind the prefix are set.
    #[error("has host bits, did you mean {0}?")]
    HostBits(IpNetwork),
    /// It touches addresses that no node and no Service can have.
    #[error("overlaps {special} ({name}), choose another range")]
    Special {
        /// The special-purpose prefix (RFC 6890).
        special: &'static str,
        /// What it is.
        name: &'static str,
    },
}

/// Reads a network in which nodes or Services are.
///
/// # Errors
/// When the text is no network, or one in which they cannot be.
pub fn parse_network(text: &str) -> Result<IpNetwork, NetworkError> {
    let (address, length) = text.split_once('/').ok_or(NetworkError::Malformed)?;
    let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
    let prefix: u8 = length.parse().map_err(|_| NetworkError::Malformed)?;
    let given = IpNetwork::new(address, prefix).map_err(|_| NetworkError::Malformed)?;
    if prefix.to_string() != length {
        return Err(NetworkError::Malformed);
    }
    if prefix == 0 {
        return Err(NetworkError::Everything);
    }
    let network = IpNetwork::new(given.network(), prefix).map_err(|_| NetworkError::Malformed)?;
    if network != given {
        return Err(NetworkError::HostBits(network));
    }
    match special_purpose(network) {
        Some((special, name)) => Err(NetworkError::Special { special, name }),
        None => Ok(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_however_its_address_is_spelled() {
        for text in ["198.51.100.0/24", "2001:db8::/64", "2001:DB8:0::/64"] {
            let network = parse_network(text).unwrap();
            assert!(["198.51.100.0/24", "2001:db8::/64"].contains(&&*network.to_string()));
        }
    }

    #[test]
    fn bi02_what_is_no_network_is_refused() {
        for text in [
            "",
            "198.51.100.0",
            "198.51.100.0/",
            "198.51.100.0/33",
            "198.51.100.0/+24",
            "198.51.100.0/024",
            "198.51.100.0/255.255.255.0",
            " 198.51.100.0/24",
            "010.96.0.0/12",
            "2001:db8::/129",
            "nodes/24",
        ] {
            assert_eq!(parse_network(text), Err(NetworkError::Malformed), "{text}");
        }
    }

    #[test]
    fn bi02_networks_that_nobody_can_be_in_are_refused_with_the_cure() {
        for (text, cure) in [
            ("0.0.0.0/0", "covers every address"),
            ("::/0", "covers every address"),
            ("198.51.100.7/24", "did you mean 198.51.100.0/24?"),
            ("127.0.0.0/16", "127.0.0.0/8 (loopback)"),
            ("fe80::/64", "fe80::/10 (link-local)"),
            ("::ffff:10.0.0.0/104", "(IPv4 written as IPv6)"),
        ] {
            let said = parse_network(text).unwrap_err().to_string();
            assert!(said.contains(cure), "{text}: {said}");
        }
    }
}
