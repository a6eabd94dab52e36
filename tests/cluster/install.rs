//! Installing as a user does, and doing it again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{CONTROL, ProxyMode, Whole};
use sotto_tests::kubernetes::{NAMESPACE, text};
use sotto_tests::lab::{Host, Lab};
use sotto_tests::wait;

use crate::shared;

/// What the contract promises, images being there.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// `sotto` writes 21 objects in a second or two.
const WRITES_WITHIN: Duration = Duration::from_secs(30);
/// After how many objects `sotto install` is killed: between kinds, accounts and roles, policies, the two
/// Secrets, and before the workloads, if it is still there then.
const KILLED_AFTER: [usize; 5] = [1, 5, 12, 18, 19];

/// Nothing here tells where pods are, as a static pod of kube-controller-manager would; the nodes' own addresses
/// are then asked for too.
pub(crate) const INSTALL: [&str; 6] = [
    "install",
    "--new-root",
    "--yes",
    "--no-wait",
    "--pod-range=10.244.0.0/16,fd00:10:244::/56",
    "--underlay-range=198.51.100.0/24,2001:db8::/64",
];

/// The same, when a root may be there already.
const AGAIN: [&str; 5] = ["install", "--yes", "--wait", INSTALL[4], INSTALL[5]];

pub(crate) fn cases() -> Vec<Case> {
    cases![
        cn18_sotto_install_killed_at_any_write_goes_on_is_ready_in_time_and_changes_nothing_again,
        helm_upgrade_with_the_same_values_changes_nothing,
        the_daemons_memory_is_locked,
    ]
}

/// A control plane and a node, both with Sotto's images and without a pod network.
pub(crate) fn bare(lab: &Lab) -> Result<(Whole, Host)> {
    let cluster = Whole::raise(lab, ProxyMode::Nftables)?;
    cluster.import_sotto(cluster.control())?;
    let alice = cluster.node(lab, "alice", 1)?;
    cluster.import_sotto(&alice)?;
    Ok((cluster, alice))
}

fn cn18_sotto_install_killed_at_any_write_goes_on_is_ready_in_time_and_changes_nothing_again(
    lab: &Lab,
) -> Result<()> {
    let (cluster, _alice) = bare(lab)?;
    let mut killed = 0;
    for writes in KILLED_AFTER {
        let installing = cluster.start_sotto(&INSTALL)?;
        let before = outcomes(&installing.log());
        wait::until(&format!("{writes} objects"), WRITES_WITHIN, || {
            outcomes(&installing.log()) - before >= writes || !installing.is_running()
        })?;
        killed += usize::from(installing.kill9().is_ok());
    }
    ensure!(killed >= 3, "killed only {killed} times");

    let started = Instant::now();
    let (code, said) = cluster.sotto(&AGAIN)?;

    ensure!(code == 0, "{said}\n{}", cluster.state());
    cluster.are_ready(&[CONTROL, "alice"])?;
    let took = started.elapsed();
    ensure!(took <= READY_WITHIN, "nodes took {took:?}: {said}");
    println!("nodes are Ready {:.1} s after", took.as_secs_f64());
    let before = versions(&cluster)?;
    let (code, said) = cluster.sotto(&["install", "--yes", "--wait"])?;
    ensure!(code == 0 && said.contains("unchanged"), "{said}");
    for verb in ["created", "changed"] {
        ensure!(!said.contains(&format!(": {verb}")), "{said}");
    }
    let after = versions(&cluster)?;
    ensure!(before == after, "{before:#?}\nbecame\n{after:#?}");
    let (code, said) = cluster.sotto(&["doctor"])?;
    ensure!(code == 0, "{said}");
    let space = cluster.space("first")?;
    space.shell_pod("pod", "alice")
}

fn outcomes(log: &str) -> usize {
    let words = [": created", ": changed", ": unchanged"];
    let told = |line: &&str| words.iter().any(|word| line.ends_with(word));
    log.lines().filter(told).count()
}

fn helm_upgrade_with_the_same_values_changes_nothing(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let before = versions(&trio.cluster)?;
        trio.cluster.upgrade_sotto()?;

        let after = versions(&trio.cluster)?;

        ensure!(before == after, "{before:#?}\nbecame\n{after:#?}");
        Ok(())
    })
}

fn the_daemons_memory_is_locked(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        for host in [trio.cluster.control(), &trio.alice, &trio.bob] {
            let locked =
                "sed -n 's/^VmLck:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$(pgrep -x sotto-node)/status";
            let said = host.place()?.shell(locked)?;
            let locked: u64 = said.trim().parse()?;
            ensure!(locked > 0, "{} has no page locked", host.name());
        }
        Ok(())
    })
}

/// What was applied, each with its generation and, where nobody writes a status, its version.
fn versions(cluster: &Whole) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let kinds = "customresourcedefinitions,clusterroles,clusterrolebindings,\
                 validatingadmissionpolicies,validatingadmissionpolicybindings";
    let own = "daemonsets,deployments,serviceaccounts,roles,rolebindings,services,\
               poddisruptionbudgets,secrets,pods";
    let of = |what: &[&str]| cluster.api.read(what);
    for listed in [of(&[kinds])?, of(&[own, "--namespace", NAMESPACE])?] {
        let items = listed.get("items").and_then(|items| items.as_array());
        for item in items.into_iter().flatten() {
            let (kind, name) = (text(item, "/kind")?, text(item, "/metadata/name")?);
            // The ledger goes on; Helm notes that it was called.
            if name == "sotto-ledger" || name.starts_with("sh.helm.") {
                continue;
            }
            let has_status = item.get("status").is_some();
            let version = match item.pointer("/metadata/generation") {
                Some(generation) if has_status => generation.to_string(),
                Some(_) | None if kind == "Pod" => text(item, "/metadata/uid")?.to_owned(),
                Some(_) | None => text(item, "/metadata/resourceVersion")?.to_owned(),
            };
            all.insert(format!("{kind} {name}"), version);
        }
    }
    ensure!(all.len() > 15, "only {all:?}");
    Ok(all)
}
