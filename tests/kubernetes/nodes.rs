//! Nodes that go, come back, are taken away their certificate, or trust somebody else.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::{Admits, Member, join};
use sotto_tests::kubernetes::{Caller, KubernetesPair};
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::{traffic, wait};

use crate::enrolment::still_well;

/// A removal works within this (budget B3).
const REMOVED: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        nl04_a_deleted_node_is_refused_by_its_peers_and_another_of_its_name_is_new,
        kl12_a_revoked_node_is_out_within_its_budget,
        kl08_a_node_with_another_pin_is_alone_and_loud,
        kl07_a_daemon_with_both_pins_outlives_a_change_of_root,
        nl06_a_node_under_another_name_inherits_nothing,
    ]
}

fn carol(lab: &Lab, pair: &KubernetesPair) -> Result<Member> {
    let carol = join(
        lab.node("carol")?,
        "third",
        &pair.cluster,
        &DaemonSettings::default(),
    )?;
    pair.alice.node.knows(&carol.node)?;
    traffic::ping(&carol.pod, pair.alice.pod.ipv4()?, b"in")?;
    Ok(carol)
}

/// Alice believes her no more, and answers nothing that she sends.
fn is_out(pair: &KubernetesPair, carol: &Member) -> Result<()> {
    wait::until("alice to drop carol", REMOVED, || {
        matches!(pair.alice.node.peer("carol"), Ok(None))
    })?;
    ensure!(
        traffic::ping_once(&carol.pod, pair.alice.pod.ipv4()?, b"out").is_err(),
        "carol still reaches alice's pod"
    );
    still_well(pair)
}

fn nl04_a_deleted_node_is_refused_by_its_peers_and_another_of_its_name_is_new(
    lab: &Lab,
) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let carol = carol(lab, &pair)?;
    let before = pair.cluster.node_uid("carol")?;
    pair.cluster.api.kubectl(&["delete", "node", "carol"])?;
    is_out(&pair, &carol)?;

    // NL-05: the same name, another UID: another identity, and its old keys are worth nothing.
    let pod = [
        "delete",
        "pod",
        "sotto-node-carol",
        "-n",
        "sotto-system",
        "--force",
    ];
    pair.cluster.api.kubectl(&pod)?;
    carol.daemon.stop()?;
    let settings = DaemonSettings::default();
    pair.cluster.admit(&carol.node, &settings)?;
    ensure!(pair.cluster.node_uid("carol")? != before, "the UID stayed");
    let daemon = carol.node.launch(&settings)?;
    wait::until("alice to know the new carol", LIMIT, || {
        matches!(pair.alice.node.peer("carol"), Ok(Some(_)))
    })?;
    ensure!(
        daemon.log().contains("a new identity key is made"),
        "the old key was kept"
    );
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

    // ND-11: it goes on with its old key, and starts again; nobody answers.
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

fn kl07_a_daemon_with_both_pins_outlives_a_change_of_root(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let other = format!("--pin=sha256:{}", "6".repeat(64));
    let mut launch = pair.bob.node.how_to_launch()?;
    launch.arguments.insert(1, other);
    pair.bob.node.set_launch(launch)?;
    pair.bob.daemon.stop()?;
    pair.bob.node.start(&DaemonSettings::default())?;
    wait::until("the pods to talk", LIMIT, || still_well(&pair).is_ok())
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
