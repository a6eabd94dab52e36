//! Metadata that the API server takes and that cannot be read as what it should be: whoever writes
//! it stops nobody's list, neither a daemon's nor the controller's.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::{Caller, KubernetesPair, NAMESPACE, REQUESTS, request};
use sotto_tests::lab::{DaemonSettings, Lab};

use crate::applicant::Applicant;
use crate::shared::carol;

pub(crate) fn cases() -> Vec<Case> {
    cases![aw08_a_time_beyond_the_calendar_stops_no_controller_and_no_daemon]
}

/// Says that somebody wrote a field at a time that few calendars have.
fn late(api_version: &str) -> Value {
    json!([{
        "manager": "mallory", "operation": "Update", "apiVersion": api_version,
        "time": "9999-12-31T23:59:59Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:never-set": {}}}},
    }])
}

fn metadata(name: &str, api_version: &str) -> Value {
    json!({"name": name, "annotations": {"late": "yes"}, "managedFields": late(api_version)})
}

/// Makes sure that the API server keeps it: else nothing is tested.
fn kept(object: &str) -> Result<()> {
    let has = object.contains("9999-12-31T23:59:59Z");
    ensure!(has, "the API server mended the time itself: {object}");
    Ok(())
}

/// As a kubelet, as a daemon and as somebody who may write our kinds.
fn spoil(pair: &KubernetesPair) -> Result<()> {
    let api = &pair.cluster.api;
    let kubelet = api.kubelet("bob")?;
    let node = json!({"metadata": metadata("bob", "v1")});
    kept(&api.allows(&kubelet, "PATCH", "/api/v1/nodes/bob", &node)?)?;

    let sotto = "sotto.dev/v1alpha1";
    for (kind, plural, spec) in [
        (
            "NodeIdentity",
            "nodeidentities",
            json!({"nodeUID": "11111111-2222-4333-8444-555555555555"}),
        ),
        (
            "Peer",
            "peers",
            json!({"nodeUID": "11111111-2222-4333-8444-555555555555", "identity": "Pending"}),
        ),
    ] {
        let object = json!({"apiVersion": sotto, "kind": kind, "metadata": metadata("mallory", sotto),
            "spec": spec});
        let path = format!("/apis/{sotto}/{plural}");
        kept(&api.allows(&Caller::Administrator, "POST", &path, &object)?)?;
    }

    let who = Applicant::with_node(&pair.cluster, &sotto_tests::kubernetes::node("liar", 120))?;
    let mut asked = request(api, "sotto.dev/node")?;
    asked["metadata"] = metadata("late", "certificates.k8s.io/v1");
    kept(&api.allows(&who.token, "POST", REQUESTS, &asked)?)
}

fn aw08_a_time_beyond_the_calendar_stops_no_controller_and_no_daemon(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    pair.controller_process.kill9()?;
    pair.alice.daemon.kill9()?;
    spoil(&pair)?;
    let lease =
        format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/sotto-controller");
    let far = json!({"spec": {"renewTime": "9999-12-31T23:59:59.000000Z", "leaseDurationSeconds": i32::MAX}});
    pair.cluster
        .api
        .allows(&Caller::Administrator, "PATCH", &lease, &far)?;

    let settings = DaemonSettings::default();
    let again = pair.controller.start()?;
    let alice = pair.alice.node.start(&settings)?;
    let carol = carol(lab, &pair)?;
    ensure!(again.is_running() && alice.is_running(), "somebody ended");
    carol.daemon.stop().map(drop)
}
