//! Daemons die, the store goes away: nothing leaks, and what stood still stands.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::{Pair, join};
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::leak::nothing_leaks;
use sotto_tests::{traffic, wait};

/// B1: how long pods may be cut off after a daemon starts again.
const RESTART_BUDGET: Duration = Duration::from_secs(5);

/// B2 and the store's own polling: how long a node may take once the store is back.
const STORE_BUDGET: Duration = Duration::from_secs(20);

const NETWORK: &str = r#"{"cniVersion":"1.1.0","name":"sotto","type":"sotto-cni"}"#;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp02_i1_a_killed_daemon_leaks_nothing_and_comes_back,
        cp02_i7_a_daemon_that_starts_without_the_store_keeps_its_peers,
        a_daemon_that_starts_without_its_verified_set_or_on_a_full_disk_comes_back,
        cp03_a_node_that_never_saw_the_store_waits_behind_its_guard,
        cp08_i7_an_empty_store_is_no_command,
        bi06_a_second_daemon_refuses_and_leaves_the_first_alone,
        what_was_taken_from_the_runtime_directory_is_made_anew,
    ]
}

fn dp02_i1_a_killed_daemon_leaks_nothing_and_comes_back(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let (client, server) = (&pair.alice.pod, &pair.bob.pod);
    traffic::exchange_all(client, server, &Canary::new()?)?;
    let settings = DaemonSettings::default();

    nothing_leaks(lab, |canary| {
        let flood = traffic::Flood::start(client, server.addresses(), canary)?;
        let back = traffic::Flood::start(server, client.addresses(), canary)?;
        wait::until("load", Duration::from_secs(10), || flood.sent() > 500)?;
        pair.bob.daemon.kill9()?;
        let sent = (flood.sent(), back.sent());
        wait::until("load on a dead daemon", Duration::from_secs(10), || {
            flood.sent() > sent.0 + 2000 && back.sent() > sent.1 + 2000
        })?;
        let again = Instant::now();
        pair.bob.node.start(&settings)?;
        wait::until("pods to talk again", RESTART_BUDGET, || {
            traffic::ping_once(client, server.addresses()[0], &canary.repeated(100)).is_ok()
        })?;
        let gap = again.elapsed();
        ensure!(gap <= RESTART_BUDGET, "cut off for {gap:?} after the start");
        drop((flood, back));
        traffic::exchange_all(client, server, canary)
    })?;
    Ok(())
}

fn cp02_i7_a_daemon_that_starts_without_the_store_keeps_its_peers(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let alice = &pair.alice.node;

    pair.controller_process.kill9()?;
    for node in [alice, &pair.bob.node] {
        node.take_store()?;
    }
    pair.alice.daemon.kill9()?;
    alice.start(&DaemonSettings::default())?;

    old_and_new_pods_talk(lab, &pair)
}

fn a_daemon_that_starts_without_its_verified_set_or_on_a_full_disk_comes_back(
    lab: &Lab,
) -> Result<()> {
    let mut pair = Pair::raise(lab)?;
    let settings = DaemonSettings::default();
    let faults = [
        "rm -r /var/lib/sotto/verified",
        "mount --bind /var/lib/sotto /var/lib/sotto && mount -o remount,ro,bind /var/lib/sotto",
    ];

    for fault in faults {
        pair.alice.daemon.kill9()?;
        pair.alice.node.run("sh", &["-c", fault])?;
        pair.alice.daemon = pair.alice.node.start(&settings)?;
        wait::until(fault, RESTART_BUDGET, || {
            let (from, to) = (&pair.alice.pod, pair.bob.pod.addresses()[0]);
            traffic::ping_once(from, to, b"again").is_ok()
        })?;
    }
    Ok(())
}

fn cp03_a_node_that_never_saw_the_store_waits_behind_its_guard(lab: &Lab) -> Result<()> {
    let settings = DaemonSettings::default();
    let controller = lab.controller()?;
    controller.start()?;
    let bob = join(lab.node("bob")?, "server", &controller, &settings)?;
    let alice = lab.node("alice")?;
    alice.enrol(&controller, &settings)?;
    alice.take_store()?;

    let daemon = alice.launch(&settings)?;
    wait::until("the guard", Duration::from_secs(10), || {
        alice.shell("nft list table inet sotto_guard").is_ok()
    })?;

    nothing_leaks(lab, |canary| {
        ensure!(!alice.is_ready(), "ready without an identity");
        let pod = alice.bare_pod("client")?;
        for (verb, code) in [("ADD", 11), ("STATUS", 50)] {
            let answer = alice.cni_output(verb, pod.container(), pod.name(), NETWORK)?;
            let text = String::from_utf8_lossy(&answer.stdout).into_owned();
            let text: serde_json::Value = serde_json::from_str(&text)?;
            ensure!(text.get("code") == Some(&code.into()), "{verb}: {text}");
        }
        let from_node = traffic::ping_from(&alice, bob.pod.ipv4()?, &canary.repeated(100));
        ensure!(from_node.is_err(), "a node without keys reached a pod");
        alice.return_store()?;
        wait::until("alice to be ready", STORE_BUDGET, || alice.is_ready())?;
        let client = alice.pod("late")?;
        alice.knows(&bob.node)?;
        traffic::exchange_all(&client, &bob.pod, canary)
    })?;
    ensure!(daemon.is_running(), "the daemon ended meanwhile");
    Ok(())
}

fn cp08_i7_an_empty_store_is_no_command(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let store = lab.store();
    pair.controller_process.kill9()?;

    for folder in ["roots", "revocations", "certificates", "envelopes"] {
        for entry in std::fs::read_dir(store.join(folder))? {
            std::fs::remove_file(entry?.path())?;
        }
    }

    nothing_leaks(lab, |canary| {
        // A daemon looks at the store each 10 s at the latest.
        let seen = Instant::now();
        while seen.elapsed() < Duration::from_secs(12) {
            traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, canary)?;
        }
        Ok(())
    })?;
    for (one, other) in [(&pair.alice, &pair.bob), (&pair.bob, &pair.alice)] {
        let peer = one.node.peer(other.node.name())?;
        ensure!(
            peer.is_some(),
            "{} forgot {}",
            one.node.name(),
            other.node.name()
        );
    }
    Ok(())
}

fn bi06_a_second_daemon_refuses_and_leaves_the_first_alone(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let before = pair.alice.node.status()?;

    let second = pair.alice.node.launch(&DaemonSettings::default())?;
    let end = second.wait()?;

    ensure!(!end.success(), "the second daemon ended well");
    ensure!(pair.alice.daemon.is_running(), "the first daemon ended");
    let after = pair.alice.node.status()?;
    ensure!(
        before.process_id == after.process_id,
        "another daemon answers"
    );
    ensure!(
        before.generation.map(|g| g.number) == after.generation.map(|g| g.number),
        "new keys"
    );
    nothing_leaks(lab, |canary| {
        traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, canary)
    })?;
    Ok(())
}

fn what_was_taken_from_the_runtime_directory_is_made_anew(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let alice = &pair.alice.node;

    for taken in ["/run/sotto/node.json", "/run/sotto"] {
        alice.run("rm", &["-r", taken])?;
        wait::until("node.json", RESTART_BUDGET, || {
            alice.run("test", &["-f", "/run/sotto/node.json"]).is_ok() && alice.status().is_ok()
        })?;
    }

    old_and_new_pods_talk(lab, &pair)
}

/// Alice's pod and one that comes now reach bob's, and nothing leaks.
fn old_and_new_pods_talk(lab: &Lab, pair: &Pair) -> Result<()> {
    nothing_leaks(lab, |canary| {
        traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, canary)?;
        let newcomer = pair.alice.node.pod("newcomer")?;
        traffic::exchange_all(&newcomer, &pair.bob.pod, canary)?;
        pair.alice.node.detach(&newcomer)
    })?;
    Ok(())
}
