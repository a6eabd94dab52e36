//! Which root nodes trust: a change of root under traffic, and trust on first use.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::Admits;
use sotto_tests::kubernetes::{Caller, KubernetesPair, text};
use sotto_tests::lab::{DaemonSettings, Lab, Node, Process};
use sotto_tests::{traffic, wait};

use crate::cli::sotto;
use crate::enrolment::still_well;

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        kl07_a_change_of_root_loses_nothing_and_ends_the_old_one,
        a_root_that_was_trusted_on_first_use_is_shown_as_such,
    ]
}

/// Starts a node's daemon again with these pins and no others.
fn trusts(node: &Node, daemon: &Process, pins: &[&str]) -> Result<Process> {
    let mut launch = node.how_to_launch()?;
    launch
        .arguments
        .retain(|argument| !argument.starts_with("--pin="));
    let given = pins.iter().map(|pin| format!("--pin={pin}"));
    launch.arguments.splice(1..1, given);
    node.set_launch(launch)?;
    daemon.stop()?;
    node.start(&DaemonSettings::default())
}

fn kl07_a_change_of_root_loses_nothing_and_ends_the_old_one(lab: &Lab) -> Result<()> {
    let mut pair = KubernetesPair::raise(lab)?;
    let old = pair.cluster.pin().to_owned();
    let stale = pair.cluster.api.read(&["nodeidentity", "bob"])?;
    let stale = text(&stale, "/status/statements/0")?.to_owned();

    let new = pair.cluster.change_root("/var/lib/root-2")?;
    ensure!(new != old, "the same root again");
    pair.alice.daemon = trusts(&pair.alice.node, &pair.alice.daemon, &[&old, &new])?;
    pair.bob.daemon = trusts(&pair.bob.node, &pair.bob.daemon, &[&old, &new])?;
    wait::until("the pods to talk", LIMIT, || still_well(&pair).is_ok())?;

    let previous = format!("[kubernetes]\nprevious_root = \"{old}\"\n");
    pair.controller
        .adapt(|text| text.replace("[kubernetes]\n", &previous));
    pair.controller_process.stop()?;
    pair.controller_process = pair.controller.start()?;
    let place = pair.cluster.api.place();
    let server = pair.bob.pod.ipv4()?;
    let mut said = String::new();
    let changed = wait::until_some("both nodes to be certified by the new root", LIMIT, || {
        let lost = traffic::ping_once(&pair.alice.pod, server, b"under way").err();
        let is_certified = |node| {
            let (code, text) = sotto(place, &["identity", node, "--pin", &new]).ok()?;
            said = text;
            (code == 0).then_some(())
        };
        let is_done = ["alice", "bob"]
            .into_iter()
            .try_for_each(is_certified)
            .is_some();
        (lost.is_some() || is_done).then_some(lost)
    });
    changed.context(said)?.map_or(Ok(()), Err)?;

    pair.alice.daemon = trusts(&pair.alice.node, &pair.alice.daemon, &[&new])?;
    pair.bob.daemon = trusts(&pair.bob.node, &pair.bob.daemon, &[&new])?;
    wait::until("the pods to talk", LIMIT, || still_well(&pair).is_ok())?;
    // Until his key of before has drained.
    wait::until("the old root to vouch for bob no more", LIMIT, || {
        sotto(place, &["identity", "bob", "--pin", &old]).is_ok_and(|(code, _)| code == 1)
    })?;
    mallory_is_refused(&pair, &stale)
}

/// What only the old root vouches for, under bob's name, is refused with the reason.
fn mallory_is_refused(pair: &KubernetesPair, stale: &str) -> Result<()> {
    pair.bob.daemon.signal(Signal::SIGSTOP)?;
    let body = json!({"status": {"statements": [stale]}});
    let path = "/apis/sotto.dev/v1alpha1/nodeidentities/bob/status";
    let api = &pair.cluster.api;
    api.allows(&Caller::Administrator, "PATCH", path, &body)?;
    let refused = wait::until_some("alice to refuse what the old root signed", LIMIT, || {
        let refusals = pair.alice.node.refusals().ok()?;
        refusals.into_iter().find(|text| text.contains("bob"))
    });
    pair.bob.daemon.signal(Signal::SIGCONT)?;
    let refused = refused?;
    ensure!(refused.contains("root"), "{refused}");
    wait::until("the pods to talk", LIMIT, || still_well(pair).is_ok())
}

fn a_root_that_was_trusted_on_first_use_is_shown_as_such(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let carol = lab.node("carol")?;
    let settings = DaemonSettings::default();
    pair.cluster.admit(&carol, &settings)?;
    let mut launch = carol.how_to_launch()?;
    launch
        .arguments
        .retain(|argument| !argument.starts_with("--pin="));
    let without = launch.clone();
    launch
        .arguments
        .insert(1, "--trust-on-first-use".to_owned());
    carol.set_launch(without)?;
    let refused = carol.launch(&settings)?;
    ensure!(
        !refused.wait()?.success(),
        "neither a pin nor a word of trust"
    );

    carol.set_launch(launch)?;
    let daemon = carol.start(&settings)?;
    pair.alice.node.knows(&carol)?;
    let reason = "jsonpath={.status.conditions[?(@.type==\"RootPin\")].reason}";
    pair.cluster
        .shows(&["peer", "carol", "-o", reason], "TOFU")?;
    pair.cluster
        .shows(&["peer", "alice", "-o", reason], "Pinned")?;
    let (_, said) = sotto(pair.cluster.api.place(), &["doctor"])?;
    ensure!(said.contains("carol"), "the doctor does not say so: {said}");
    ensure!(daemon.is_running(), "the daemon ended");
    still_well(&pair)
}
