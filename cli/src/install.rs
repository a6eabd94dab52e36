//! `sotto install`: puts Sotto into a cluster without Helm, or brings it to this version.
//!
//! Looks (`existing`, `ranges`), decides (`plan`), shows and asks, then applies (`apply`) the
//! manifest that this program carries (`manifest`). Interrupted anywhere, it can be run again; run
//! twice, it changes nothing.

mod apply;
pub(crate) mod existing;
pub(crate) mod manifest;
mod others;
mod plan;
pub(crate) mod ranges;
mod ready;
mod show;

use std::io::{IsTerminal, stdout};

use anyhow::{Context, Result, bail};
use kube::ResourceExt;

use crate::arguments::{InstallArguments, Place};
use crate::ask::{Consent, confirm};
use crate::cluster::{Cluster, patiently};
use crate::names::{NAMESPACE, SUPPORTED};
use crate::output::Answer;
use crate::root::NewRoot;
use crate::say;
use apply::{Mode, Outcome};
use existing::Ledger;
use plan::{Plan, RootPlan};

/// Installs Sotto.
///
/// # Errors
/// When something is not known, the person does not agree, or the API server refuses.
pub(crate) async fn run(place: &Place, arguments: &InstallArguments) -> Result<Answer> {
    if place.namespace != NAMESPACE {
        bail!("install Sotto: it is installed in the namespace {NAMESPACE} alone");
    }
    if arguments.print
        && let Some(values) = plan::offline(arguments)?
    {
        return Ok(Answer::fine(values.fill()?));
    }
    install(&Cluster::connect(place).await?, arguments).await
}

async fn install(cluster: &Cluster, arguments: &InstallArguments) -> Result<Answer> {
    check_version(cluster).await?;
    let existing = existing::look(cluster).await?;
    let addresses = ranges::look(cluster).await?;
    let is_meant = arguments.beside_other_network || existing.installed.is_some();
    let other = others::judge(others::network(cluster).await?, is_meant)?;
    let mut plan = plan::make(arguments, &existing, &addresses).await?;
    plan.notes.extend(other);
    plan.notes.push(others::policies(cluster).await);
    if arguments.print {
        if matches!(plan.root, RootPlan::New) {
            bail!(
                "print the manifest: there is no root yet; make one with `sotto root create` and \
                 give its pin with --pin"
            );
        }
        return Ok(Answer::fine(plan.values.fill()?));
    }
    say(&show::plan(&plan))?;
    if !arguments.dry_run {
        confirm("Install this?", Consent::of(arguments.yes)).await?;
        // A person may take long.
        existing::refuse_half(cluster).await?;
    }
    // Whoever brings the root comes later.
    let is_complete = !arguments.dry_run && plan.root != RootPlan::Elsewhere;
    let wanted = arguments.wait || (!arguments.no_wait && stdout().is_terminal());
    let answer = carry_out(cluster, plan, arguments).await?;
    if is_complete && wanted {
        say("Installed. Waiting for nodes; to be interrupted at any time.")?;
        return ready::wait(cluster, answer).await;
    }
    Ok(answer)
}

/// The version of the API server, as its minor number.
///
/// # Errors
/// When it does not answer or is too old.
async fn check_version(cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    let version = patiently("the cluster's version", client.apiserver_version()).await?;
    let minor: String = version
        .minor
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let minor: u32 = minor.parse().context("read the cluster's version")?;
    if version.major != "1" || minor < *SUPPORTED.start() {
        bail!(
            "install Sotto: the cluster is Kubernetes {}.{}, at least 1.{} is needed",
            version.major,
            version.minor,
            SUPPORTED.start()
        );
    }
    if minor > *SUPPORTED.end() {
        say(&format!(
            "Note: the cluster is Kubernetes 1.{minor}; Sotto was tested up to 1.{}.",
            SUPPORTED.end()
        ))?;
    }
    Ok(())
}

async fn carry_out(
    cluster: &Cluster,
    mut plan: Plan,
    arguments: &InstallArguments,
) -> Result<Answer> {
    let mode = Mode {
        dry_run: arguments.dry_run,
        force: arguments.force_conflicts,
    };
    // A root that a dry run makes is forgotten with it.
    let new_root = matches!(plan.root, RootPlan::New)
        .then(|| NewRoot::generate(&plan.values.trust_domain, NAMESPACE));
    if let Some(root) = &new_root {
        plan.values.pins = vec![root.pin];
    }
    let objects = manifest::objects(&plan.values.fill()?)?;
    let (running, needed): (Vec<_>, Vec<_>) = objects.iter().partition(|one| manifest::runs(one));
    let mut outcomes = Vec::new();
    for object in &needed {
        outcomes.push(apply::apply(cluster, object, mode).await?);
    }
    if !mode.dry_run {
        let definitions = needed
            .iter()
            .filter(|one| manifest::kind(one) == "CustomResourceDefinition");
        for object in definitions {
            apply::established(cluster, &object.name_any()).await?;
        }
        if let Some(root) = &new_root {
            // The ledger first: a root without a ledger has lost its memory.
            if plan.ledger == Ledger::Absent {
                apply::create_secret(cluster, &root.ledger).await?;
            }
            apply::create_secret(cluster, &root.root).await?;
        }
    }
    for object in &running {
        outcomes.push(apply::apply(cluster, object, mode).await?);
    }
    // One that an interrupted run has made is new to this person too.
    let is_new_root = new_root.is_some() || arguments.new_root;
    let is_same = outcomes.iter().all(|one| *one == Outcome::Unchanged);
    Ok(Answer::fine(conclusion(&plan, is_new_root, is_same, mode)))
}

fn conclusion(plan: &Plan, is_new_root: bool, is_same: bool, mode: Mode) -> String {
    if mode.dry_run {
        return "Nothing was changed.".to_owned();
    }
    let pins: Vec<String> = plan.values.pins.iter().map(ToString::to_string).collect();
    let done = if is_same {
        "Installed already, unchanged."
    } else {
        "Installed."
    };
    let mut text = format!(
        "{done} Nodes trust {}. See `sotto status`.",
        pins.join(", ")
    );
    if is_new_root {
        text.push_str(
            "\nThe root's key is in the Secret sotto-root alone. Keep a copy off the cluster: `kubectl \
             --namespace sotto-system get secret sotto-root sotto-ledger --output yaml > \
             sotto-root-backup.yaml`.",
        );
    }
    text
}

#[cfg(test)]
mod tests;
