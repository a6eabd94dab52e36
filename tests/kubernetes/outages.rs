//! The API server fails, lies or is lost: what runs goes on, and all is well when it is back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::{Admits, join};
use sotto_tests::kubernetes::{KubernetesPair, request, text};
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::{traffic, wait};

use crate::enrolment::still_well;
use crate::shared::carol;

const LIMIT: Duration = Duration::from_secs(60);
/// Longer than an agreement is used under traffic.
const AGREEMENT: Duration = Duration::from_secs(150);
const NETWORK: &str = r#"{"cniVersion":"1.1.0","name":"sotto","type":"sotto-cni"}"#;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        cp01_without_an_api_server_pods_talk_come_and_go,
        cp06_a_watch_that_falls_silent_is_noticed_within_a_minute,
        cp14_kinds_that_are_deleted_and_made_again_converge,
        cp17_a_new_serving_certificate_and_new_tokens_cost_no_peer,
        cp15_without_a_policy_nothing_is_granted,
        cp04_without_a_controller_new_nodes_wait_and_old_ones_talk,
        cp03_a_new_node_without_an_api_server_waits_behind_its_guard,
    ]
}

/// Alice's pod asks bob's all the time and misses no answer, until their nodes have agreed anew.
fn tunnels_rekey(pair: &KubernetesPair) -> Result<()> {
    let mut oldest = 0;
    let server = pair.bob.pod.ipv4()?;
    wait::until_some("an agreement without the API", AGREEMENT, || {
        let agreed = traffic::ping_once(&pair.alice.pod, server, b"no api").and_then(|()| {
            let bob = pair.alice.node.peer("bob")?.context("alice lost bob")?;
            // What a daemon shows is up to a second old.
            let age = bob.handshake_age_seconds.unwrap_or(oldest);
            let is_new = age < oldest;
            oldest = age;
            Ok(is_new)
        });
        match agreed {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    })?
}

/// An agreement holds for two minutes, so this takes a little longer.
fn cp01_without_an_api_server_pods_talk_come_and_go(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    pair.cluster.api.down()?;
    still_well(&pair)?;
    tunnels_rekey(&pair)?;

    let guest = pair.alice.node.pod("guest")?;
    traffic::ping(&guest, pair.bob.pod.ipv4()?, b"no api")?;
    pair.alice.node.detach(&guest)?;
    pair.bob.daemon.kill9()?;
    let bob = pair.bob.node.start(&DaemonSettings::default())?;
    wait::until("bob to be back without the API", LIMIT, || {
        still_well(&pair).is_ok()
    })?;
    ensure!(pair.controller_process.is_running(), "the controller ended");
    ensure!(pair.alice.node.peer("bob")?.is_some(), "alice lost bob");

    pair.cluster.api.up()?;
    let carol = lab.node("carol")?;
    pair.cluster.admit(&carol, &DaemonSettings::default())?;
    let daemon = carol.launch(&DaemonSettings::default())?;
    // The controller comes back after a pause that has grown meanwhile.
    daemon.wait_for_log("Certificate accepted", LIMIT)?;
    for old in [&pair.alice.node, &pair.bob.node] {
        old.knows(&carol)?;
    }
    ensure!(bob.is_running(), "bob's daemon ended");
    still_well(&pair)
}

fn cp04_without_a_controller_new_nodes_wait_and_old_ones_talk(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    pair.controller_process.stop()?;
    let settings = DaemonSettings::default();
    let carol = lab.node("carol")?;
    pair.cluster.admit(&carol, &settings)?;
    let daemon = carol.launch(&settings)?;
    daemon.wait_for_log("Certificate request waits for the controller", LIMIT)?;
    traffic::ping(&pair.alice.pod, pair.bob.pod.ipv4()?, b"no controller")?;
    ensure!(!carol.is_ready(), "carol is ready without a certificate");

    let again = pair.controller.start()?;
    daemon.wait_for_log("Certificate accepted", LIMIT)?;
    pair.alice.node.knows(&carol)?;
    ensure!(again.is_running(), "the controller ended");
    Ok(())
}

fn cp06_a_watch_that_falls_silent_is_noticed_within_a_minute(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    // Connections that stand carry nothing any more, in either direction, and are not closed.
    pair.alice.node.shell(
        "nft add table inet hole
        nft add chain inet hole in '{ type filter hook input priority 0; }'
        nft add chain inet hole out '{ type filter hook output priority 0; }'
        for port in $(ss -Htn state established dst 198.51.100.250 | awk '{print $3}' | sed 's/.*://'); do
          nft add rule inet hole out tcp sport $port drop
          nft add rule inet hole in tcp dport $port drop
        done
        nft list table inet hole | grep -q drop",
    )?;
    let carol = join(
        lab.node("carol")?,
        "third",
        &pair.cluster,
        &DaemonSettings::default(),
    )?;
    let limit = Duration::from_secs(90);
    wait::until("alice to list anew", limit, || {
        matches!(pair.alice.node.peer("carol"), Ok(Some(_)))
    })?;
    traffic::ping(&carol.pod, pair.alice.pod.ipv4()?, b"after the silence")?;
    still_well(&pair)
}

fn cp03_a_new_node_without_an_api_server_waits_behind_its_guard(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let settings = DaemonSettings::default();
    let carol = lab.node("carol")?;
    pair.cluster.admit(&carol, &settings)?;
    pair.cluster.api.down()?;
    let daemon = carol.launch(&settings)?;
    wait::until("the guard", LIMIT, || {
        carol.shell("nft list table inet sotto_guard").is_ok()
    })?;
    ensure!(!carol.is_ready(), "ready without an identity");
    let pod = carol.bare_pod("third")?;
    for (verb, code) in [("ADD", 11), ("STATUS", 50)] {
        let answer = carol.cni_output(verb, pod.container(), pod.name(), NETWORK)?;
        let answer: Value = serde_json::from_slice(&answer.stdout)?;
        ensure!(answer.get("code") == Some(&code.into()), "{verb}: {answer}");
    }
    let server = pair.bob.pod.ipv4()?;
    let from_node = traffic::ping_from(&carol, server, b"in clear");
    ensure!(from_node.is_err(), "a node without keys reached a pod");

    pair.cluster.api.up()?;
    wait::until("carol to be ready", LIMIT, || carol.is_ready())?;
    pair.alice.node.knows(&carol)?;
    let pod = carol.pod("late")?;
    traffic::ping(&pod, server, b"behind keys")?;
    ensure!(daemon.is_running(), "the daemon ended");
    still_well(&pair)
}

fn cp14_kinds_that_are_deleted_and_made_again_converge(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let delete = [
        "delete",
        "crd",
        "--selector=app.kubernetes.io/part-of=sotto",
    ];
    pair.cluster.api.kubectl(&delete)?;
    still_well(&pair)?;
    pair.alice.daemon.wait_for_log("Watch broken", LIMIT)?;
    ensure!(pair.alice.node.peer("bob")?.is_some(), "alice lost bob");

    pair.cluster.apply(&pair.cluster.manifest())?;
    pair.cluster.is_in_force()?;
    wait::until("both identities and statements to be back", LIMIT, || {
        let path = "jsonpath={.items[*].status.statements[0]}";
        let found = pair
            .cluster
            .api
            .kubectl(&["get", "nodeidentities", "-o", path]);
        found.is_ok_and(|said| said.split_whitespace().count() == 2)
    })?;
    let carol = carol(lab, &pair)?;
    traffic::ping(&carol.pod, pair.bob.pod.ipv4()?, b"after all")?;
    still_well(&pair)
}

fn cp15_without_a_policy_nothing_is_granted(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let binding = [
        "delete",
        "validatingadmissionpolicybinding",
        "sotto-node-requests",
    ];
    pair.cluster.api.kubectl(&binding)?;
    pair.controller_process.wait_for_log(
        "Nothing is granted: an admission policy",
        Duration::from_secs(60),
    )?;
    let settings = DaemonSettings::default();
    let carol = lab.node("carol")?;
    pair.cluster.admit(&carol, &settings)?;
    let daemon = carol.launch(&settings)?;
    daemon.wait_for_log("Certificate request waits for the controller", LIMIT)?;
    // With the policy gone, anybody who may create requests asks for our signer.
    let forged = request(&pair.cluster.api, "sotto.dev/node")?;
    let forged = pair.cluster.api.create(&forged)?;
    let forged = text(&forged, "/metadata/name")?;
    still_well(&pair)?;
    ensure!(
        !daemon.log().contains("Certificate accepted"),
        "it was signed"
    );

    pair.cluster.apply(&pair.cluster.manifest())?;
    daemon.wait_for_log("Certificate accepted", Duration::from_secs(90))?;
    wait::until("the forged request to be denied", LIMIT, || {
        let verdict = "jsonpath={.status.conditions[*].type}";
        let found = pair
            .cluster
            .api
            .kubectl(&["get", "csr", forged, "-o", verdict]);
        found.is_ok_and(|types| types == "Denied")
    })?;
    let signed = pair.cluster.api.read(&["csr", forged])?;
    ensure!(signed.pointer("/status/certificate").is_none(), "{signed}");
    Ok(())
}

fn cp17_a_new_serving_certificate_and_new_tokens_cost_no_peer(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let api = &pair.cluster.api;
    // Tokens signed by the old key are worth nothing any more: as if all had expired at once.
    api.rotate_certificate()?;
    api.place().shell(
        "cd /etc/kubernetes/pki; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out sa.key
        openssl pkey -in sa.key -pubout -out sa.pub",
    )?;
    api.down()?;
    api.up()?;
    still_well(&pair)?;
    for (place, account) in [
        (&*pair.alice.node, "daemonset/alice"),
        (&*pair.bob.node, "daemonset/bob"),
        (pair.controller.place(), "deployment/controller-0"),
    ] {
        pair.cluster.renew_token(place, account)?;
    }
    let settings = DaemonSettings::default();
    let carol = lab.node("carol")?;
    pair.cluster.admit(&carol, &settings)?;
    let daemon = carol.launch(&settings)?;
    // A client reads its token's file once a minute, whatever it is answered: this takes that long.
    let limit = Duration::from_secs(120);
    daemon.wait_for_log("Certificate accepted", limit)?;
    for old in [&pair.alice.node, &pair.bob.node] {
        wait::until("old nodes to know carol", limit, || {
            matches!(old.peer("carol"), Ok(Some(_)))
        })?;
    }
    still_well(&pair)
}
