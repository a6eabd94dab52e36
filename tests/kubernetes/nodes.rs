//! Nodes that go, come back, are taken away their certificate, or trust somebody else.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::{Admits, Member};
use sotto_tests::kubernetes::{Caller, KubernetesPair, NAMESPACE};
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::{traffic, wait};

use crate::applicant::denied;
use crate::enrolment::still_well;
use crate::shared::carol;

/// A removal works within this (budget B3).
const REMOVED: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        nl04_a_deleted_node_is_refused_by_its_peers,
        nl05_a_node_made_again_under_its_name_is_new_and_its_old_key_is_refused,
        nd11_an_evicted_node_that_goes_on_sending_gets_no_answer,
        kl12_a_revoked_node_is_out_within_its_budget,
        kl08_a_node_with_another_pin_is_alone_and_loud,
        nl06_a_node_under_another_name_inherits_nothing,
    ]
}

/// Alice believes her no more, and answers nothing that she sends.
pub(crate) fn is_out(pair: &KubernetesPair, carol: &Member) -> Result<()> {
    wait::until("alice to drop carol", REMOVED, || {
        matches!(pair.alice.node.peer("carol"), Ok(None))
    })?;
    ensure!(
        traffic::ping_once(&carol.pod, pair.alice.pod.ipv4()?, b"out").is_err(),
        "carol still reaches alice's pod"
    );
    still_well(pair)
}

fn nl04_a_deleted_node_is_refused_by_its_peers(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let carol = carol(lab, &pair)?;
    pair.cluster.api.kubectl(&["delete", "node", "carol"])?;
    is_out(&pair, &carol)
}

fn nl05_a_node_made_again_under_its_name_is_new_and_its_old_key_is_refused(
    lab: &Lab,
) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let carol = carol(lab, &pair)?;
    let before = pair.cluster.node_uid("carol")?;
    carol.daemon.stop()?;
    let api = &pair.cluster.api;
    api.kubectl(&["delete", "node", "carol"])?;
    let pod = [
        "delete",
        "pod",
        "sotto-node-carol",
        "-n",
        NAMESPACE,
        "--force",
    ];
    api.kubectl(&pod)?;
    wait::until("alice to drop carol", LIMIT, || {
        matches!(pair.alice.node.peer("carol"), Ok(None))
    })?;
    let settings = DaemonSettings::default();
    pair.cluster.admit(&carol.node, &settings)?;
    let uid = pair.cluster.node_uid("carol")?;
    ensure!(uid != before, "the UID stayed");

    // Her old key under her new UID, as a copy of the disk that was made to fit.
    let file = "/var/lib/sotto/identity.json";
    let keep =
        format!("cp -a {file} /run/old; sed -i s/{before}/{uid}/ {file}; grep -q {uid} {file}");
    carol.node.shell(&keep)?;
    carol.node.shell("rm -f /var/lib/sotto/certificate.der")?;
    denied(&pair, "key_of_another_node", || {
        let daemon = carol.node.launch(&settings)?;
        let request = wait::until_some("a request with the old key", LIMIT, || open_request(&pair));
        daemon.stop()?;
        request
    })?;

    // As it is on its disk.
    carol.node.shell(&format!("cp -a /run/old {file}"))?;
    let daemon = carol.node.launch(&settings)?;
    daemon.wait_for_log("a new identity key is made", LIMIT)?;
    wait::until("alice to know the new carol", LIMIT, || {
        let peer = pair.alice.node.peer("carol").ok().flatten();
        peer.is_some_and(|peer| peer.identity.contains(&uid))
    })?;
    still_well(&pair)
}

/// The newest request of carol's.
fn open_request(pair: &KubernetesPair) -> Option<String> {
    let newest = [
        "get",
        "csr",
        "--sort-by=.metadata.creationTimestamp",
        "-o",
        "name",
    ];
    let all = pair.cluster.api.kubectl(&newest).ok()?;
    let hers = all
        .lines()
        .filter(|line| line.contains("sotto-carol-"))
        .nth(1)?;
    Some(hers.rsplit('/').next()?.to_owned())
}

fn nd11_an_evicted_node_that_goes_on_sending_gets_no_answer(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let carol = carol(lab, &pair)?;
    // She hears nothing of it and goes on as before.
    carol.node.shell(
        "nft add table inet deaf
        nft add chain inet deaf out '{ type filter hook output priority 0; }'
        nft add rule inet deaf out ip daddr 198.51.100.250 drop",
    )?;
    pair.cluster.api.kubectl(&["delete", "node", "carol"])?;
    is_out(&pair, &carol)?;
    ensure!(carol.node.peer("alice")?.is_some(), "carol was told");
    carol.node.shell(
        "nft add chain inet deaf in '{ type filter hook input priority -300; }'
        nft add rule inet deaf in ip saddr '{ 198.51.100.1, 198.51.100.2 }' udp sport 51820-51899 counter
        nft add rule inet deaf in ip6 saddr '{ 2001:db8::1, 2001:db8::2 }' udp sport 51820-51899 counter
        nft add rule inet deaf out udp dport 51820-51899 counter comment sent",
    )?;
    // Handshakes are tried every five seconds.
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_secs(12) {
        ensure!(
            traffic::ping_once(&carol.pod, pair.bob.pod.ipv4()?, b"still sending").is_err(),
            "bob's pod answers"
        );
    }
    let counted = carol.node.shell("nft list table inet deaf")?;
    let packets = |line: &&str| !line.contains("counter packets 0 ");
    let answers: Vec<&str> = counted
        .lines()
        .filter(|line| line.contains("saddr"))
        .filter(packets)
        .collect();
    let sent = counted
        .lines()
        .filter(|line| line.contains("sent"))
        .any(|line| packets(&line));
    ensure!(sent, "carol sent nothing: {counted}");
    ensure!(answers.is_empty(), "somebody answered carol: {counted}");
    still_well(&pair)
}

fn kl12_a_revoked_node_is_out_within_its_budget(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let carol = carol(lab, &pair)?;
    let body = json!({"spec": {"revoked": true}});
    let path = "/apis/sotto.dev/v1alpha1/nodeidentities/carol";
    pair.cluster
        .api
        .allows(&Caller::Administrator, "PATCH", path, &body)?;
    is_out(&pair, &carol)?;
    pair.cluster.shows(&["peers", "carol"], "Revoked")?;

    // It starts again with its old key.
    carol.daemon.kill9()?;
    let again = carol.node.launch(&DaemonSettings::default())?;
    again.wait_for_log("revoked", LIMIT)?;
    ensure!(
        matches!(pair.alice.node.peer("carol"), Ok(None)),
        "carol is back"
    );
    still_well(&pair)
}

fn kl08_a_node_with_another_pin_is_alone_and_loud(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let carol = lab.node("carol")?;
    let settings = DaemonSettings::default();
    pair.cluster.admit(&carol, &settings)?;
    let mut launch = carol.how_to_launch()?;
    for argument in &mut launch.arguments {
        if argument.starts_with("--pin=") {
            *argument = format!("--pin=sha256:{}", "5".repeat(64));
        }
    }
    carol.set_launch(launch)?;
    let daemon = carol.launch(&settings)?;
    daemon.wait_for_log("refused", LIMIT)?;
    ensure!(!carol.is_ready(), "carol is ready under a foreign root");
    ensure!(
        carol.peer("alice").ok().flatten().is_none(),
        "carol believes alice"
    );
    still_well(&pair)
}

fn nl06_a_node_under_another_name_inherits_nothing(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let carol = carol(lab, &pair)?;
    carol.daemon.stop()?;
    let renamed = sotto_tests::kubernetes::node("carola", carol.node.number());
    pair.cluster.api.kubectl(&["delete", "node", "carol"])?;
    pair.cluster.api.create(&renamed)?;
    let pod = pair
        .cluster
        .api
        .own_pod(("daemonset", "sotto-node"), "carola")?;
    pair.cluster.give_token(&carol.node, "sotto-node", &pod)?;
    let mut launch = carol.node.how_to_launch()?;
    for argument in &mut launch.arguments {
        *argument = argument.replace("--node-name=carol", "--node-name=carola");
    }
    carol.node.set_launch(launch)?;
    let refused = carol.node.launch(&DaemonSettings::default())?;
    ensure!(
        !refused.wait()?.success(),
        "it took carol's key for carola's"
    );
    ensure!(refused.log().contains("belongs to"), "it does not say why");

    carol.node.shell("rm /var/lib/sotto/identity.json")?;
    let daemon = carol.node.launch(&DaemonSettings::default())?;
    wait::until("alice to know carola", LIMIT, || {
        matches!(pair.alice.node.peer("carola"), Ok(Some(_)))
    })?;
    ensure!(
        matches!(pair.alice.node.peer("carol"), Ok(None)),
        "alice still knows carol"
    );
    ensure!(daemon.is_running(), "the daemon ended");
    still_well(&pair)
}
