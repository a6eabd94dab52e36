//! The result of a successful ADD, in the layout of the version asked for.
//!
//! Runtimes file an address under the interface that its index names and insist that the pod's own
//! has one, so the index always points at the pod's interface.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::version::CniVersion;

/// A link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl std::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// One end of a pod's link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// The interface's name.
    pub name: String,
    /// Its link-layer address.
    pub mac: MacAddress,
}

/// An address of the pod with its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssignedAddress {
    /// The address, alone on its link.
    pub address: IpAddr,
    /// Where everything goes.
    pub gateway: IpAddr,
}

/// What an ADD made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddResult {
    /// The end on the node.
    pub host: LinkEnd,
    /// The end in the pod.
    pub pod: LinkEnd,
    /// File of the pod's network namespace.
    pub sandbox: String,
    /// MTU of both ends in bytes.
    pub mtu: u16,
    /// The pod's addresses, IPv4 first.
    pub addresses: Vec<AssignedAddress>,
    /// Name resolution that the configuration asks for.
    pub dns: Option<Value>,
}

impl AddResult {
    /// The object to print.
    #[must_use]
    pub fn to_json(&self, version: CniVersion) -> String {
        let mut interfaces = [
            json!({"name": self.host.name, "mac": self.host.mac.to_string()}),
            json!({
                "name": self.pod.name, "mac": self.pod.mac.to_string(), "sandbox": self.sandbox,
            }),
        ];
        match version {
            CniVersion::V1_0_0 => {}
            CniVersion::V1_1_0 => {
                for interface in interfaces.iter_mut().filter_map(Value::as_object_mut) {
                    interface.insert("mtu".into(), self.mtu.into());
                }
            }
        }
        let addresses = self.addresses.iter();
        let ips: Vec<_> = addresses.clone().map(ip_entry).collect();
        let routes: Vec<_> = addresses.map(default_route).collect();
        json!({
            "cniVersion": version.as_str(),
            "interfaces": interfaces,
            "ips": ips,
            "routes": routes,
            "dns": self.dns.clone().unwrap_or_else(|| json!({})),
        })
        .to_string()
    }
}

fn ip_entry(assigned: &AssignedAddress) -> Value {
    let length = match assigned.address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    json!({
        "address": format!("{}/{length}", assigned.address),
        "gateway": assigned.gateway.to_string(),
        "interface": 1,
    })
}

fn default_route(assigned: &AssignedAddress) -> Value {
    let destination = match assigned.address {
        IpAddr::V4(_) => "0.0.0.0/0",
        IpAddr::V6(_) => "::/0",
    };
    json!({"dst": destination, "gw": assigned.gateway.to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{GATEWAY_V4, GATEWAY_V6};

    fn result() -> AddResult {
        let mac = MacAddress([2, 0, 0, 0xab, 0, 1]);
        let end = |name: &str| LinkEnd {
            name: name.into(),
            mac,
        };
        let assigned = |address: &str, gateway| AssignedAddress {
            address: address.parse().unwrap(),
            gateway,
        };
        AddResult {
            host: end("sp0123456789abc"),
            pod: end("eth0"),
            sandbox: "/var/run/netns/a".into(),
            mtu: 1420,
            addresses: vec![
                assigned("10.244.1.2", GATEWAY_V4.into()),
                assigned("fd00:10:244:1::2", GATEWAY_V6.into()),
            ],
            dns: None,
        }
    }

    #[test]
    fn the_addresses_point_at_the_pods_interface() {
        let text = result().to_json(CniVersion::V1_1_0);

        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({
                "cniVersion": "1.1.0",
                "interfaces": [
                    {"name": "sp0123456789abc", "mac": "02:00:00:ab:00:01", "mtu": 1420},
                    {"name": "eth0", "mac": "02:00:00:ab:00:01", "mtu": 1420,
                     "sandbox": "/var/run/netns/a"},
                ],
                "ips": [
                    {"address": "10.244.1.2/32", "gateway": "169.254.1.1", "interface": 1},
                    {"address": "fd00:10:244:1::2/128", "gateway": "fe80::1", "interface": 1},
                ],
                "routes": [
                    {"dst": "0.0.0.0/0", "gw": "169.254.1.1"},
                    {"dst": "::/0", "gw": "fe80::1"},
                ],
                "dns": {},
            })
        );
    }

    #[test]
    fn cn16_a_result_of_1_0_0_has_no_mtu() {
        let text = result().to_json(CniVersion::V1_0_0);

        assert!(text.contains(r#""cniVersion":"1.0.0""#), "{text}");
        assert!(!text.contains("mtu"), "{text}");
    }
}
