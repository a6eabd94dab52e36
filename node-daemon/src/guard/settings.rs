//! Kernel settings (`/proc/sys`) that the guard needs, and how they are given back.
//!
//! Settings of the tun device go with the device. The others belong to the node: what they were
//! before is written down in a [`Journal`] at the first change, and `uninstall` puts that back
//! where nobody has changed it since.

use cni_protocol::contract::{POD_FACING_V4, POD_FACING_V6};
use serde::{Deserialize, Serialize};

use super::plan::{Family, GuardPlan};

/// IPv4 forwarding. Written only when it is off: each write resets `accept_redirects`.
const FORWARDING_V4: &str = "net/ipv4/ip_forward";
/// IPv6 forwarding of all interfaces.
const FORWARDING_V6: &str = "net/ipv6/conf/all/forwarding";

/// One kernel setting, by its path under `/proc/sys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Path below `/proc/sys`.
    pub(crate) key: String,
    /// Wanted value.
    pub(crate) value: String,
}

impl Setting {
    pub(super) fn new(key: impl Into<String>, value: &str) -> Self {
        Self {
            key: key.into(),
            value: value.to_owned(),
        }
    }
}

/// Lists the settings of the tun device. They are written before it goes up: an address generated
/// by the kernel would have no owner at the peer.
pub(crate) fn tun_settings(plan: &GuardPlan) -> Vec<Setting> {
    const NO_GENERATED_ADDRESS: (&str, &str) = ("addr_gen_mode", "1");
    let tun = &plan.tun;
    let v4 = POD_FACING_V4
        .iter()
        .map(|(name, value)| Setting::new(format!("net/ipv4/conf/{tun}/{name}"), value));
    let v6 = POD_FACING_V6
        .iter()
        .chain([&NO_GENERATED_ADDRESS])
        .map(|(name, value)| Setting::new(format!("net/ipv6/conf/{tun}/{name}"), value));
    if has_pods(plan, Family::Ipv6) {
        v4.chain(v6).collect()
    } else {
        v4.collect()
    }
}

/// Lists what turns the node into a router. Written last: nothing is forwarded before the guard
/// stands.
pub(crate) fn forwarding_settings(plan: &GuardPlan) -> Vec<Setting> {
    let keys = [(Family::Ipv4, FORWARDING_V4), (Family::Ipv6, FORWARDING_V6)];
    keys.iter()
        .filter(|(family, _)| has_pods(plan, *family))
        .map(|(_, key)| Setting::new(*key, "1"))
        .collect()
}

/// Lists the uplinks that would lose the default route they learned from router advertisements
/// when forwarding goes on: value 1 means "unless forwarding", 2 "even then".
///
/// `accept_ra` holds each interface's present value; empty when forwarding is on already, because
/// then somebody chose that.
pub(crate) fn advertisement_settings(accept_ra: &[(String, String)]) -> Vec<Setting> {
    accept_ra
        .iter()
        .filter(|(_, value)| value == "1")
        .map(|(interface, _)| Setting::new(accept_ra_key(interface), "2"))
        .collect()
}

/// The path of an interface's `accept_ra`.
pub(crate) fn accept_ra_key(interface: &str) -> String {
    format!("net/ipv6/conf/{interface}/accept_ra")
}

/// Whether this setting turns on IPv6 forwarding for all interfaces.
pub(crate) fn turns_on_ipv6_forwarding(setting: &Setting) -> bool {
    setting.key == FORWARDING_V6
}

fn has_pods(plan: &GuardPlan, family: Family) -> bool {
    !plan.cluster_networks(family).is_empty()
}

/// What the node's settings were before we touched them. A file in the state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    settings: Vec<JournalEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalEntry {
    key: String,
    before: String,
    ours: String,
}

impl Journal {
    /// Notes a change. The first note of a key stays: a later one would record our own value.
    pub(crate) fn note(&mut self, setting: &Setting, before: &str) {
        if self.settings.iter().any(|entry| entry.key == setting.key) {
            return;
        }
        self.settings.push(JournalEntry {
            key: setting.key.clone(),
            before: before.to_owned(),
            ours: setting.value.clone(),
        });
    }

    /// Lists what to write back, newest first: only where the value is still the one we wrote.
    pub(crate) fn restorations(&self, current: impl Fn(&str) -> Option<String>) -> Vec<Setting> {
        self.settings
            .iter()
            .rev()
            .filter(|entry| current(&entry.key).as_deref() == Some(entry.ours.as_str()))
            .map(|entry| Setting::new(entry.key.clone(), &entry.before))
            .collect()
    }
}

#[cfg(test)]
mod tests;
