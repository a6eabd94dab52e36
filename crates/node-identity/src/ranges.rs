//! Pod ranges: one prefix ([`PodCidr`]) and a set of prefixes ([`PodRanges`]).
//!
//! Parsing is strict on purpose. `ipnetwork` keeps host bits, takes a bare address and a netmask;
//! two spellings of one range would be two answers to "whose address is this".

mod interval;
mod network;
mod set;

use std::{fmt, net::IpAddr, str::FromStr};

use ipnetwork::IpNetwork;
use thiserror::Error;

pub(crate) use interval::{Family, Interval, join, union};
pub use network::{NetworkError, parse_network};
pub use set::{PodRanges, PodRangesError};

use crate::encoding::serde_as_text;

/// A prefix that pods may live in: no host bits, no special-purpose addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodCidr(IpNetwork);

/// Why text or a network is not a pod range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PodCidrError {
    /// Not `address/prefix length`.
    #[error("read pod range {0:?}: address/length is expected, such as 10.244.1.0/24")]
    Malformed(String),
    /// Bits behind the prefix are set.
    #[error("read pod range {given}: it has host bits, did you mean {network}?")]
    HostBits {
        /// What was given.
        given: IpNetwork,
        /// The same with the host bits cleared.
        network: IpNetwork,
    },
    /// The range touches addresses that no pod may have.
    #[error("read pod range {given}: it overlaps {reserved}, which pods cannot have")]
    Reserved {
        /// What was given.
        given: IpNetwork,
        /// The special-purpose prefix (RFC 6890) it touches.
        reserved: &'static str,
    },
}

/// Special-purpose prefixes (RFC 6890) in which nothing can be reached from another node, with what
/// they are; a v4-mapped address would be a second spelling.
const SPECIAL: [(&str, &str); 9] = [
    ("0.0.0.0/8", "this host"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("::/127", "loopback and unspecified"),
    ("::ffff:0:0/96", "IPv4 written as IPv6"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

/// Prefixes that are reserved: no pod is put there, though some networks have nodes there.
const RESERVED: [(&str, &str); 2] = [("240.0.0.0/4", "reserved"), ("::/8", "reserved")];

/// The special-purpose prefix that a network touches, where neither pods nor nodes nor Services can
/// be, and what it is.
#[must_use]
pub fn special_purpose(network: IpNetwork) -> Option<(&'static str, &'static str)> {
    touched(network, &SPECIAL)
}

fn touched(
    network: IpNetwork,
    prefixes: &[(&'static str, &'static str)],
) -> Option<(&'static str, &'static str)> {
    let touches = |prefix: &str| prefix.parse().is_ok_and(|it| overlap(network, it));
    prefixes.iter().copied().find(|(prefix, _)| touches(prefix))
}

impl PodCidr {
    /// The prefix length.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix()
    }

    /// The first address of the range, which is also the network's.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.0.network()
    }

    /// The last address of the range.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.0.broadcast()
    }

    /// Whether the address lies in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Whether the two ranges share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        overlap(self.0, other.0)
    }

    /// Whether this is an IPv4 range.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.0.is_ipv4()
    }

    /// The range as the `ipnetwork` type.
    #[must_use]
    pub const fn to_network(&self) -> IpNetwork {
        self.0
    }
}

/// Whether two networks share an address: prefixes are nested or disjoint, so one of them then
/// contains the other's first.
#[must_use]
pub fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    contains(one, other) || contains(other, one)
}

/// Whether every address of `inner` is one of `outer`.
#[must_use]
pub fn contains(outer: IpNetwork, inner: IpNetwork) -> bool {
    outer.prefix() <= inner.prefix() && outer.contains(inner.network())
}

impl TryFrom<IpNetwork> for PodCidr {
    type Error = PodCidrError;

    fn try_from(given: IpNetwork) -> Result<Self, PodCidrError> {
        let malformed = || PodCidrError::Malformed(given.to_string());
        let network = IpNetwork::new(given.network(), given.prefix()).map_err(|_| malformed())?;
        if network.ip() != given.ip() {
            return Err(PodCidrError::HostBits { given, network });
        }
        let refused = touched(given, &SPECIAL).or_else(|| touched(given, &RESERVED));
        if let Some((reserved, _)) = refused {
            return Err(PodCidrError::Reserved { given, reserved });
        }
        Ok(Self(given))
    }
}

impl FromStr for PodCidr {
    type Err = PodCidrError;

    fn from_str(text: &str) -> Result<Self, PodCidrError> {
        let malformed = || PodCidrError::Malformed(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(malformed)?;
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let prefix: u8 = length.parse().map_err(|_| malformed())?;
        if prefix.to_string() != length {
            return Err(malformed());
        }
        IpNetwork::new(address, prefix)
            .map_err(|_| malformed())?
            .try_into()
    }
}

impl fmt::Display for PodCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PodCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodCidr({self})")
    }
}

impl From<PodCidr> for IpNetwork {
    fn from(cidr: PodCidr) -> Self {
        cidr.0
    }
}

serde_as_text!(PodCidr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_overlap_only_when_one_holds_the_other() {
        let net = |text: &str| text.parse().unwrap();

        assert!(overlap(net("10.244.0.0/16"), net("10.244.3.0/24")));
        assert!(overlap(net("10.244.3.0/24"), net("10.0.0.0/8")));
        assert!(!overlap(net("10.244.0.0/16"), net("10.245.0.0/16")));
        assert!(!overlap(net("0.0.0.0/8"), net("::/8")));
        assert!(!contains(net("10.244.3.0/24"), net("10.244.0.0/16")));
    }

    #[test]
    fn a_range_reads_back_as_it_was_written() {
        for text in ["10.244.1.0/24", "fd00:10:244::/64", "10.1.2.3/32"] {
            assert_eq!(text.parse::<PodCidr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for text in [
            "",
            "10.244.1.0",
            "10.244.1.0/",
            "10.244.1.0/33",
            "10.244.1.0/+24",
            "10.244.1.0/024",
            "10.244.1.0/255.255.255.0",
            " 10.244.1.0/24",
            "010.244.1.0/24",
            "fd00::/129",
        ] {
            let error = text.parse::<PodCidr>().unwrap_err();
            assert!(
                matches!(error, PodCidrError::Malformed(_)),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn host_bits_are_refused_with_the_cure() {
        let error = "10.244.1.7/24".parse::<PodCidr>().unwrap_err();

        assert!(error.to_string().contains("did you mean 10.244.1.0/24"));
    }

    #[test]
    fn ranges_no_pod_can_have_are_refused() {
        for text in [
            "0.0.0.0/0",
            "::/0",
            "127.0.0.0/24",
            "169.254.0.0/16",
            "224.0.0.0/4",
            "255.255.255.255/32",
            "::ffff:10.0.0.0/104",
            "fe80::/64",
            "ff02::/16",
            "128.0.0.0/1",
        ] {
            let error = text.parse::<PodCidr>().unwrap_err();
            assert!(
                matches!(error, PodCidrError::Reserved { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn ranges_know_what_they_contain() {
        let range: PodCidr = "10.244.1.0/24".parse().unwrap();

        assert!(range.contains("10.244.1.255".parse().unwrap()));
        assert!(!range.contains("10.244.2.0".parse().unwrap()));
        assert!(!range.contains("fd00::1".parse().unwrap()));
        assert_eq!(range.last(), "10.244.1.255".parse::<IpAddr>().unwrap());
        assert!(range.overlaps(&"10.244.0.0/16".parse().unwrap()));
        assert!(!range.overlaps(&"10.244.2.0/24".parse().unwrap()));
    }
}
