//! The story that the demo tells: without Sotto, with Sotto, against Mallory, through a crash.
//!
//! Each act has a file. An act promises things and looks whether they hold; [`Report`] keeps what
//! was promised and what was seen, for the terminal and for machines.

mod encrypted;
mod killed;
mod mallory;
mod plain;
mod report;
mod web;

use anyhow::{Context, Result};

use crate::attacker::Board;
use crate::capture::Canary;
use crate::cluster::Admits;
use crate::kubernetes::Cluster;
use crate::lab::{Controller, DaemonSettings, Lab, Node, Pod, Process};

pub use report::{Report, Sink, Vantage};

/// What carries the objects of controller and daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A folder that all share.
    Folder,
    /// A Kubernetes API server.
    Kubernetes,
}

/// Two nodes, and the canary that the server's page repeats.
pub(crate) struct Stage<'a> {
    lab: &'a Lab,
    alice: Node,
    bob: Node,
    canary: Canary,
}

/// What stands once Sotto runs.
pub(crate) struct Cast {
    /// With Kubernetes as the store.
    cluster: Option<Cluster>,
    controller: Controller,
    client: Pod,
    server: Pod,
    alices_daemon: Process,
    bobs_daemon: Process,
    nginx: Process,
}

/// Plays all four acts.
///
/// # Errors
/// When an act cannot be played to its end. A broken promise is no error: see
/// [`Report::is_kept`].
pub fn tell(sink: Sink, store: Store) -> Result<Report> {
    let mut report = Report::new(sink);
    report.say("Two nodes, alice and bob, and a switch between them. Eve listens on the switch.");
    report.act("Act 1: without Sotto");
    plain::play(&Stage::build(&Lab::new()?)?, &mut report).context("act 1")?;
    let lab = Lab::new()?;
    let played = play(&lab, store, &mut report);
    lab.end();
    if played.is_err() || !report.is_kept() {
        eprintln!("{}", lab.report());
    }
    played?;
    report.finish();
    Ok(report)
}

impl<'a> Stage<'a> {
    fn build(lab: &'a Lab) -> Result<Self> {
        Ok(Self {
            lab,
            alice: lab.node("alice")?,
            bob: lab.node("bob")?,
            canary: Canary::printable()?,
        })
    }
}

impl Cast {
    /// The store that honest nodes read.
    fn board(&self, stage: &Stage<'_>) -> Board<'_> {
        match &self.cluster {
            None => Board::Folder(stage.lab.store()),
            Some(cluster) => Board::Api(&cluster.api),
        }
    }

    /// Shows what a person sees of the cluster, where there is one.
    fn show_peers(&self, report: &mut Report) -> Result<()> {
        if let Some(cluster) = &self.cluster {
            // A daemon shows what changed after some seconds.
            for node in ["alice", "bob"] {
                cluster.shows(&["peers", node], " 1/1 ")?;
            }
            report.say("$ kubectl get peers");
            for line in cluster.api.kubectl(&["get", "peers"])?.lines() {
                report.say(&format!("    {line}"));
            }
        }
        Ok(())
    }
}

fn play(lab: &Lab, store: Store, report: &mut Report) -> Result<()> {
    let stage = Stage::build(lab)?;
    report.act("Act 2: with Sotto");
    let cast = raise(&stage, store, report).context("start Sotto")?;
    encrypted::play(&stage, &cast, report).context("act 2")?;
    report.act("Act 3: Mallory, a third machine on the switch");
    mallory::play(&stage, &cast, report).context("act 3")?;
    report.act("Act 4: bob's daemon is killed during a download");
    killed::play(&stage, &cast, report).context("act 4")
}

/// Starts controller and daemons and attaches a pod at each end with the real plugin.
fn raise(stage: &Stage<'_>, store: Store, report: &mut Report) -> Result<Cast> {
    let settings = DaemonSettings::default();
    let cluster = match store {
        Store::Folder => None,
        Store::Kubernetes => Some(Cluster::raise(stage.lab)?),
    };
    let controller = match &cluster {
        None => stage.lab.controller()?,
        Some(cluster) => cluster.controller(stage.lab, 0)?,
    };
    controller.start()?;
    for node in [&stage.alice, &stage.bob] {
        match &cluster {
            None => controller.admit(node, &settings)?,
            Some(cluster) => cluster.admit(node, &settings)?,
        }
    }
    let alices_daemon = stage.alice.start(&settings)?;
    let bobs_daemon = stage.bob.start(&settings)?;
    stage.alice.knows(&stage.bob)?;
    report.say(&format!(
        "sotto-controller runs, sotto-node runs on both; both enrolled with {}.",
        match store {
            Store::Folder => "a join token",
            Store::Kubernetes => "the token of their pod, through a CertificateSigningRequest",
        }
    ));
    let client = stage.alice.pod("client")?;
    let server = stage.bob.pod("server")?;
    let nginx = web::serve(&server, &stage.canary)?;
    let (from, to) = (client.ipv4()?, server.ipv4()?);
    report.say(&format!(
        "sotto-cni attached pod client ({from}) on alice and pod server ({to}) on bob."
    ));
    Ok(Cast {
        cluster,
        controller,
        client,
        server,
        alices_daemon,
        bobs_daemon,
        nginx,
    })
}
