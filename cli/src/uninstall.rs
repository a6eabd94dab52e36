//! `sotto uninstall`: takes Sotto out of a cluster, from its nodes first, then from its API.
//!
//! On each node works a DaemonSet (`daemon_set`) that ends when nothing of Sotto is left there, which
//! waits for the node's pods: only while plugin and configuration are there can they detach. This
//! program deletes them where that was agreed to (`pods`). The API's objects go last (`remove`), the
//! kinds and the namespace behind the others. Interrupted anywhere, it can be run again.

mod daemon_set;
mod pods;
mod remove;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnetwork::IpNetwork;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use node_identity::PodCidr;

use crate::arguments::{Place, UninstallArguments};
use crate::ask::{Consent, confirm};
use crate::cluster::Cluster;
use crate::names::{CONTROLLER, LEDGER_SECRET, NAMESPACE, NODE, ROOT_SECRET, UNINSTALL};
use crate::output::{Answer, Verdict};
use crate::printable::printable;
use crate::{say, settings};
use daemon_set::States;

/// How many names are shown of a list.
const SHOWN: usize = 10;
/// A node takes seconds, and each look lists all pods.
const PAUSE: Duration = if cfg!(test) {
    Duration::from_millis(5)
} else {
    Duration::from_secs(2)
};

/// What there is.
struct Facts {
    /// The daemons, if they are there still.
    daemons: Option<DaemonSet>,
    /// Whether an uninstall has begun on nodes.
    has_begun: bool,
    /// Where pods are.
    ranges: Vec<IpNetwork>,
    /// The nodes.
    nodes: Vec<String>,
    /// The pods of the pod network.
    pods: Vec<Pod>,
    /// What is in the API, in words.
    objects: Vec<String>,
}

/// Whether pods may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pods {
    /// They may.
    Delete,
    /// Somebody else ends them.
    WaitFor,
}

/// Uninstalls Sotto.
///
/// # Errors
/// When the person does not agree, or the API server refuses.
pub(crate) async fn run(place: &Place, arguments: &UninstallArguments) -> Result<Answer> {
    if place.namespace != NAMESPACE {
        bail!("uninstall Sotto: it is installed in the namespace {NAMESPACE} alone");
    }
    uninstall(&Cluster::connect(place).await?, arguments).await
}

async fn uninstall(cluster: &Cluster, arguments: &UninstallArguments) -> Result<Answer> {
    let facts = look(cluster).await?;
    let on_nodes = facts.daemons.is_some() || facts.has_begun;
    if !on_nodes && facts.objects.is_empty() {
        return Ok(Answer::fine("Sotto is not installed: nothing was changed."));
    }
    let ignored = ignored(arguments, &facts)?;
    say(&show(&facts, on_nodes))?;
    if on_nodes && !facts.pods.is_empty() && arguments.yes && !arguments.delete_pods {
        bail!(
            "uninstall Sotto: {} pods are on its network; give --delete-pods to have them deleted, or \
             end them first",
            facts.pods.len()
        );
    }
    let consent = Consent::of(arguments.yes);
    confirm("Uninstall Sotto?", consent).await?;
    if on_nodes {
        let may_delete = arguments.delete_pods || !facts.pods.is_empty();
        if may_delete && !arguments.delete_pods {
            let question = format!("Delete these {} pods?", facts.pods.len());
            confirm(&question, Consent::Needed).await?;
        }
        let pods = if may_delete {
            Pods::Delete
        } else {
            Pods::WaitFor
        };
        from_nodes(cluster, &facts, pods, &ignored).await?;
    }
    remove::requests(cluster).await?;
    remove::objects(cluster).await?;
    match remove::gone(cluster).await? {
        None => Ok(Answer::fine("Sotto is uninstalled.")),
        Some(left) => Ok(Answer {
            text: left,
            verdict: Verdict::Wrong,
        }),
    }
}

/// The nodes that are not waited for, which there are.
fn ignored(arguments: &UninstallArguments, facts: &Facts) -> Result<BTreeSet<String>> {
    let ignored: BTreeSet<String> = arguments
        .ignored_nodes
        .iter()
        .map(ToString::to_string)
        .collect();
    if let Some(unknown) = ignored.iter().find(|name| !facts.nodes.contains(name)) {
        bail!("--ignore-node {unknown}: there is no such node, see `kubectl get nodes`");
    }
    Ok(ignored)
}

async fn look(cluster: &Cluster) -> Result<Facts> {
    let namespace = Some(cluster.namespace.as_str());
    let daemons = cluster.find::<DaemonSet>(namespace, NODE).await?;
    let begun = cluster.find::<DaemonSet>(namespace, UNINSTALL).await?;
    let installed = daemons.as_ref().or(begun.as_ref()).map(settings::read);
    let installed = installed
        .transpose()
        .map_err(anyhow::Error::msg)
        .context("read the DaemonSet of the daemons: was it made by something else?")?;
    let ranges = installed.map(|one| one.pod_ranges).unwrap_or_default();
    let ranges: Vec<IpNetwork> = ranges.iter().map(PodCidr::to_network).collect();
    Ok(Facts {
        daemons,
        has_begun: begun.is_some(),
        nodes: nodes(cluster).await?,
        pods: pods::of_network(cluster, &ranges).await?,
        ranges,
        objects: remove::there(cluster).await?,
    })
}

async fn nodes(cluster: &Cluster) -> Result<Vec<String>> {
    let nodes = cluster.list::<Node>(ListParams::default()).await?.objects;
    Ok(nodes.iter().map(ResourceExt::name_any).collect())
}

fn show(facts: &Facts, on_nodes: bool) -> String {
    let mut text = if on_nodes {
        format!(
            "From each of {} nodes go: the network configuration and plugins of Sotto, its interface, \
             its guard, its keys and its reservations.",
            facts.nodes.len()
        )
    } else {
        "There is no DaemonSet sotto-node: nodes are not looked at. One that still has Sotto on it is \
         cleaned by `sotto-node uninstall` there."
            .to_owned()
    };
    if on_nodes && !facts.pods.is_empty() {
        let names: Vec<String> = facts.pods.iter().map(pods::name).collect();
        text.push_str(&format!(
            "\nThese {} pods are deleted, and lose their network; those made anew wait for another: {}.",
            names.len(),
            few(&names)
        ));
        let bare = facts.pods.iter().filter(|pod| !pods::is_made_anew(pod));
        let bare: Vec<String> = bare.map(pods::name).collect();
        if !bare.is_empty() {
            text.push_str(&format!("\nOf them nobody makes anew: {}.", few(&bare)));
        }
    }
    text.push_str(&format!(
        "\nFrom the API go: {}.\nWith the namespace {NAMESPACE} go the Secrets {ROOT_SECRET} and \
         {LEDGER_SECRET}: copy them first if this root is to be used again.",
        if facts.objects.is_empty() {
            "requests for certificates".to_owned()
        } else {
            facts.objects.join(", ")
        }
    ));
    text
}

/// The first of these, in words fit for a terminal.
fn few(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| printable(name))
        .collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}

/// Has every node cleaned, and returns when all are.
async fn from_nodes(
    cluster: &Cluster,
    facts: &Facts,
    pods: Pods,
    ignored: &BTreeSet<String>,
) -> Result<()> {
    if let Some(daemons) = &facts.daemons {
        if facts.has_begun {
            // Where daemons came again, nodes that were done are not.
            remove::workload::<DaemonSet>(cluster, UNINSTALL).await?;
        }
        // First the one that needs the other as its pattern.
        daemon_set::create(cluster, daemons).await?;
        remove::workload::<DaemonSet>(cluster, NODE).await?;
    }
    remove::workload::<Deployment>(cluster, CONTROLLER).await?;
    let mut said = String::new();
    loop {
        let states = daemon_set::states(cluster).await?;
        refuse_daemons(cluster).await?;
        let left: Vec<String> = nodes(cluster)
            .await?
            .into_iter()
            .filter(|node| !ignored.contains(node) && !states.is_done(node))
            .collect();
        if left.is_empty() {
            break;
        }
        let running = pods::of_network(cluster, &facts.ranges).await?;
        if pods == Pods::Delete {
            pods::delete(cluster, &running, &states).await?;
        }
        let now = waiting(&left, &states, &running);
        if now != said {
            say(&now)?;
            said = now;
        }
        tokio::time::sleep(PAUSE).await;
    }
    say("All nodes are done.")?;
    remove::workload::<DaemonSet>(cluster, UNINSTALL).await
}

/// Whoever brings the daemons back meanwhile would have them on nodes that are done.
async fn refuse_daemons(cluster: &Cluster) -> Result<()> {
    let namespace = Some(cluster.namespace.as_str());
    if cluster.find::<DaemonSet>(namespace, NODE).await?.is_some() {
        bail!(
            "uninstall Sotto: the DaemonSet {NODE} is there again; stop who applies it (Helm, GitOps, \
             `sotto install`), then run `sotto uninstall` again"
        );
    }
    Ok(())
}

fn waiting(left: &[String], states: &States, pods: &[Pod]) -> String {
    let on_those =
        |pod: &&Pod| pods::node(pod).is_some_and(|node| left.iter().any(|it| it == node));
    let names: Vec<String> = pods.iter().filter(on_those).map(pods::name).collect();
    let described: Vec<String> = left.iter().map(|node| states.describe(node)).collect();
    let nodes = few(&described);
    if names.is_empty() {
        format!("Waiting for nodes: {nodes}.")
    } else {
        format!(
            "Waiting for nodes: {nodes}; for pods there to end: {}.",
            few(&names)
        )
    }
}

#[cfg(test)]
mod tests;
