//! What a cluster's administrator sees of a node on which Sotto cannot be installed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::Admits;
use sotto_tests::kubernetes::Cluster;
use sotto_tests::lab::{DaemonSettings, Lab, program};
use sotto_tests::wait;

pub(crate) fn cases() -> Vec<Case> {
    cases![dp19_another_network_in_force_is_an_event_of_the_node]
}

const LIMIT: Duration = Duration::from_secs(30);
const THEIRS: &str = "/etc/cni/net.d/10-calico.conflist";

fn dp19_another_network_in_force_is_an_event_of_the_node(lab: &Lab) -> Result<()> {
    let cluster = Cluster::raise(lab)?;
    let _controller = cluster.controller(lab, 0)?.start()?;
    let alice = lab.node("alice")?;
    let settings = DaemonSettings::default();
    cluster.admit(&alice, &settings)?;
    let mut launch = alice.how_to_launch()?;
    let text = launch
        .arguments
        .iter_mut()
        .find(|argument| argument.contains('\n'));
    text.context("no settings")?
        .push_str("\n[cni]\nplugin_source = \"/opt/source\"\n");
    alice.set_launch(launch)?;
    alice.write(
        THEIRS,
        r#"{"name":"k8s-pod-network","plugins":[{"type":"calico"}]}"#,
    )?;
    alice.shell(&format!(
        "mkdir -p /opt/source; cp {} /opt/source",
        program("sotto-cni")?
    ))?;

    let _daemon = alice.launch(&settings)?;

    let events = ["events", "-A", "--field-selector", "reason=NotInstalled"];
    let seen = wait::until("the event", LIMIT, || {
        let found = cluster
            .api
            .kubectl(&[&["get"], &events[..], &["-o", "wide"]].concat());
        found.is_ok_and(|found| {
            let names_it = found.contains("10-calico.conflist") && found.contains("node/alice");
            names_it && found.contains("move this file out")
        })
    });
    seen.with_context(|| format!("{:?}", alice.status().map(|it| it.waiting_for)))?;
    ensure!(!alice.is_ready(), "ready beside another network");
    alice.shell(&format!("rm {THEIRS}"))?;
    wait::until("the node to be ready", LIMIT, || alice.is_ready())?;
    ensure!(alice.has("/etc/cni/net.d/00-sotto.conflist"), "not ours");
    Ok(())
}
