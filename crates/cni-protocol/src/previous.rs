//! `prevResult`: what the runtime kept of an ADD, as CHECK gets it back.
//!
//! Plugins after us may have changed it, so it is read for what is ours and the rest is passed over.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;

/// The parts of an earlier result that CHECK compares with.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct PreviousResult {
    /// All interfaces, of the host and of the pod.
    #[serde(default)]
    pub interfaces: Vec<PreviousInterface>,
    /// All addresses.
    #[serde(default)]
    pub ips: Vec<PreviousAddress>,
}

/// An interface of an earlier result.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct PreviousInterface {
    /// Its name.
    pub name: String,
    /// The namespace it is in; empty for the host's.
    #[serde(default)]
    pub sandbox: String,
}

/// An address of an earlier result.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct PreviousAddress {
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// Which of the interfaces has it.
    pub interface: Option<usize>,
}

impl PreviousResult {
    /// Reads a `prevResult`.
    ///
    /// # Errors
    /// When an interface or address has not the specified shape.
    pub fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(value)
    }

    /// The addresses of the pod's interface of that name.
    #[must_use]
    pub fn pod_addresses(&self, interface: &str) -> Vec<IpAddr> {
        let belongs = |entry: &&PreviousAddress| {
            entry
                .interface
                .and_then(|index| self.interfaces.get(index))
                .is_some_and(|found| found.name == interface && !found.sandbox.is_empty())
        };
        let of_interface = self.ips.iter().filter(belongs);
        of_interface.map(|entry| entry.address.ip()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_addresses_of_the_pods_interface_are_ours() {
        let value = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "sp1"}, {"name": "eth0", "sandbox": "/n"}, {"name": "eth0"}],
            "ips": [
                {"address": "10.244.1.2/32", "gateway": "169.254.1.1", "interface": 1},
                {"address": "10.9.9.9/24", "interface": 0},
                {"address": "10.9.9.8/24", "interface": 2},
                {"address": "10.9.9.7/24", "interface": 9},
                {"address": "10.9.9.6/24"},
            ],
        });

        let previous = PreviousResult::from_value(&value).unwrap();

        let expected: IpAddr = "10.244.1.2".parse().unwrap();
        assert_eq!(previous.pod_addresses("eth0"), [expected]);
    }

    #[test]
    fn a_shape_that_is_not_specified_is_refused() {
        for value in [
            json!({"ips": [{"address": "x"}]}),
            json!({"interfaces": {}}),
            json!(7),
        ] {
            assert!(PreviousResult::from_value(&value).is_err(), "{value}");
        }
    }
}
