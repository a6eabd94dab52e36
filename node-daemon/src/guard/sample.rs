//! The plan that unit tests work with.

use super::plan::GuardPlan;

/// Alice's guard: dual stack, two nodes, one lane.
pub(crate) fn plan() -> GuardPlan {
    let ranges = |texts: &[&str]| {
        let ranges = texts.iter().map(|text| text.parse().unwrap()).collect();
        node_identity::PodRanges::try_new(ranges).unwrap()
    };
    GuardPlan {
        tun: "sotto0".to_owned(),
        mtu: 1420,
        cluster: ranges(&["10.244.0.0/16", "fd00:10:244::/56"]),
        own: ranges(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
        services: vec![
            "10.96.0.0/12".parse().unwrap(),
            "fd96::/112".parse().unwrap(),
        ],
        nodes: ["198.51.100.2", "2001:db8::1", "198.51.100.1", "2001:db8::2"]
            .map(|address| address.parse().unwrap())
            .to_vec(),
        ports: 51820..=51820,
        tun_addresses: vec![
            "10.244.1.0".parse().unwrap(),
            "fd00:10:244:1::".parse().unwrap(),
        ],
    }
}
