//! Removing Sotto under running pods, with the command killed, a worker killed and a node's power cut, until nodes
//! and API are as they were before; then installing it again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{CONTROL, Space, TOOLS, Whole};
use sotto_tests::lab::{Host, Lab};
use sotto_tests::wait;

use crate::install::{INSTALL, bare};
use crate::install_snapshot::{is_back, of_api, of_node};

const UNINSTALL: [&str; 3] = ["uninstall", "--yes", "--delete-pods"];
/// A pod that takes this long to end keeps its node's worker waiting, so that it can be disturbed.
const GRACE: u64 = 8;
const WORKER: &str = "pgrep -f '[s]otto-node uninstall'";
/// From an order to a process that works; the image is there.
const STEP: Duration = Duration::from_secs(60);
/// All nodes and all objects.
const DONE_WITHIN: Duration = Duration::from_secs(120);

pub(crate) fn cases() -> Vec<Case> {
    cases![cn20_uninstalling_with_running_pods_interrupted_anywhere_leaves_nothing]
}

fn cn20_uninstalling_with_running_pods_interrupted_anywhere_leaves_nothing(
    lab: &Lab,
) -> Result<()> {
    let (cluster, alice) = bare(lab)?;
    let bob = cluster.node(lab, "bob", 2)?;
    cluster.import_sotto(&bob)?;
    let hosts = [cluster.control(), &alice, &bob];
    let nodes = hosts.map(of_node);
    let api = of_api(&cluster)?;
    installed(&cluster)?;
    let space = cluster.space("removal")?;
    running_pods(&space)?;

    begun_and_interrupted(lab, &cluster, &alice, &bob)?;
    let removing = cluster.start_sotto(&UNINSTALL)?;
    let ended = wait::until("the end of `sotto uninstall`", DONE_WITHIN, || {
        !removing.is_running()
    });
    ended.with_context(|| workers(&cluster))?;

    let said = removing.log();
    ensure!(said.contains("Sotto is uninstalled."), "{said}");
    // A pod whose DEL cannot be called would be Terminating for ever.
    space.kubectl(&["delete", "namespace", space.name(), "--timeout=60s"])?;
    is_back("the API", &api, || of_api(&cluster))?;
    for (host, before) in hosts.into_iter().zip(nodes) {
        is_back(host.name(), &before?, || of_node(host))?;
    }
    let (code, said) = cluster.sotto(&UNINSTALL)?;
    ensure!(code == 0 && said.contains("not installed"), "{said}");
    installed(&cluster)?;
    let space = cluster.space("again")?;
    space.shell_pod("pod", "bob")
}

fn installed(cluster: &Whole) -> Result<()> {
    let (code, said) = cluster.sotto(&INSTALL)?;
    ensure!(code == 0, "{said}");
    cluster.are_ready(&[CONTROL, "alice", "bob"])
}

/// On each node one that ends at once and one that takes its time, and some that come again.
fn running_pods(space: &Space<'_>) -> Result<()> {
    let stubborn =
        json!({"image": TOOLS, "command": ["bash", "-c", "trap '' TERM; sleep infinity"]});
    let grace = json!({"terminationGracePeriodSeconds": GRACE});
    for node in ["alice", "bob"] {
        space.start(&format!("slow-{node}"), node, &stubborn, &grace)?;
        space.shell_pod(&format!("quick-{node}"), node)?;
        space.is_ready(&format!("slow-{node}"))?;
    }
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "again"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "again"}}, "template": {
            "metadata": {"labels": {"app": "again"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [
                {"name": "main", "image": TOOLS, "command": ["sleep", "infinity"]}]}}},
    });
    space.create(&deployment.to_string())?;
    let available = ["wait", "deployment/again", "--for=condition=Available"];
    space.kubectl(&available).map(drop)
}

/// Kills the command, then Alice's worker, then Bob, whose pods lose links and addresses with his power. Nobody
/// has deleted them yet.
fn begun_and_interrupted(lab: &Lab, cluster: &Whole, alice: &Host, bob: &Host) -> Result<()> {
    let removing = cluster.start_sotto(&UNINSTALL)?;
    removing.wait_for_log("DaemonSet sotto-node: deleted", STEP)?;
    removing.kill9()?;
    runs_a_worker(alice)?;
    alice.place()?.shell(&format!("kill -9 $({WORKER})"))?;
    runs_a_worker(bob)?;
    bob.cut_power(lab)?;
    bob.power_on(lab)?;
    bob.start_services()?;
    runs_a_worker(bob)
}

fn runs_a_worker(host: &Host) -> Result<()> {
    let what = format!("a worker on {}", host.name());
    wait::until(&what, STEP, || {
        host.place().is_ok_and(|place| place.shell(WORKER).is_ok())
    })
}

/// What a person would look at.
fn workers(cluster: &Whole) -> String {
    let logs = "kubectl get pods --all-namespaces --output=wide
        kubectl logs --namespace=sotto-system --container=sotto-node --prefix --tail=20 \
            --selector=app.kubernetes.io/name=sotto-uninstall";
    cluster
        .shell(logs)
        .unwrap_or_else(|error| format!("{error:#}"))
}
