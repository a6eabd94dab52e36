//! An uninstall that waits for nodes, is interrupted at each of its writes, and run again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use kube::Resource;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};

use super::uninstall;
use crate::arguments::{Arguments, UninstallArguments, Verb};
use crate::fake::{Fake, wait};
use crate::install::manifest;
use crate::output::Verdict;

const POD: &str = "/api/v1/namespaces/shop/pods/web";
const OTHER: &str = "/api/v1/namespaces/kube-system/pods/proxy";

fn arguments(more: &[&str]) -> UninstallArguments {
    let line = ["sotto", "uninstall", "--yes"].iter().chain(more);
    let Verb::Uninstall(arguments) = Arguments::try_parse_from(line).unwrap().verb else {
        panic!("another verb than uninstall");
    };
    arguments
}

fn run(fake: &Fake, more: &[&str]) -> Result<Verdict> {
    let task = async { uninstall(&fake.cluster(), &arguments(more)).await };
    let ended = wait(async { tokio::time::timeout(Duration::from_secs(20), task).await });
    ended.unwrap().map(|answer| answer.verdict)
}

/// As [`run`], but it may wait for ever.
fn run_for_a_moment(fake: &Fake, more: &[&str]) {
    let task = async { uninstall(&fake.cluster(), &arguments(more)).await };
    let ended = wait(async { tokio::time::timeout(Duration::from_millis(100), task).await });
    assert!(ended.is_err(), "it did not wait: {ended:?}");
}

fn put_pod(fake: &Fake, path: &str, node: &str, rest: &str) {
    let parts: Vec<&str> = path.split('/').collect();
    let (namespace, name) = (parts[4], parts[6]);
    fake.put(
        path,
        &format!(
            r#"{{"metadata": {{"name": "{name}", "namespace": "{namespace}", "uid": "1",
                "labels": {{"app.kubernetes.io/name": "sotto-uninstall"}}}},
                "spec": {{"nodeName": "{node}", "containers": [], "hostNetwork": {}}}, "status": {{{rest}}}}}"#,
            namespace == "sotto-system"
        ),
    );
}

/// The pod of the DaemonSet `sotto-uninstall` on a node.
fn put_worker(fake: &Fake, node: &str, status: &str) {
    let path = format!("/api/v1/namespaces/sotto-system/pods/{node}");
    put_pod(fake, &path, node, status);
}

const DONE: &str = r#""phase": "Running""#;
const AT_WORK: &str = r#""phase": "Pending", "initContainerStatuses": [{"name": "sotto-node",
    "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}}]"#;

/// Two nodes with Sotto, a pod of its network, and one of the host's.
fn installed() -> Fake {
    let fake = Fake::default();
    for node in ["alice", "bob"] {
        let path = format!("/api/v1/nodes/{node}");
        fake.put(&path, &format!(r#"{{"metadata": {{"name": "{node}"}}}}"#));
    }
    for object in manifest::all().unwrap() {
        fake.put(&path(&object), &serde_json::to_string(&object).unwrap());
    }
    put_pod(&fake, POD, "alice", r#""podIP": "203.0.113.5""#);
    put_pod(&fake, OTHER, "alice", r#""podIP": "198.51.100.1""#);
    let request = "/apis/certificates.k8s.io/v1/certificatesigningrequests/one";
    let request_of = |signer: &str| {
        format!(
            r#"{{"metadata": {{"name": "one"}}, "spec": {{"request": "", "signerName": "{signer}"}}}}"#
        )
    };
    fake.put(request, &request_of("sotto.dev/node"));
    fake
}

fn path(object: &DynamicObject) -> String {
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let namespace = object.metadata.namespace.as_deref();
    let folder = DynamicObject::url_path(&ApiResource::from_gvk(&kind), namespace);
    format!("{folder}/{}", object.metadata.name.as_deref().unwrap())
}

fn has(objects: &BTreeMap<String, String>, ending: &str) -> bool {
    objects.keys().any(|path| path.ends_with(ending))
}

/// What has nothing to do with Sotto, and stays.
fn left(objects: &BTreeMap<String, String>) -> Vec<&str> {
    objects.keys().map(String::as_str).collect()
}

const STAYS: [&str; 3] = [OTHER, "/api/v1/nodes/alice", "/api/v1/nodes/bob"];

#[test]
fn pods_of_the_network_are_not_deleted_unless_that_was_agreed_to() {
    let fake = installed();
    let before = fake.objects();

    let refused = run(&fake, &[]).unwrap_err().to_string();

    assert!(refused.contains("--delete-pods"), "{refused}");
    assert_eq!(fake.objects(), before);
}

#[test]
fn cn20_nothing_leaves_the_api_before_every_node_is_done() {
    let fake = installed();
    put_worker(&fake, "alice", AT_WORK);
    put_worker(&fake, "bob", DONE);

    run_for_a_moment(&fake, &["--delete-pods"]);

    let objects = fake.objects();
    assert!(!has(&objects, "/daemonsets/sotto-node"));
    assert!(!has(&objects, "/deployments/sotto-controller"));
    assert!(has(&objects, "/daemonsets/sotto-uninstall"));
    assert!(has(&objects, "/clusterroles/sotto-node"));
    assert!(has(&objects, "/customresourcedefinitions/peers.sotto.dev"));
    assert!(!has(&objects, "/pods/web"), "its node was at work");
    assert!(has(&objects, "/pods/proxy"), "it is not of the pod network");

    put_worker(&fake, "alice", DONE);
    assert_eq!(run(&fake, &[]).unwrap(), Verdict::Fine);
    assert_eq!(left(&fake.objects()), STAYS);
}

#[test]
fn cn20_a_pod_stays_until_its_node_takes_no_new_ones() {
    let fake = installed();
    put_worker(&fake, "alice", r#""phase": "Pending""#);
    put_worker(&fake, "bob", DONE);

    run_for_a_moment(&fake, &["--delete-pods"]);

    assert!(has(&fake.objects(), "/pods/web"));
}

#[test]
fn cn20_a_pod_that_lost_its_address_with_its_nodes_power_is_deleted_too() {
    let fake = installed();
    put_pod(&fake, POD, "alice", r#""phase": "Running""#);
    put_worker(&fake, "alice", AT_WORK);
    put_worker(&fake, "bob", DONE);

    run_for_a_moment(&fake, &["--delete-pods"]);

    assert!(!has(&fake.objects(), "/pods/web"));
}

#[test]
fn what_keeps_a_node_is_told() {
    let fake = installed();
    let failing = r#""phase": "Pending", "initContainerStatuses": [{"name": "sotto-node",
        "image": "", "imageID": "", "ready": false, "restartCount": 2}]"#;
    put_worker(&fake, "alice", failing);
    put_worker(&fake, "bob", AT_WORK);

    let states = wait(async { super::daemon_set::states(&fake.cluster()).await }).unwrap();

    let nodes = ["alice", "bob", "carol"].map(str::to_owned);
    let said = super::waiting(&nodes, &states, &[]);
    for told in ["alice (failing", " bob,", "carol (no pod"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!states.is_at_work("alice"));
}

#[test]
fn a_node_that_never_comes_back_is_not_waited_for_where_that_was_said() {
    let fake = installed();
    put_worker(&fake, "bob", DONE);
    run_for_a_moment(&fake, &["--delete-pods"]);
    let misspelt = run(&fake, &["--delete-pods", "--ignore-node=alise"]);
    let said = format!("{:#}", misspelt.unwrap_err());
    assert!(said.contains("alise: there is no such node"), "{said}");

    let verdict = run(&fake, &["--delete-pods", "--ignore-node=alice"]);

    assert_eq!(verdict.unwrap(), Verdict::Fine);
}

#[test]
fn daemons_that_somebody_brings_back_meanwhile_stop_it_and_the_next_run_begins_anew() {
    let fake = installed();
    let daemons = |fake: &Fake| {
        let objects = manifest::all().unwrap().into_iter();
        for object in objects.filter(|one| manifest::kind(one) == "DaemonSet") {
            fake.put(&path(&object), &serde_json::to_string(&object).unwrap());
        }
    };
    put_worker(&fake, "bob", DONE);
    let given = arguments(&["--delete-pods"]);
    let ended = wait(async {
        let cluster = fake.cluster();
        let brought_back = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            daemons(&fake);
        };
        tokio::join!(uninstall(&cluster, &given), brought_back).0
    });
    let said = format!("{:#}", ended.unwrap_err());
    assert!(said.contains("sotto-node is there again"), "{said}");

    put_worker(&fake, "alice", DONE);
    assert_eq!(run(&fake, &["--delete-pods"]).unwrap(), Verdict::Fine);
    assert!(!has(&fake.objects(), "/daemonsets/sotto-node"));
}

#[test]
fn the_pods_of_a_daemon_set_that_was_replaced_do_not_count() {
    let fake = installed();
    put_worker(&fake, "alice", DONE);
    let name = "/apis/apps/v1/namespaces/sotto-system/daemonsets/sotto-uninstall";
    fake.put(
        name,
        r#"{"metadata": {"name": "sotto-uninstall", "uid": "new"}}"#,
    );

    let states = wait(async { super::daemon_set::states(&fake.cluster()).await }).unwrap();

    assert!(!states.is_done("alice"));
}

#[test]
fn an_uninstall_interrupted_at_any_write_is_completed_by_the_next() {
    for writes in 0.. {
        let fake = installed();
        put_worker(&fake, "alice", DONE);
        put_worker(&fake, "bob", DONE);
        fake.allow(Some(writes));
        let ended = run(&fake, &["--delete-pods"]);
        let half = fake.objects();
        if has(&half, "/daemonsets/sotto-node") {
            assert!(has(&half, "/clusterroles/sotto-node"), "{writes}");
        }
        fake.allow(None);
        if ended.is_ok() {
            assert!(writes > 20, "{writes} writes are too few");
            return;
        }

        assert_eq!(run(&fake, &["--delete-pods"]).unwrap(), Verdict::Fine);

        let mut stays = left(&fake.objects())
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        // Of a node that is done no pod has a link: it was not deleted by us.
        stays.retain(|path| path != POD);
        assert_eq!(stays, STAYS, "{writes}");
        assert_eq!(run(&fake, &[]).unwrap(), Verdict::Fine, "once more");
    }
}

#[test]
fn install_goes_on_with_nothing_that_is_being_uninstalled() {
    let fake = installed();
    let path = "/apis/apps/v1/namespaces/sotto-system/daemonsets/sotto-uninstall";
    fake.put(path, r#"{"metadata": {"name": "sotto-uninstall"}}"#);

    let refused = wait(async { crate::install::existing::look(&fake.cluster()).await.err() });

    let refused = refused.unwrap().to_string();
    assert!(refused.contains("`sotto uninstall`"), "{refused}");
}
