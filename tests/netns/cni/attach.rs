//! ADD when all is well: what it makes is what guard and pods rely on.

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::Lab;

use super::runtime::{Call, Runtime, addresses, node_end, node_state};

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_pod_and_its_node_reach_each_other_at_once,
        a_pods_link_is_as_the_guard_expects,
        a_node_of_one_family_attaches_pods_of_one_family,
        cn16_the_answer_has_the_version_asked_with,
        what_plugins_before_made_is_handed_on,
        cn25_odd_arguments_choose_no_address_and_no_path,
        i3_an_address_with_a_route_of_its_own_is_not_given_away,
    ]
}

fn a_pod_and_its_node_reach_each_other_at_once(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;

    let result = runtime.attach("web")?;

    // No waiting: with duplicate-address detection IPv6 would be silent for a second.
    ensure!(addresses(&result) == ["10.244.1.2", "fd00:10:244:1::2"]);
    for address in addresses(&result) {
        runtime.node.shell(&format!("ping -c 1 -W 1 {address}"))?;
    }
    for tun in ["10.244.1.1", "fd00:10:244:1::1"] {
        let line = format!("ip netns exec web ping -c 1 -W 1 {tun}");
        runtime.node.shell(&line)?;
    }
    Ok(())
}

fn a_pods_link_is_as_the_guard_expects(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let result = runtime.attach("web")?;
    let link = node_end(&result)?;

    let node = runtime.node.shell(&format!(
        "ip -d link show {link}; ip route show proto 83; ip -6 route show proto 83
        ip neigh show dev {link}; ip -6 neigh show dev {link}; ip address show dev {link}"
    ))?;
    for part in [
        "group 21331",
        "addrgenmode none",
        "mtu 1420",
        "10.244.1.2 dev sp",
        "fd00:10:244:1::2 dev sp",
    ] {
        ensure!(node.contains(part), "node lacks {part:?}: {node}");
    }
    ensure!(node.matches("PERMANENT").count() >= 2, "neighbours: {node}");
    ensure!(
        !node.contains("inet"),
        "the node's end has an address: {node}"
    );

    for (setting, value) in [
        ("ipv4/conf/{}/rp_filter", "1"),
        ("ipv4/conf/{}/send_redirects", "0"),
        ("ipv4/conf/{}/accept_source_route", "0"),
        ("ipv4/conf/{}/proxy_arp", "0"),
        ("ipv6/conf/{}/accept_ra", "0"),
        ("ipv6/conf/{}/accept_redirects", "0"),
        ("ipv6/conf/{}/proxy_ndp", "0"),
    ] {
        let path = format!("/proc/sys/net/{}", setting.replace("{}", link));
        let found = runtime.node.shell(&format!("cat {path}"))?;
        ensure!(found.trim() == value, "{path} is {found}");
    }

    let pod = runtime.node.shell(
        "ip -n web -d address show dev eth0; ip -n web route; ip -n web -6 route
        ip -n web neigh; ip -n web -6 neigh; ip netns exec web cat /proc/sys/net/ipv6/conf/eth0/accept_ra",
    )?;
    for part in [
        "inet 10.244.1.2/32",
        "inet6 fd00:10:244:1::2/128",
        "default via 169.254.1.1 dev eth0",
        "default via fe80::1 dev eth0",
        "169.254.1.1 lladdr",
        "fe80::1 lladdr",
        "\n0\n",
    ] {
        let pod = pod.replace("dev eth0 lladdr", "lladdr");
        ensure!(pod.contains(part), "pod lacks {part:?}: {pod}");
    }
    ensure!(
        !pod.contains("tentative"),
        "duplicate-address detection: {pod}"
    );
    ensure!(!pod.contains("inet6 fe80"), "a generated address: {pod}");
    Ok(())
}

fn a_node_of_one_family_attaches_pods_of_one_family(lab: &Lab) -> Result<()> {
    let runtime = Runtime::with_ranges(lab, &["fd00:10:244:1::/64"])?;
    let result = runtime.attach("six")?;
    ensure!(addresses(&result) == ["fd00:10:244:1::2"], "{result}");
    runtime.node.shell("ping -c 1 -W 1 fd00:10:244:1::2")?;

    runtime.write_node_state(&node_state(&["10.244.1.0/24"]))?;
    let result = runtime.attach("four")?;
    ensure!(addresses(&result) == ["10.244.1.2"], "{result}");
    runtime.node.shell("ping -c 1 -W 1 10.244.1.2")?;
    let generated = runtime.node.shell("ip -n four -6 address show dev eth0")?;
    ensure!(generated.is_empty(), "IPv6 in an IPv4 pod: {generated}");
    Ok(())
}

fn cn16_the_answer_has_the_version_asked_with(lab: &Lab) -> Result<()> {
    let mut runtime = Runtime::new(lab)?;

    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        runtime.config["cniVersion"] = json!(version);
        let pod = format!("v{version}");
        let result = runtime.attach(&pod)?;
        ensure!(result["cniVersion"] == version, "{result}");
        let has_mtu = result["interfaces"][1]["mtu"] == 1420;
        ensure!(has_mtu == (version == "1.1.0"), "{result}");
        let has_families = result["ips"][1]["version"] == "6";
        ensure!(has_families == version.starts_with("0."), "{result}");
        ensure!(result["interfaces"][1]["name"] == "eth0", "{result}");
        ensure!(result["ips"][0]["interface"] == 1, "{result}");
        let sandbox = format!("/run/netns/{pod}");
        ensure!(result["interfaces"][1]["sandbox"] == sandbox, "{result}");

        let check = runtime.execute(&runtime.with_previous("CHECK", &pod, &result))?;
        if version == "0.3.1" {
            check.failed(1, "CHECK")?;
        } else {
            check.success()?;
        }
        if version == "1.1.0" {
            runtime.status()?.success()?;
        } else {
            runtime.status()?.failed(1, "STATUS")?;
            let gc = runtime.execute(&runtime.call("GC", ""))?;
            gc.failed(1, "GC")?;
        }
        let previous = runtime.with_previous("DEL", &pod, &result);
        runtime.execute(&previous)?.success()?;
        ensure!(runtime.held()?.is_empty(), "{version}: not freed");
    }
    for version in [
        json!("0.2.0"),
        json!("2.0.0"),
        json!(""),
        json!(null),
        json!(1),
    ] {
        runtime.config["cniVersion"] = version;
        for verb in ["ADD", "DEL", "CHECK", "STATUS", "GC"] {
            let answer = runtime.execute(&runtime.call(verb, "v1.1.0"))?;
            answer.failed(1, "cniVersion")?;
        }
    }
    let reply = runtime.execute(&runtime.call("VERSION", ""))?.success()?;
    ensure!(
        reply["supportedVersions"] == json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]),
        "{reply}"
    );
    Ok(())
}

fn what_plugins_before_made_is_handed_on(lab: &Lab) -> Result<()> {
    let mut runtime = Runtime::new(lab)?;
    let before = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net9", "sandbox": "/run/netns/web", "mac": "02:00:00:00:00:09"}],
        "ips": [{"address": "192.168.77.1/24", "interface": 0}],
        "dns": {"nameservers": ["192.168.77.9"]},
    });
    runtime.config["capabilities"] = json!({"portMappings": true, "dns": true});
    runtime.config["runtimeConfig"] =
        json!({"portMappings": [{"hostPort": 80}], "ips": ["10.0.0.1"]});
    runtime.sandbox("web")?;

    let add = runtime.with_previous("ADD", "web", &before);
    let result = runtime.execute(&add)?.success()?;

    ensure!(
        result["interfaces"][0] == before["interfaces"][0],
        "{result}"
    );
    ensure!(result["interfaces"][2]["name"] == "eth0", "{result}");
    ensure!(result["ips"][0] == before["ips"][0], "{result}");
    ensure!(result["ips"][1]["interface"] == 2, "{result}");
    ensure!(result["dns"] == before["dns"], "{result}");
    ensure!(addresses(&result)[1] == "10.244.1.2", "{result}");
    let check = runtime.with_previous("CHECK", "web", &result);
    runtime.execute(&check)?.success()?;
    runtime
        .execute(&runtime.with_previous("DEL", "web", &result))?
        .success()?;

    let torn = runtime.with_previous("ADD", "web", &json!({"ips": "x"}));
    runtime.execute(&torn)?.failed(6, "prevResult")?;
    ensure!(runtime.held()?.is_empty() && runtime.links()?.is_empty());
    // The first plugin made the interface of our name.
    runtime
        .node
        .shell("ip -n web link add eth0 type veth peer name other")?;
    runtime.execute(&add)?.failed(100, "eth0")
}

fn cn25_odd_arguments_choose_no_address_and_no_path(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    runtime.sandbox("web")?;
    let add = |arguments: &str| {
        runtime.execute(&Call {
            arguments,
            ..runtime.call("ADD", "web")
        })
    };

    for address in ["10.244.1.77", "10.9.9.9", "x"] {
        add(format!("IgnoreUnknown=1;IP={address}").as_str())?.failed(4, "CNI_ARGS")?;
    }
    ensure!(runtime.held()?.is_empty(), "an address was reserved");

    let long = format!("X={};;;=;K8S_POD_NAME=../../../etc/x", "y".repeat(60_000));
    let result = add(&long)?.success()?;
    ensure!(addresses(&result)[0] == "10.244.1.2", "{result}");
    Ok(())
}

fn i3_an_address_with_a_route_of_its_own_is_not_given_away(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    runtime.node.shell(
        "ip route add 10.244.1.2/32 dev sotto0
        ip route add fd00:10:244:1::2/128 dev sotto0",
    )?;

    let result = runtime.attach("web")?;

    ensure!(
        addresses(&result) == ["10.244.1.3", "fd00:10:244:1::3"],
        "{result}"
    );
    Ok(())
}
