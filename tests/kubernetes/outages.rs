//! The API server fails, lies or is lost: what runs goes on, and all is well when it is back.

use std::time::Duration;

use anyhow::{Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::{Admits, join};
use sotto_tests::kubernetes::KubernetesPair;
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::{traffic, wait};

use crate::enrolment::still_well;

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        cp06_a_watch_that_falls_silent_is_noticed_within_a_minute,
        cp01_without_an_api_server_pods_talk_come_and_go,
        cp14_kinds_that_are_deleted_and_made_again_converge,
        cp17_a_new_serving_certificate_and_new_tokens_cost_no_peer,
        cp15_without_a_policy_nothing_is_granted,
        cp04_without_a_controller_new_nodes_wait_and_old_ones_talk,
        cp10_an_etcd_of_yesterday_rolls_no_key_back,
    ]
}

fn cp01_without_an_api_server_pods_talk_come_and_go(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    pair.cluster.api.down()?;
    still_well(&pair)?;

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
    let carol = join(
        lab.node("carol")?,
        "third",
        &pair.cluster,
        &DaemonSettings::default(),
    )?;
    for old in [&pair.alice.node, &pair.bob.node] {
        wait::until("old nodes to know carol", LIMIT, || {
            old.knows(&carol.node).is_ok()
        })?;
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

fn cp10_an_etcd_of_yesterday_rolls_no_key_back(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    pair.cluster.api.back_up()?;
    let before = pair.alice.node.peer("bob")?;
    let settings = DaemonSettings::default();
    let carol = join(lab.node("carol")?, "third", &pair.cluster, &settings)?;
    pair.alice.node.knows(&carol.node)?;
    // A new boot of bob's: another tunnel key, of a higher generation than the backup has.
    pair.bob.daemon.stop()?;
    pair.bob
        .node
        .shell("rm -rf /run/sotto/keys /run/sotto/*key*")?;
    let bob = pair.bob.node.start(&settings)?;
    wait::until("alice to speak with bob anew", LIMIT, || {
        still_well(&pair).is_ok()
    })?;

    pair.cluster.api.restore()?;
    wait::until("the pods to talk", LIMIT, || still_well(&pair).is_ok())?;
    let carols = traffic::ping(&carol.pod, pair.alice.pod.ipv4()?, b"not in the backup");
    ensure!(carols.is_ok(), "carol was forgotten: {carols:?}");
    ensure!(
        bob.is_running() && pair.alice.daemon.is_running(),
        "a daemon ended"
    );
    ensure!(
        before.is_some() && pair.alice.node.peer("bob")?.is_some(),
        "bob is gone"
    );
    Ok(())
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
    let carol = join(
        lab.node("carol")?,
        "third",
        &pair.cluster,
        &DaemonSettings::default(),
    )?;
    wait::until("alice to know carol", LIMIT, || {
        matches!(pair.alice.node.peer("carol"), Ok(Some(_)))
    })?;
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
    still_well(&pair)?;
    ensure!(
        !daemon.log().contains("Certificate accepted"),
        "it was signed"
    );

    pair.cluster.apply(&pair.cluster.manifest())?;
    daemon.wait_for_log("Certificate accepted", Duration::from_secs(90))
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
    // A client reads its token's file once a minute.
    let limit = Duration::from_secs(120);
    daemon.wait_for_log("Certificate accepted", limit)?;
    for old in [&pair.alice.node, &pair.bob.node] {
        wait::until("old nodes to know carol", limit, || {
            matches!(old.peer("carol"), Ok(Some(_)))
        })?;
    }
    still_well(&pair)
}
