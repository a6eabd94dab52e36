//! `prevResult`: what plugins before us made, for ADD, or what the runtime kept of an ADD, for CHECK.
//! The answer of a foreign address plugin has the same shape.
//!
//! Others may have changed it, so it is read for what is ours; the rest is handed on as it is.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The parts of an earlier result that CHECK compares with.
#[derive(Debug, PartialEq, Eq)]
pub struct PreviousResult {
    /// All interfaces, of the host and of the pod.
    pub interfaces: Vec<PreviousInterface>,
    /// All addresses.
    pub ips: Vec<PreviousAddress>,
    /// All of it, to be handed on.
    pub(crate) document: Map<String, Value>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "null_is_none")]
    interfaces: Vec<PreviousInterface>,
    #[serde(default, deserialize_with = "null_is_none")]
    ips: Vec<PreviousAddress>,
    // Only handed on, but what is no list cannot be added to.
    #[serde(default, deserialize_with = "null_is_none", rename = "routes")]
    _routes: Vec<Value>,
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
    /// Which of the interfaces has it; some plugins write -1 for none.
    pub interface: Option<i64>,
}

/// What another plugin printed is no result.
#[derive(Debug, thiserror::Error)]
#[error("expected an object with ips, each with an address and its length")]
pub struct UnreadableResult(#[source] serde_json::Error);

impl PreviousResult {
    /// Reads a `prevResult`.
    ///
    /// # Errors
    /// When an interface or address has not the specified shape.
    pub fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
        let Wire {
            interfaces, ips, ..
        } = Wire::deserialize(value)?;
        Ok(Self {
            interfaces,
            ips,
            document: Map::deserialize(value)?,
        })
    }

    /// Reads what another plugin printed.
    ///
    /// # Errors
    /// When it is no JSON, or has not the specified shape.
    pub fn from_json(text: &[u8]) -> Result<Self, UnreadableResult> {
        let value = serde_json::from_slice(text);
        value
            .and_then(|value| Self::from_value(&value))
            .map_err(UnreadableResult)
    }

    /// Every address, whichever interface has it.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.ips.iter().map(|entry| entry.address.ip()).collect()
    }

    /// The addresses of the pod's interface of that name.
    #[must_use]
    pub fn pod_addresses(&self, interface: &str) -> Vec<IpAddr> {
        let belongs = |entry: &&PreviousAddress| {
            entry
                .interface
                .and_then(|index| self.interfaces.get(usize::try_from(index).ok()?))
                .is_some_and(|found| found.name == interface && !found.sandbox.is_empty())
        };
        let of_interface = self.ips.iter().filter(belongs);
        of_interface.map(|entry| entry.address.ip()).collect()
    }
}

/// Go writes an absent list as `null`.
fn null_is_none<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
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
                {"address": "10.9.9.5/24", "interface": -1},
            ],
        });

        let previous = PreviousResult::from_value(&value).unwrap();

        let expected: IpAddr = "10.244.1.2".parse().unwrap();
        assert_eq!(previous.pod_addresses("eth0"), [expected]);
    }

    #[test]
    fn lists_may_be_absent_or_null_and_addresses_may_say_their_family() {
        let value = json!({
            "cniVersion": "0.4.0", "interfaces": null, "routes": null,
            "ips": [{"version": "4", "address": "10.244.1.2/24", "gateway": "10.244.1.1"}],
        });

        let previous = PreviousResult::from_value(&value).unwrap();

        let expected: IpAddr = "10.244.1.2".parse().unwrap();
        assert_eq!(previous.addresses(), [expected]);
        assert!(previous.pod_addresses("eth0").is_empty());
        assert!(
            PreviousResult::from_value(&json!({}))
                .unwrap()
                .ips
                .is_empty()
        );
    }

    #[test]
    fn a_shape_that_is_not_specified_is_refused() {
        for value in [
            json!({"ips": [{"address": "x"}]}),
            json!({"interfaces": {}}),
            json!({"routes": "x"}),
            json!([[], [], []]),
            json!(7),
        ] {
            assert!(PreviousResult::from_value(&value).is_err(), "{value}");
        }
    }
}
