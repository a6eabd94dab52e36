//! The way through everything: install, enrol, attach, talk, look.

use anyhow::{Result, ensure};
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::{ApiServer, Cluster, KubernetesPair};
use sotto_tests::lab::Lab;
use sotto_tests::traffic;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        an_api_server_is_up_and_stays_the_version_asked_for,
        the_manifest_is_accepted_as_it_is,
        two_nodes_enrol_and_their_pods_talk,
    ]
}

fn an_api_server_is_up_and_stays_the_version_asked_for(lab: &Lab) -> Result<()> {
    let api = ApiServer::start(lab)?;
    let said = api.kubectl(&["version"])?;
    let wanted = format!("Server Version: v{}", api.version());
    ensure!(said.contains(&wanted), "{said}");
    Ok(())
}

fn the_manifest_is_accepted_as_it_is(lab: &Lab) -> Result<()> {
    let cluster = Cluster::raise(lab)?;
    let again = cluster.apply(&cluster.manifest())?;
    ensure!(!again.to_lowercase().contains("warning"), "{again}");
    cluster
        .api
        .kubectl(&["get", "peers,nodeidentities,revocationlists"])?;
    Ok(())
}

fn two_nodes_enrol_and_their_pods_talk(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let canary = Canary::printable()?;
    traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, &canary)?;
    println!("{}", pair.cluster.api.kubectl(&["get", "peers"])?);
    Ok(())
}
