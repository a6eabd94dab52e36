//! The same with the kube-proxy of older clusters, in short.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{ProxyMode, Trio};
use sotto_tests::lab::Lab;

use super::{host_port, large, names, reach};

pub(crate) fn cases() -> Vec<Case> {
    cases![bi12_services_work_with_kube_proxy_in_iptables_mode]
}

fn bi12_services_work_with_kube_proxy_in_iptables_mode(lab: &Lab) -> Result<()> {
    let trio = Trio::raise(lab, ProxyMode::Iptables)?;
    check(lab, &trio).with_context(|| trio.cluster.state())
}

fn check(lab: &Lab, trio: &Trio) -> Result<()> {
    let rules = trio
        .alice
        .place()?
        .shell("nft list tables; iptables-save --table nat")?;
    ensure!(
        rules.contains("-j KUBE-SERVICES") && !rules.contains("kube-proxy"),
        "kube-proxy is in another mode: {rules}"
    );
    let outside = lab.station("outside", 220)?;
    let space = trio.cluster.space("services")?;
    space.web("web", "bob")?;
    space.web("client", "alice")?;
    space.service("web", "web", &json!({}))?;
    reach::cluster_ip(trio, &space)?;
    reach::through_itself(&space)?;
    reach::node_ports(trio, &space, &outside, 220)?;
    names::resolves(&space, "web")?;
    large::large_datagrams(&space)?;
    let ports = trio.cluster.space("host-ports")?;
    host_port::only_the_nodes_own(trio, &ports, &outside)?;
    trio.nothing_leaked()
}
