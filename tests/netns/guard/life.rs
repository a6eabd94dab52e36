//! The daemon's and the pods' lives: nothing leaks before, between and after.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::{DaemonSettings, Lab};

use super::load::Load;
use super::pair::{Pair, enrol};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp02_a_killed_daemon_and_a_masquerade_of_everything_leak_nothing,
        dp08_a_pod_detached_under_load_leaks_nothing,
        the_guard_stands_before_the_node_forwards_and_before_pods_may_come,
    ]
}

/// The bound on a restart without hand-over.
const RESTART_LIMIT: Duration = Duration::from_secs(5);

fn dp02_a_killed_daemon_and_a_masquerade_of_everything_leak_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let load = Load::start(&pair)?;

    let mut gap = Duration::ZERO;
    let leaked = load.leaked(lab, || {
        pair.alices_daemon.kill9()?;
        load.stretch()?;
        // Once more with somebody who masquerades everything.
        pair.alice.shell(
            "nft 'table inet spoiler { chain c { type nat hook postrouting priority 90; masquerade; }; }'",
        )?;
        load.stretch()?;
        pair.alice.shell("nft delete table inet spoiler")?;
        let started = Instant::now();
        let _again = pair.alice.start(&DaemonSettings::default())?;
        load.wait_for_arrivals()?;
        gap = started.elapsed();
        Ok(())
    })?;

    ensure!(leaked == 0, "the canary was seen {leaked} times");
    ensure!(gap <= RESTART_LIMIT, "the restart took {gap:?}");
    Ok(())
}

fn dp08_a_pod_detached_under_load_leaks_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let load = Load::start(&pair)?;

    let leaked = load.leaked(lab, || {
        pair.alice.detach(&pair.client)?;
        load.stretch()?;
        pair.bob.detach(&pair.server)?;
        load.stretch()
    })?;

    ensure!(leaked == 0, "the canary was seen {leaked} times");
    Ok(())
}

/// Forwarding comes last, and `node.json` after everything.
fn the_guard_stands_before_the_node_forwards_and_before_pods_may_come(lab: &Lab) -> Result<()> {
    let controller = lab.controller()?;
    let _running = controller.start()?;
    let alice = lab.node("alice")?;
    enrol(&alice, &controller)?;
    alice.write(
        "/run/watch.sh",
        "while :; do
          forwarding=$(cat /proc/sys/net/ipv4/ip_forward)
          [ -e /run/sotto/node.json ] && json=1 || json=0
          rules=$(ip rule | grep -c 'proto 83')
          nft list table inet sotto_guard >/dev/null 2>&1 && table=1 || table=0
          echo $forwarding $json $rules $table
        done\n",
    )?;
    let watcher = alice.spawn("watcher", "sh", &["/run/watch.sh"])?;
    let _daemon = alice.start(&DaemonSettings::default())?;
    watcher.kill9()?;

    let mut lines = 0;
    for line in watcher.log().lines() {
        let numbers: Vec<_> = line.split_whitespace().collect();
        let [forwarding, json, rules, table] = numbers[..] else {
            continue;
        };
        // Without a pod range yet, the rules that name it are still to come.
        let stands =
            |least: u32| table == "1" && rules.parse().is_ok_and(|rules: u32| rules >= least);
        ensure!(
            forwarding == "0" || stands(5),
            "forwarding before the guard: {line}"
        );
        ensure!(
            json == "0" || stands(7),
            "node.json before the guard: {line}"
        );
        lines += 1;
    }
    ensure!(lines >= 3, "the watcher saw only {lines} moments");
    Ok(())
}
