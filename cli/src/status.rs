//! `sotto status`: the cluster at a glance, or this machine's node.

pub(crate) mod machine;

use anyhow::Result;
use cluster_api::{IdentityState, Peer, RevocationList};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::core::ApiResource;
use node_identity::UnixTime;
use serde::Serialize;

use crate::cluster::{Cluster, Listed, Seen, seen};
use crate::health::{self, Living};
use crate::names::{CONTROLLER, POLICIES};
use crate::output::{Answer, Output, Verdict, render};
use crate::roots::{self, RootSeen};
use crate::table::table;
use crate::times::{date, now};

/// What was looked up.
struct Facts {
    lists: Seen<Listed<RevocationList>>,
    peers: Listed<Peer>,
    living: Living,
    lease: Seen<Option<Lease>>,
    missing_policies: Seen<Vec<String>>,
}

/// The cluster at a glance.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Glance {
    roots: Vec<Root>,
    nodes: Nodes,
    controller: String,
    admission_policies: String,
    unhealthy: Vec<Unhealthy>,
    wrong: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Root {
    pin: String,
    list_number: u64,
    revoked: usize,
    next_update: String,
    overdue: bool,
}

#[derive(Default, Serialize)]
struct Nodes {
    verified: usize,
    pending: usize,
    expired: usize,
    revoked: usize,
    /// Neither believed nor there: the controller takes their Peers away.
    gone: usize,
}

#[derive(Serialize)]
struct Unhealthy {
    node: String,
    reason: String,
}

/// Looks at the cluster.
///
/// # Errors
/// When nothing at all could be looked up.
pub(crate) async fn run(cluster: &Cluster, output: Output) -> Result<Answer> {
    // The first question tells whether there is a cluster, and Sotto in it, at all.
    let peers = cluster.list(ListParams::default()).await?;
    let facts = Facts {
        peers,
        living: health::living(cluster).await,
        lists: seen(cluster.list(ListParams::default()).await),
        lease: seen(cluster.find(Some(&cluster.namespace), CONTROLLER).await),
        missing_policies: seen(missing_policies(cluster).await),
    };
    let glance = glance(&facts, now());
    let verdict = if glance.wrong.is_empty() && glance.unhealthy.is_empty() {
        Verdict::Fine
    } else {
        Verdict::Wrong
    };
    Ok(Answer {
        text: render(&glance, output, text)?,
        verdict,
    })
}

/// The admission policies and bindings that are not there.
///
/// # Errors
/// When the API server does not answer or refuses.
pub(crate) async fn missing_policies(cluster: &Cluster) -> Result<Vec<String>> {
    let policy = ApiResource::erase::<ValidatingAdmissionPolicy>(&());
    let binding = ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&());
    let mut missing = Vec::new();
    for name in POLICIES {
        for kind in [&policy, &binding] {
            if cluster.find_metadata(kind, None, name).await?.is_none() {
                missing.push(format!("{} {name}", kind.kind));
            }
        }
    }
    Ok(missing)
}

fn glance(facts: &Facts, now: UnixTime) -> Glance {
    let mut wrong = Vec::new();
    let roots = read_roots(&facts.lists, now, &mut wrong);
    let (nodes, unhealthy) = read_peers(&facts.peers, &facts.living, &mut wrong);
    let controller = match health::lease(&facts.lease, now) {
        Ok(holder) => holder,
        Err(fault) => {
            wrong.push(fault.clone());
            fault
        }
    };
    let admission_policies = match &facts.missing_policies {
        Ok(missing) if missing.is_empty() => "both there".to_owned(),
        Ok(missing) => {
            let text = format!("{} missing: run `sotto install`", missing.join(", "));
            wrong.push(text.clone());
            text
        }
        Err(error) => format!("not known: {error}"),
    };
    Glance {
        roots,
        nodes,
        controller,
        admission_policies,
        unhealthy,
        wrong,
    }
}

fn read_roots(
    lists: &Seen<Listed<RevocationList>>,
    now: UnixTime,
    wrong: &mut Vec<String>,
) -> Vec<Root> {
    let listed = match lists {
        Ok(listed) => listed,
        Err(error) => {
            wrong.push(format!("roots are not known: {error}"));
            return Vec::new();
        }
    };
    for (name, reason) in &listed.malformed {
        wrong.push(format!("revocation list {name} is malformed: {reason}"));
    }
    if listed.objects.is_empty() {
        wrong.push("no root is published: does the controller run?".to_owned());
    }
    let mut roots = Vec::new();
    for object in &listed.objects {
        match roots::read(object) {
            Ok(root) => roots.push(root_line(&root, now, wrong)),
            Err(reason) => wrong.push(format!("revocation list {}: {reason}", object.name_any())),
        }
    }
    roots
}

fn root_line(root: &RootSeen, now: UnixTime, wrong: &mut Vec<String>) -> Root {
    let list = root.list.list();
    if root.is_overdue(now) {
        wrong.push(format!(
            "the revocation list of {} is overdue: does the controller run, and may it write?",
            root.pin
        ));
    }
    Root {
        pin: root.pin.to_string(),
        list_number: list.number,
        revoked: list.entries.len(),
        next_update: date(list.next_update, now),
        overdue: root.is_overdue(now),
    }
}

fn read_peers(
    listed: &Listed<Peer>,
    living: &Living,
    wrong: &mut Vec<String>,
) -> (Nodes, Vec<Unhealthy>) {
    let (mut nodes, mut unhealthy) = (Nodes::default(), Vec::new());
    for (name, reason) in &listed.malformed {
        wrong.push(format!("peer {name} is malformed: {reason}"));
    }
    for peer in &listed.objects {
        match peer.spec.identity {
            IdentityState::Verified => nodes.verified += 1,
            IdentityState::Revoked => nodes.revoked += 1,
            IdentityState::Pending | IdentityState::Expired if living.lacks(peer) => {
                nodes.gone += 1;
            }
            IdentityState::Pending => nodes.pending += 1,
            IdentityState::Expired => nodes.expired += 1,
        }
        if let Some(reason) = health::ailment(peer, living) {
            unhealthy.push(Unhealthy {
                node: peer.name_any(),
                reason,
            });
        }
    }
    (nodes, unhealthy)
}

fn text(glance: &Glance) -> String {
    let Nodes {
        verified,
        pending,
        expired,
        revoked,
        gone,
    } = &glance.nodes;
    let gone = match gone {
        0 => String::new(),
        gone => format!(", {gone} gone"),
    };
    let mut rows: Vec<Vec<String>> = glance
        .roots
        .iter()
        .map(|root| {
            let due = if root.overdue { "OVERDUE" } else { "due" };
            vec![
                "Root".to_owned(),
                format!(
                    "{}, list {}, {} revoked, next {due} {}",
                    root.pin, root.list_number, root.revoked, root.next_update
                ),
            ]
        })
        .collect();
    rows.extend([
        vec![
            "Nodes".to_owned(),
            format!(
                "{verified} verified, {pending} pending, {expired} expired, {revoked} revoked{gone}"
            ),
        ],
        vec!["Controller".to_owned(), glance.controller.clone()],
        vec!["Policies".to_owned(), glance.admission_policies.clone()],
    ]);
    let mut text = table(&rows);
    if !glance.unhealthy.is_empty() {
        let mut rows = vec![vec!["NOT WELL".to_owned(), "REASON".to_owned()]];
        rows.extend(
            glance
                .unhealthy
                .iter()
                .map(|one| vec![one.node.clone(), one.reason.clone()]),
        );
        text.push_str("\n\n");
        text.push_str(&table(&rows));
    }
    if !glance.wrong.is_empty() {
        let mut rows = vec![vec!["WRONG".to_owned()]];
        rows.extend(glance.wrong.iter().map(|one| vec![one.clone()]));
        text.push_str("\n\n");
        text.push_str(&table(&rows));
    }
    text
}

#[cfg(test)]
mod tests;
