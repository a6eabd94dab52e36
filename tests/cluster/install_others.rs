//! Installing where another network's configuration lies, on a real containerd: nothing of it is
//! overwritten, everybody is told, and Sotto goes on by itself when it is gone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{Space, Trio, Whole};
use sotto_tests::kubernetes::{reference_plugin, text};
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use crate::install::{INSTALL, bare};
use crate::shared;

const FOLDER: &str = "/etc/cni/net.d";
const OURS: &str = "/etc/cni/net.d/00-sotto.conflist";
/// Another network, of reference plugins; its pods are easily told from Sotto's.
const OTHER: &str = r#"{"cniVersion": "1.0.0", "name": "other", "plugins": [
    {"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.99.0.0/24"}}]}"#;
const OTHER_PODS: &str = "10.99.0.";

/// From the nudge until the node is Ready: 10 s for the runtime, which is the contract, and 9 s until kubelet
/// has asked it and said so.
const NOTICED_WITHIN: Duration = Duration::from_secs(19);
/// How often the daemon looks whether everything is there.
const LOOKS_EVERY: Duration = Duration::from_secs(10);
/// From what a daemon does to what the API server shows of it: kubelet's status every 4 s, a probe every 5 s,
/// three of which have to fail.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// A configuration that only appears is overlooked by containerd; had it noticed, kubelet would say so
/// within 4 s.
const OVERLOOKED_FOR: Duration = Duration::from_secs(6);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp19_a_network_in_force_keeps_its_node_until_its_file_goes,
        cn19_containerd_takes_the_configuration_back_within_10_s_of_its_repair,
        dp19_a_configuration_that_comes_first_makes_the_node_not_ready_and_is_kept,
        cn21_a_malformed_configuration_that_comes_first_is_explained_and_no_crash,
    ]
}

fn dp19_a_network_in_force_keeps_its_node_until_its_file_goes(lab: &Lab) -> Result<()> {
    let (cluster, alice) = bare(lab)?;
    let machine = alice.place()?;
    let plugins = reference_plugin("")?;
    machine.shell(&format!(
        "mkdir -p /opt/cni/bin; cp {plugins}/* /opt/cni/bin/"
    ))?;
    let loopback = machine.shell("stat -c '%i %Y' /opt/cni/bin/loopback")?;
    let file = format!("{FOLDER}/10-other.conflist");
    // cn19: a file that is renamed into the folder is not noticed, one that goes is.
    machine.write("/etc/cni/other.conflist", OTHER)?;
    machine.shell(&format!("mv /etc/cni/other.conflist {file}"))?;
    wait::let_pass(OVERLOOKED_FOR);
    ensure!(!cluster.is_ready("alice")?, "containerd noticed it");
    alice.nudge_runtime()?;
    let started = Instant::now();
    becomes(&cluster, "alice", true, NOTICED_WITHIN)?;
    println!("cn19: {:?} after the nudge", started.elapsed());
    let space = cluster.space("other")?;
    space.shell_pod("old", "alice")?;

    let (code, said) = cluster.sotto(&INSTALL)?;

    ensure!(code == 0, "{said}");
    event(&cluster, "alice", "10-other.conflist")?;
    cluster.are_ready(&["control"])?;
    // Once its daemon has reported for the first time.
    wait::until("`sotto doctor` to name the file", SHOWN_WITHIN, || {
        let (code, said) = cluster.sotto(&["doctor"]).unwrap_or_default();
        code == 1 && said.contains("10-other.conflist") && said.contains("move this file")
    })?;
    ensure!(
        machine.read(&file)? == OTHER.as_bytes(),
        "it was overwritten"
    );
    ensure!(machine.shell(&format!("ls {FOLDER}"))? == "10-other.conflist\n");
    space.shell_pod("new", "alice")?;
    for pod in ["old", "new"] {
        let address = space.address(pod, false)?;
        ensure!(address.starts_with(OTHER_PODS), "{pod} has {address}");
    }
    // What a person does, as `docs/install.md` says it.
    space.kubectl(&["delete", "pod", "old", "new"])?;
    machine.shell(&format!("mv {file} /root/"))?;
    is_ours_again(&cluster, &space, "alice")?;
    let after = machine.shell("stat -c '%i %Y' /opt/cni/bin/loopback")?;
    ensure!(loopback == after, "somebody's loopback was replaced");
    Ok(())
}

fn cn19_containerd_takes_the_configuration_back_within_10_s_of_its_repair(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let machine = trio.bob.place()?;
        let removed = Instant::now();
        machine.shell(&format!("rm {OURS} /opt/cni/bin/loopback"))?;
        wait::until("the repair", 2 * LOOKS_EVERY, || {
            let both = format!("test -e {OURS} && test -e /opt/cni/bin/loopback");
            machine.shell(&both).is_ok()
        })?;
        let repaired = Instant::now();

        // Whether kubelet saw the gap or not.
        becomes(&trio.cluster, "bob", true, NOTICED_WITHIN)?;
        let space = trio.cluster.space("repaired")?;
        space.shell_pod("pod", "bob")?;

        println!(
            "cn19: put back {:?} after, a pod {:?} after that",
            repaired - removed,
            repaired.elapsed()
        );
        let address = space.address("pod", false)?;
        ensure!(address.starts_with("10.244."), "{address}");
        Ok(())
    })
}

fn dp19_a_configuration_that_comes_first_makes_the_node_not_ready_and_is_kept(
    _: &Lab,
) -> Result<()> {
    shared::alone(|_, trio| {
        let first = Foreign::put(trio, "bob", "00-first.conflist", OTHER)?;
        let plugins = reference_plugin("")?;
        let machine = trio.bob.place()?;
        machine.shell(&format!(
            "cp {plugins}/ptp {plugins}/host-local /opt/cni/bin/"
        ))?;
        first.is_told("sorts before 00-sotto.conflist")?;
        let space = trio.cluster.space("first")?;
        // The runtime reads its folder anew when something goes: as after a restart.
        trio.bob.nudge_runtime()?;
        space.shell_pod("theirs", "bob")?;
        let address = space.address("theirs", false)?;
        ensure!(address.starts_with(OTHER_PODS), "{address}");
        space.kubectl(&["delete", "pod", "theirs"])?;
        machine.shell("rm /opt/cni/bin/ptp /opt/cni/bin/host-local")?;

        first.goes(&space)
    })
}

fn cn21_a_malformed_configuration_that_comes_first_is_explained_and_no_crash(
    _: &Lab,
) -> Result<()> {
    shared::alone(|_, trio| {
        let restarts = restarts(trio)?;
        let first = Foreign::put(trio, "alice", "00-broken.conf", "{\"type\": ")?;
        first.is_told("no runtime can read it")?;
        let space = trio.cluster.space("broken")?;

        first.goes(&space)?;

        ensure!(restarts == self::restarts(trio)?, "the daemon crashed");
        Ok(())
    })
}

/// A file of another network on a node that sorts before ours. Each test has a node of its own: an Event of one reason
/// and node is written once in ten minutes.
struct Foreign<'a> {
    trio: &'a Trio,
    node: &'a str,
    path: String,
    content: &'a str,
}

impl<'a> Foreign<'a> {
    fn put(trio: &'a Trio, node: &'a str, name: &str, content: &'a str) -> Result<Self> {
        let path = format!("{FOLDER}/{name}");
        trio.host(node)?.place()?.write(&path, content)?;
        Ok(Self {
            trio,
            node,
            path,
            content,
        })
    }

    /// The daemon is not ready, an Event and `sotto doctor` say why; nothing is touched.
    fn is_told(&self, why: &str) -> Result<()> {
        let cluster = &self.trio.cluster;
        event(cluster, self.node, why)?;
        wait::until("the daemon to be not ready", SHOWN_WITHIN, || {
            cluster
                .daemon(self.node)
                .is_ok_and(|pod| !is_pod_ready(&pod))
        })?;
        let (code, said) = cluster.sotto(&["doctor"])?;
        ensure!(code == 1 && said.contains(why), "{code}: {said}");
        let machine = self.trio.host(self.node)?.place()?;
        ensure!(
            machine.read(&self.path)? == self.content.as_bytes(),
            "overwritten"
        );
        machine.shell(&format!("test -e {OURS}")).map(drop)
    }

    /// Once it is gone, all is as before.
    fn goes(&self, space: &Space<'_>) -> Result<()> {
        let machine = self.trio.host(self.node)?.place()?;
        machine.shell(&format!("rm {}", self.path))?;
        is_ours_again(&self.trio.cluster, space, self.node)
    }
}

fn is_ours_again(cluster: &Whole, space: &Space<'_>, node: &str) -> Result<()> {
    wait::until(
        &format!("{node}'s daemon to be ready"),
        SHOWN_WITHIN,
        || cluster.daemon(node).is_ok_and(|pod| is_pod_ready(&pod)),
    )?;
    becomes(cluster, node, true, SHOWN_WITHIN)?;
    space.shell_pod("ours", node)?;
    let address = space.address("ours", false)?;
    ensure!(address.starts_with("10.244."), "{address}");
    Ok(())
}

/// Waits for an Event of the node that says why Sotto is not installed there.
fn event(cluster: &Whole, node: &str, why: &str) -> Result<()> {
    let selected = format!("reason=NotInstalled,involvedObject.name={node}");
    let get = ["get", "events", "--all-namespaces", "--field-selector"];
    let arguments = [&get[..], &[&selected, "-o", "jsonpath={.items[*].message}"]].concat();
    wait::until(&format!("an Event with {why:?}"), SHOWN_WITHIN, || {
        let said = cluster.api.kubectl(&arguments);
        said.is_ok_and(|said| said.contains(why))
    })
}

fn becomes(cluster: &Whole, node: &str, ready: bool, limit: Duration) -> Result<()> {
    wait::until(&format!("{node} to be Ready: {ready}"), limit, || {
        cluster.is_ready(node).is_ok_and(|is| is == ready)
    })
}

fn is_pod_ready(pod: &Value) -> bool {
    let ready = pod.pointer("/status/containerStatuses/0/ready");
    ready.and_then(Value::as_bool).unwrap_or_default()
}

fn restarts(trio: &Trio) -> Result<String> {
    let pod = trio.cluster.daemon("alice")?;
    let count = pod.pointer("/status/containerStatuses/0/restartCount");
    let count = count.context("no restart count")?;
    Ok(format!("{} {count}", text(&pod, "/metadata/uid")?))
}
