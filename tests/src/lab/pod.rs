//! A pod: a network namespace on a node, attached by the real plugin or wired by hand.

use std::net::IpAddr;
use std::ops::Deref;

use anyhow::{Context, Result};

use super::place::Place;

/// A pod on a node.
#[derive(Debug)]
pub struct Pod {
    place: Place,
    addresses: Vec<IpAddr>,
    container: String,
}

impl Pod {
    pub(super) fn new(place: Place, addresses: Vec<IpAddr>, container: &str) -> Self {
        Self {
            place,
            addresses,
            container: container.to_owned(),
        }
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Its IPv4 address.
    ///
    /// # Errors
    /// When it has none.
    pub fn ipv4(&self) -> Result<IpAddr> {
        self.first(IpAddr::is_ipv4)
    }

    /// Its IPv6 address.
    ///
    /// # Errors
    /// When it has none.
    pub fn ipv6(&self) -> Result<IpAddr> {
        self.first(IpAddr::is_ipv6)
    }

    /// The container id that the plugin knows it by.
    pub fn container(&self) -> &str {
        &self.container
    }

    fn first(&self, wanted: fn(&IpAddr) -> bool) -> Result<IpAddr> {
        let found = self.addresses.iter().copied().find(wanted);
        found.with_context(|| format!("pod {} has no address of that family", self.name()))
    }
}

impl Deref for Pod {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}
