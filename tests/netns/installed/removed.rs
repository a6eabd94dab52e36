//! Sotto taken off a node on which pods run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::{Lab, Process, program};
use sotto_tests::wait;

use super::machine::{Machine, OURS, PLUGIN};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        cn20_an_uninstallation_refuses_new_pods_lets_the_last_detach_and_takes_the_guard_last,
        cn20_an_uninstallation_can_be_ended_at_any_time_and_run_again,
        a_pause_lasts_until_it_is_ended,
    ]
}

const LIMIT: Duration = Duration::from_secs(10);

fn uninstall(machine: &Machine) -> Result<Process> {
    let mut arguments = machine.node.how_to_launch()?.of_verb("uninstall");
    arguments.push("--wait-for-pods".to_owned());
    let daemon = program("sotto-node")?;
    machine
        .node
        .spawn_with("uninstall", &daemon, &arguments, &[])
}

/// Everything of the guard, in the kernel.
fn guard_stands(machine: &Machine) -> Result<()> {
    let all = "nft list table inet sotto_guard; ip link show sotto0; ip rule show pref 93 | grep .";
    machine.node.shell(all).map(drop)
}

/// Nothing of Sotto is left, in the kernel or on the disk.
fn is_clean(machine: &Machine) -> Result<()> {
    let left = machine.node.shell(
        "nft list ruleset; ip rule | grep 'proto 83' || true; ip -6 rule | grep 'proto 83' || true
        ip -o link | grep -e sotto0 -e ': sp' || true
        ls -A /etc/cni/net.d /opt/cni/bin | grep sotto || true
        ls -Ad /run/sotto /var/lib/sotto 2>/dev/null || true",
    )?;
    ensure!(left.is_empty(), "left: {left}");
    Ok(())
}

fn cn20_an_uninstallation_refuses_new_pods_lets_the_last_detach_and_takes_the_guard_last(
    lab: &Lab,
) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    let daemon = machine.start()?;
    let pods = [node.pod("one")?, node.pod("two")?];

    // The daemon is still there, as while an orchestrator ends it.
    let uninstall = uninstall(&machine)?;
    uninstall.wait_for_log("Waiting for the daemon to end", LIMIT)?;
    ensure!(node.has("/run/sotto/node.json"), "it did not wait");
    daemon.stop()?;
    uninstall.wait_for_log("left=2", LIMIT)?;

    let refused = node.pod("three");
    let refused = format!("{:#}", refused.err().context("a new pod came")?);
    ensure!(
        refused.contains("\"code\": 11") || refused.contains("\"code\":11"),
        "{refused}"
    );
    for pod in &pods {
        ensure!(node.has(OURS) && node.has(PLUGIN), "DEL cannot be called");
        guard_stands(&machine)?;
        // As the runtime does: by what is installed.
        let whole: Value = serde_json::from_slice(&node.read(OURS)?)?;
        let mut network = whole.pointer("/plugins/0").context("no plugin")?.clone();
        network["cniVersion"] = "1.1.0".into();
        network["name"] = "sotto".into();
        let call = [
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", pod.container()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        node.run_with_input(PLUGIN, &[], &call, &network.to_string())?;
    }

    ensure!(uninstall.wait()?.success(), "{}", uninstall.log());
    is_clean(&machine)
}

fn cn20_an_uninstallation_can_be_ended_at_any_time_and_run_again(lab: &Lab) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    machine.start()?.stop()?;
    let pod = node.bare_pod("kept")?;
    node.shell("ip link add sp0123456789abc group 21331 type veth peer name eth0 netns kept")?;
    let first = uninstall(&machine)?;
    first.wait_for_log("left=1", LIMIT)?;
    let ended = first.stop()?;
    ensure!(!ended.success(), "a stopped wait is no success");
    guard_stands(&machine)?;
    let second = uninstall(&machine)?;
    wait::until("the second to wait too", LIMIT, || {
        second.log().matches("left=1").count() == 2
    })?;
    second.kill9()?;
    guard_stands(&machine)?;
    pod.shell("ip link del eth0")?;

    for step in [
        "! test -e /etc/cni/net.d/00-sotto.conflist",
        "! test -e /opt/cni/bin/sotto-cni",
        "! test -e /sys/class/net/sotto0",
        "! nft list table inet sotto_guard",
    ] {
        let process = uninstall(&machine)?;
        node.shell(&format!(
            "until {step} || ! kill -0 {pid}; do :; done >/dev/null 2>&1; kill -9 {pid} 2>/dev/null || true",
            pid = process.pid()
        ))?;
        process.wait()?;
        ensure!(
            !node.has(OURS) || node.has(PLUGIN),
            "a configuration without its plugin"
        );
    }
    let last = uninstall(&machine)?;
    ensure!(last.wait()?.success(), "{}", last.log());
    is_clean(&machine)
}

fn a_pause_lasts_until_it_is_ended(lab: &Lab) -> Result<()> {
    let place = lab.switch();
    let pause = place.spawn("pause", &program("sotto-node")?, &["pause"])?;
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pause.pid()));
        // Bit 14 of the caught signals is SIGTERM.
        let caught = status.ok()?;
        let caught = caught
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught >> 14 & 1 == 1).then_some(())
    };
    wait::until_some("the pause to listen", LIMIT, listens)?;

    ensure!(pause.stop()?.success(), "{}", pause.log());
    Ok(())
}
