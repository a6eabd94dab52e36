//! `sotto identity NODE`: who a node is, from the root down, in words, each step verified here.
//!
//! `node-identity` judges, as in every daemon; this file only says what it judged and why.

mod chain;

use anyhow::{Result, bail};
use cluster_api::{NodeIdentity, RevocationList};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::core::ApiResource;
use node_identity::{NodeName, Pin};
use serde::Serialize;

use crate::cluster::{Cluster, Listed, Seen, seen};
use crate::output::{Answer, Output, Verdict, render};
use crate::peers::unknown;
use crate::table::table;
use crate::times::now;

/// What was looked up.
pub(crate) struct Facts {
    pub(crate) name: NodeName,
    pub(crate) pins: Vec<Pin>,
    pub(crate) identity: NodeIdentity,
    pub(crate) lists: Listed<RevocationList>,
    /// The UID of the living Node object, if there is one.
    pub(crate) node_uid: Seen<Option<String>>,
}

/// The whole chain, with the verdicts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) node: String,
    pub(crate) verified: bool,
    /// Whether pins were given: without, the cluster only vouches for itself.
    pub(crate) pinned: bool,
    pub(crate) roots: Vec<String>,
    pub(crate) certificate: Option<CertificateReport>,
    pub(crate) statements: Vec<StatementReport>,
    pub(crate) checks: Vec<Check>,
}

/// What the certificate says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateReport {
    pub(crate) serial: u64,
    pub(crate) spiffe_id: String,
    pub(crate) uid: String,
    pub(crate) identity_key: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) pod_ranges: Vec<String>,
    pub(crate) not_before: String,
    pub(crate) not_after: String,
}

/// What a statement says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatementReport {
    pub(crate) generation: u64,
    pub(crate) tunnel_key: String,
    pub(crate) endpoints: Vec<String>,
    pub(crate) base_port: u16,
    pub(crate) lanes: u8,
    pub(crate) certificate_serial: u64,
}

/// One step of the chain.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) verdict: CheckVerdict,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) why: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CheckVerdict {
    /// It holds.
    Ok,
    /// It could not be looked at; it proves nothing either way.
    Unknown,
    /// It is of another root than those asked about, and says nothing of them.
    Other,
    /// It does not hold.
    Failed,
}

/// Verifies a node's chain.
///
/// # Errors
/// When the API server does not answer or refuses, or there is no such node.
pub(crate) async fn run(
    cluster: &Cluster,
    node: &NodeName,
    pins: &[Pin],
    output: Output,
) -> Result<Answer> {
    let Some(identity) = cluster.find::<NodeIdentity>(None, node.as_str()).await? else {
        bail!("{}", unknown(cluster, node).await);
    };
    let facts = Facts {
        name: node.clone(),
        pins: pins.to_vec(),
        identity,
        lists: cluster.list(ListParams::default()).await?,
        node_uid: seen(live_uid(cluster, node).await),
    };
    let report = chain::judge(&facts, now());
    let verdict = if report.verified {
        Verdict::Fine
    } else {
        Verdict::Wrong
    };
    Ok(Answer {
        text: render(&report, output, text)?,
        verdict,
    })
}

async fn live_uid(cluster: &Cluster, node: &NodeName) -> Result<Option<String>> {
    let kind = ApiResource::erase::<Node>(&());
    let found = cluster.find_metadata(&kind, None, node.as_str()).await?;
    Ok(found.and_then(|metadata| metadata.uid))
}

fn text(report: &Report) -> String {
    let mut rows: Vec<(String, String)> = vec![("Node".to_owned(), report.node.clone())];
    let trust = if report.pinned {
        "given by --pin"
    } else {
        "found in the cluster, NOT PINNED"
    };
    for root in &report.roots {
        rows.push(("Root".to_owned(), format!("{root}, {trust}")));
    }
    rows.extend(report.certificate.iter().flat_map(certificate_rows));
    rows.extend(report.statements.iter().flat_map(statement_rows));
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(a, b)| vec![a, b]).collect();
    let mut checks = vec![vec![
        "CHECK".to_owned(),
        "VERDICT".to_owned(),
        "WHY".to_owned(),
    ]];
    checks.extend(report.checks.iter().map(|check| {
        let verdict = match check.verdict {
            CheckVerdict::Ok => "ok",
            CheckVerdict::Unknown => "unknown",
            CheckVerdict::Other => "other root",
            CheckVerdict::Failed => "FAILED",
        };
        vec![check.what.clone(), verdict.to_owned(), check.why.clone()]
    }));
    format!(
        "{}\n\n{}\n\n{}",
        table(&rows),
        table(&checks),
        conclusion(report)
    )
}

fn certificate_rows(one: &CertificateReport) -> [(String, String); 8] {
    [
        ("Certificate", format!("serial {}", one.serial)),
        ("  SPIFFE id", one.spiffe_id.clone()),
        ("  Node UID", one.uid.clone()),
        ("  Identity key", one.identity_key.clone()),
        ("  Addresses", one.addresses.join(", ")),
        ("  Pod ranges", one.pod_ranges.join(", ")),
        ("  Not before", one.not_before.clone()),
        ("  Not after", one.not_after.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

fn statement_rows(one: &StatementReport) -> [(String, String); 4] {
    let endpoints = format!(
        "{}, UDP port {}, {} lanes",
        one.endpoints.join(", "),
        one.base_port,
        one.lanes
    );
    let certificate = format!("certificate serial {}", one.certificate_serial);
    [
        ("Statement", format!("generation {}", one.generation)),
        ("  Tunnel key", one.tunnel_key.clone()),
        ("  Endpoints", endpoints),
        ("  For", certificate),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

fn conclusion(report: &Report) -> &'static str {
    match (report.verified, report.pinned) {
        (false, true) => "The node does NOT verify under the root that you pinned.",
        (false, false) => "The node does NOT verify: no peer believes it.",
        (true, true) => "The node verifies, up to a root that you pinned.",
        (true, false) => {
            "The node verifies, but only against what this cluster itself says: whoever can write \
             all of it could have made all of it. Give --pin with the pin that `sotto root create` \
             printed to prove more."
        }
    }
}
