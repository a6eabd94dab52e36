//! The result of a successful ADD, in the layout of the version asked for.
//!
//! Runtimes file an address under the interface that its index names and insist that the pod's own
//! has one, so the index always points at the pod's interface. What plugins before us made stays in
//! front, because its indices count from there.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::previous::PreviousResult;
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
#[derive(Debug, PartialEq, Eq)]
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
    /// What plugins before us made.
    pub previous: Option<PreviousResult>,
}

impl AddResult {
    /// The object to print.
    #[must_use]
    pub fn to_json(&self, version: CniVersion) -> String {
        let previous = self.previous.as_ref();
        let mut result = previous.map_or_else(Map::new, |it| it.document.clone());
        let pod = previous.map_or(0, |it| it.interfaces.len()) + 1;
        let addresses = self.addresses.iter();
        let ips = addresses.clone().map(|it| ip_entry(it, pod, version));
        append(&mut result, "interfaces", self.interfaces(version));
        append(&mut result, "ips", ips);
        append(&mut result, "routes", addresses.map(default_route));
        if let Some(dns) = &self.dns {
            result.insert("dns".into(), dns.clone());
        }
        result.entry("dns").or_insert_with(|| json!({}));
        result.insert("cniVersion".into(), version.as_str().into());
        Value::Object(result).to_string()
    }

    fn interfaces(&self, version: CniVersion) -> [Value; 2] {
        let mut interfaces = [
            json!({"name": self.host.name, "mac": self.host.mac.to_string()}),
            json!({
                "name": self.pod.name, "mac": self.pod.mac.to_string(), "sandbox": self.sandbox,
            }),
        ];
        match version {
            CniVersion::V0_3_1 | CniVersion::V0_4_0 | CniVersion::V1_0_0 => {}
            CniVersion::V1_1_0 => {
                for interface in interfaces.iter_mut().filter_map(Value::as_object_mut) {
                    interface.insert("mtu".into(), self.mtu.into());
                }
            }
        }
        interfaces
    }
}

fn append(result: &mut Map<String, Value>, key: &str, entries: impl IntoIterator<Item = Value>) {
    let list = result.entry(key).or_insert(Value::Null);
    if list.is_null() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        list.extend(entries);
    }
}

fn ip_entry(assigned: &AssignedAddress, interface: usize, version: CniVersion) -> Value {
    let (length, family) = match assigned.address {
        IpAddr::V4(_) => (32, "4"),
        IpAddr::V6(_) => (128, "6"),
    };
    let mut entry = json!({
        "address": format!("{}/{length}", assigned.address),
        "gateway": assigned.gateway.to_string(),
        "interface": interface,
    });
    match (version, entry.as_object_mut()) {
        (CniVersion::V0_3_1 | CniVersion::V0_4_0, Some(entry)) => {
            entry.insert("version".into(), family.into());
        }
        (CniVersion::V0_3_1 | CniVersion::V0_4_0, None)
        | (CniVersion::V1_0_0 | CniVersion::V1_1_0, _) => {}
    }
    entry
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
            previous: None,
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

    fn parsed(result: &AddResult, version: CniVersion) -> Value {
        serde_json::from_str(&result.to_json(version)).unwrap()
    }

    #[test]
    fn cn16_a_result_has_the_layout_of_its_version() {
        for (version, has_family, has_mtu) in [
            (CniVersion::V0_3_1, true, false),
            (CniVersion::V0_4_0, true, false),
            (CniVersion::V1_0_0, false, false),
            (CniVersion::V1_1_0, false, true),
        ] {
            let value = parsed(&result(), version);

            assert_eq!(value["cniVersion"], version.as_str());
            let families = (&value["ips"][0]["version"], &value["ips"][1]["version"]);
            let expected = (json!("4"), json!("6"));
            assert_eq!(families == (&expected.0, &expected.1), has_family);
            assert_eq!(value.to_string().contains("mtu"), has_mtu);
            assert_eq!(value["ips"][1]["interface"], 1);
        }
    }

    #[test]
    fn what_plugins_before_us_made_is_handed_on_and_counted() {
        let before = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "dummy0"}, {"name": "net1", "sandbox": "/n", "x": 1}],
            "ips": [{"address": "10.9.9.9/24", "interface": 1}],
            "routes": null,
            "dns": {"nameservers": ["10.9.9.1"]},
            "cni.dev/future": true,
        });
        let mut result = result();
        result.previous = Some(PreviousResult::from_value(&before).unwrap());

        let value = parsed(&result, CniVersion::V1_1_0);

        assert_eq!(value["interfaces"][1], before["interfaces"][1]);
        assert_eq!(value["interfaces"][3]["name"], "eth0");
        assert_eq!(value["ips"][0], before["ips"][0]);
        assert_eq!(value["ips"][1]["interface"], 3);
        assert_eq!(value["ips"][2]["interface"], 3);
        assert_eq!(value["routes"].as_array().unwrap().len(), 2);
        assert_eq!(value["dns"], before["dns"]);
        assert_eq!(value["cni.dev/future"], true);

        result.dns = Some(json!({"domain": "ours"}));
        assert_eq!(parsed(&result, CniVersion::V1_1_0)["dns"]["domain"], "ours");
    }
}
