//! Hosts on which the pods' addresses are taken, and hosts on which they only seem to be.

use cni_protocol::contract::{POD_LINK_GROUP, ROUTE_PROTOCOL, TUN_NAME};

use super::{Gateway, HostLink, HostNetworks, HostRoute, check_networks, endpoint_mtu};
use crate::config::Config;

const KERNEL: u8 = 2;

fn config(endpoint_mtu: &str) -> Config {
    let pin = format!("sha256:{:064}", 1);
    let text = format!(
        r#"
node_name = "alice"
trust_domain = "sotto.test"
pins = ["{pin}"]
store_directory = "/var/lib/sotto-store"
cluster_pod_ranges = ["10.244.0.0/16", "fd00:10:244::/56"]
underlay_ranges = ["198.51.100.0/24"]
endpoints = ["198.51.100.1"]
{endpoint_mtu}
"#
    );
    crate::sample::parse(&text)
}

fn link(index: u32, name: &str, addresses: &[&str]) -> HostLink {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    HostLink {
        index,
        name: name.to_owned(),
        group: 0,
        mtu: 1500,
        addresses,
    }
}

fn route(destination: &str, link: u32, gateway: Gateway) -> HostRoute {
    HostRoute {
        destination: destination.parse().unwrap(),
        link: Some(link),
        gateway,
        protocol: KERNEL,
    }
}

fn host(links: Vec<HostLink>, routes: Vec<HostRoute>) -> HostNetworks {
    let mut all = vec![
        link(1, "lo", &["127.0.0.1/8", "::1/128"]),
        link(2, "eth0", &["198.51.100.1/24"]),
    ];
    all.extend(links);
    HostNetworks { links: all, routes }
}

fn check(host: &HostNetworks) -> Result<(), String> {
    check_networks(&config(""), host).map_err(|error| error.to_string())
}

#[test]
fn bi01_pod_ranges_that_the_host_already_uses_are_refused() {
    let docker = host(vec![link(3, "docker0", &["10.244.0.1/20"])], vec![]);
    let wide = host(vec![link(3, "eth1", &["10.1.2.3/8"])], vec![]);
    let other_cluster = host(vec![], vec![route("10.244.7.0/24", 2, Gateway::Via)]);
    let equal = host(vec![], vec![route("10.244.0.0/16", 2, Gateway::Via)]);
    let on_link = host(vec![], vec![route("10.0.0.0/8", 2, Gateway::OnLink)]);
    let ipv6 = host(vec![link(3, "eth1", &["fd00:10:244::5/64"])], vec![]);

    assert!(
        check(&docker)
            .unwrap_err()
            .contains("link docker0 of this host has 10.244.0.1/20")
    );
    assert!(check(&wide).unwrap_err().contains("link eth1"));
    assert!(
        check(&other_cluster)
            .unwrap_err()
            .contains("route to 10.244.7.0/24")
    );
    assert!(
        check(&equal)
            .unwrap_err()
            .contains("route to 10.244.0.0/16")
    );
    assert!(check(&on_link).unwrap_err().contains("route to 10.0.0.0/8"));
    assert!(
        check(&ipv6)
            .unwrap_err()
            .starts_with("cluster_pod_ranges = \"fd00:10:244::/56\"")
    );
}

#[test]
fn defaults_and_larger_networks_behind_a_router_are_no_conflict() {
    let routes = vec![
        route("0.0.0.0/0", 2, Gateway::Via),
        route("0.0.0.0/1", 2, Gateway::Via),
        route("10.0.0.0/8", 2, Gateway::Via),
        route("198.51.100.0/24", 2, Gateway::OnLink),
    ];

    check(&host(vec![], routes)).unwrap();
}

#[test]
fn what_an_earlier_daemon_left_is_no_conflict() {
    let pod = HostLink {
        group: POD_LINK_GROUP,
        ..link(4, "sp0123456789abc", &[])
    };
    let ours = HostRoute {
        protocol: ROUTE_PROTOCOL,
        ..route("10.244.0.0/16", 3, Gateway::OnLink)
    };
    let routes = vec![ours, route("10.244.1.7/32", 4, Gateway::OnLink)];

    check(&host(
        vec![link(3, TUN_NAME, &["10.244.1.1/32"]), pod],
        routes,
    ))
    .unwrap();
}

#[test]
fn bi04_the_endpoints_links_decide_about_the_mtu() {
    let mut host = host(vec![], vec![]);
    let mtu = |host: &HostNetworks, setting: &str| {
        endpoint_mtu(&config(setting), host).map_err(|error| error.to_string())
    };

    assert_eq!(mtu(&host, ""), Ok(1500));
    assert_eq!(mtu(&host, "endpoint_mtu = 1400"), Ok(1400));
    assert!(
        mtu(&host, "endpoint_mtu = 9000")
            .unwrap_err()
            .contains("link eth0 of endpoint 198.51.100.1 carries 1500")
    );
    host.links[1].mtu = 1300;
    assert!(mtu(&host, "").unwrap_err().contains("at least 1360"));
    host.links.remove(1);
    assert!(
        mtu(&host, "")
            .unwrap_err()
            .contains("no link of this host has it")
    );
}
