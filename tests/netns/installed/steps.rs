//! The installation interrupted, hindered, undone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use super::machine::{LOOK_LIMIT, Machine, OURS, PLUGIN};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        cn18_a_daemon_killed_at_each_step_never_leaves_a_configuration_without_plugin_and_guard,
        cn18_a_full_disk_delays_the_installation_and_breaks_nothing,
        cn18_a_read_only_folder_is_told_and_tried_again,
        cn18_a_plugin_that_runs_is_replaced,
        what_is_removed_from_the_node_or_altered_there_is_put_back,
    ]
}

fn cn18_a_daemon_killed_at_each_step_never_leaves_a_configuration_without_plugin_and_guard(
    lab: &Lab,
) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    let steps = [
        "test -e /opt/cni/bin/sotto-cni.new",
        "test -e /opt/cni/bin/sotto-cni",
        "test -e /opt/cni/bin/sotto-bandwidth",
        "nft list table inet sotto_guard",
        "test -e /sys/class/net/sotto0",
        "test -e /run/sotto/node.json",
        "test -e /etc/cni/net.d/00-sotto.conflist.new",
        "test -e /etc/cni/net.d/00-sotto.conflist",
        "test -e /etc/cni/net.d/.sotto-reload",
    ];
    for step in steps {
        // As on a node that was never installed on, but for the keys.
        node.shell(
            "rm -f /opt/cni/bin/* /etc/cni/net.d/* /run/sotto/node.json
            ip link del sotto0 2>/dev/null || true; nft flush ruleset",
        )?;
        let daemon = machine.launch()?;
        // Some last for microseconds: then the end of the installation has to do.
        node.shell(&format!(
            "until {step} || test -e {OURS}; do :; done >/dev/null 2>&1"
        ))
        .with_context(|| daemon.log())?;
        kill(Pid::from_raw(daemon.pid()), Signal::SIGKILL)?;
        daemon.wait()?;

        machine.is_whole().with_context(|| step.to_owned())?;
    }

    let daemon = machine.start()?;
    let listed = node.shell("ls -A /etc/cni/net.d /opt/cni/bin")?;
    ensure!(
        !listed.contains(".new") && !listed.contains("reload"),
        "{listed}"
    );
    daemon.stop()?;
    machine.is_whole()?;
    ensure!(node.has(OURS), "the configuration went with the daemon");
    Ok(())
}

fn cn18_a_full_disk_delays_the_installation_and_breaks_nothing(lab: &Lab) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    node.shell("mount -t tmpfs -o size=256k none /opt/cni/bin")?;
    let daemon = machine.launch()?;

    machine.waits_for(&["/opt/cni/bin", "make room", "No space left"])?;
    ensure!(!node.has(OURS), "a configuration without a plugin");
    ensure!(
        node.shell("ls -A /opt/cni/bin")?.is_empty(),
        "half a plugin is left"
    );
    ensure!(daemon.is_running(), "{}", daemon.log());
    let said = daemon.log().matches("is not installed").count();
    ensure!(said == 1, "said {said} times");
    node.shell("mount -o remount,size=1g /opt/cni/bin")?;

    machine.gets_ready()?;
    node.shell("mount -t tmpfs -o size=4k,nr_inodes=1 none /etc/cni/net.d")?;
    machine.waits_for(&["/etc/cni/net.d", "make room"])?;
    node.shell("umount /etc/cni/net.d")?;
    machine.gets_ready()
}

fn cn18_a_read_only_folder_is_told_and_tried_again(lab: &Lab) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    for folder in ["/opt/cni/bin", "/etc/cni/net.d"] {
        node.shell(&format!("mount -t tmpfs -o ro none {folder}"))?;
    }
    let _daemon = machine.launch()?;

    machine.waits_for(&["/opt/cni/bin", "read-only"])?;
    node.shell("mount -o remount,rw /opt/cni/bin")?;
    machine.waits_for(&["/etc/cni/net.d", "read-only"])?;
    ensure!(node.has(PLUGIN) && !node.has(OURS), "the other order");
    node.shell("mount -o remount,rw /etc/cni/net.d")?;

    machine.gets_ready()
}

fn cn18_a_plugin_that_runs_is_replaced(lab: &Lab) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    node.shell(&format!("cp /bin/sleep {PLUGIN}"))?;
    let old = node.spawn("plugin", PLUGIN, &["60"])?;
    let busy = node.shell(&format!("echo x >{PLUGIN}"));
    ensure!(
        format!("{busy:?}").contains("busy"),
        "the old one is not busy: {busy:?}"
    );

    machine.start()?;

    ensure!(old.is_running(), "the old plugin ended");
    old.kill9()
}

fn what_is_removed_from_the_node_or_altered_there_is_put_back(lab: &Lab) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    let daemon = machine.start()?;

    // Ours go, and the folder with them.
    node.shell("rm -r /opt/cni/bin /etc/cni/net.d")?;

    wait::until("everything to be back", LOOK_LIMIT, || {
        node.has(PLUGIN) && node.has(OURS)
    })?;
    machine.is_whole()?;
    daemon.wait_for_log("has been put back", Duration::from_secs(2))?;
    node.shell(&format!("echo x >>{PLUGIN}; echo x >>{OURS}"))?;
    wait::until("both to be whole", LOOK_LIMIT, || {
        machine.is_whole().is_ok()
    })
}
