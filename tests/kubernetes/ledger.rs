//! What the controller remembers: a leader that stood still, and a ledger of yesterday.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use base64ct::{Base64, Encoding};
use nix::sys::signal::Signal;
use node_identity::{CertificateSerial, NodeCertificate};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::{Admits, join};
use sotto_tests::kubernetes::{KubernetesPair, NAMESPACE, text};
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::wait;

use crate::enrolment::still_well;

const LIMIT: Duration = Duration::from_secs(60);
/// From an old etcd to all certificates published again: nodes ask once a minute.
const RECOVERY: Duration = Duration::from_secs(120);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        cp10_an_etcd_of_yesterday_rolls_no_key_back,
        cp05_a_leader_that_was_stalled_agrees_with_the_one_after_it,
    ]
}

fn cp10_an_etcd_of_yesterday_rolls_no_key_back(lab: &Lab) -> Result<()> {
    let mut pair = KubernetesPair::raise(lab)?;
    let settings = DaemonSettings::default();
    let carol = lab.node("carol")?;
    pair.cluster.admit(&carol, &settings)?;
    pair.cluster.api.back_up()?;
    let daemon = carol.start(&settings)?;
    pair.alice.node.knows(&carol)?;
    // A new boot of bob's: another tunnel key, of a higher generation than the backup has.
    pair.bob.daemon.stop()?;
    pair.bob.node.shell("rm -f /run/sotto/tunnel-keys.json")?;
    let bob = pair.bob.node.start(&settings)?;
    wait::until("alice to speak with bob anew", LIMIT, || {
        still_well(&pair).is_ok()
    })?;
    let generation = pair.alice.node.peer("bob")?.map(|peer| peer.generation);
    let names = ["alice", "bob", "carol"];
    let before = names.map(|name| serial(&pair, name));

    pair.cluster.api.restore()?;
    wait::until("the pods to talk", LIMIT, || still_well(&pair).is_ok())?;
    wait::until("the event that the ledger is old", RECOVERY, || {
        let events = [
            "get",
            "events",
            "-A",
            "--field-selector=reason=LedgerOld",
            "-o",
            "name",
        ];
        let found = pair.cluster.api.kubectl(&events);
        found.is_ok_and(|said| !said.is_empty())
    })?;
    // The backup is seconds old: before the stores look, the server is past the versions that they
    // have seen, and they go on to show what is gone. Kubernetes advises to start again what relies
    // on a restored etcd.
    pair.controller_process.stop()?;
    pair.controller_process = pair.controller.start()?;
    daemon.stop()?;
    let daemon = carol.start(&settings)?;
    for (name, before) in names.into_iter().zip(before) {
        let before = before?;
        wait::until(
            &format!("{name}'s certificate to be back"),
            RECOVERY,
            || serial(&pair, name).is_ok_and(|now| now >= before),
        )?;
    }
    let now = pair.alice.node.peer("bob")?.map(|peer| peer.generation);
    ensure!(
        generation.is_some() && now >= generation,
        "{generation:?} became {now:?}"
    );
    ensure!(
        pair.alice.node.peer("carol")?.is_some(),
        "carol was forgotten"
    );

    // It signs again, and gives no serial twice.
    let dave = join(lab.node("dave")?, "fourth", &pair.cluster, &settings)?;
    pair.alice.node.knows(&dave.node)?;
    distinct(&pair, &["alice", "bob", "carol", "dave"])?;
    ensure!(
        bob.is_running() && daemon.is_running() && pair.alice.daemon.is_running(),
        "a daemon ended"
    );
    still_well(&pair)
}

/// Serial of the certificate that a node's identity shows.
fn serial(pair: &KubernetesPair, name: &str) -> Result<CertificateSerial> {
    let object = pair.cluster.api.read(&["nodeidentity", name])?;
    let der = Base64::decode_vec(text(&object, "/spec/certificate")?)?;
    Ok(NodeCertificate::from_der(&der)?.terms().serial)
}

fn distinct(pair: &KubernetesPair, names: &[&str]) -> Result<()> {
    let serials = names.iter().map(|name| serial(pair, name));
    let serials = serials.collect::<Result<Vec<CertificateSerial>>>()?;
    let kinds: BTreeSet<&CertificateSerial> = serials.iter().collect();
    ensure!(
        kinds.len() == serials.len(),
        "{names:?} have the serials {serials:?}"
    );
    Ok(())
}

fn cp05_a_leader_that_was_stalled_agrees_with_the_one_after_it(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let second = pair.cluster.controller(lab, 1)?;
    let other = second.start()?;
    let api = &pair.cluster.api;
    let lease = || {
        let lease = api.read(&["lease", "sotto-controller", "-n", NAMESPACE])?;
        Ok::<_, anyhow::Error>(text(&lease, "/spec/holderIdentity")?.to_owned())
    };
    let first = lease()?;
    pair.controller_process.signal(Signal::SIGSTOP)?;
    let carol = join(
        lab.node("carol")?,
        "third",
        &pair.cluster,
        &DaemonSettings::default(),
    );
    let holder = lease();
    pair.controller_process.signal(Signal::SIGCONT)?;
    let (carol, holder) = (carol?, holder?);
    ensure!(
        holder != first,
        "{first} held the lease while it stood still"
    );
    pair.alice.node.knows(&carol.node)?;

    // Both run, one leads; what the other had in its hands is of no effect.
    let dave = join(
        lab.node("dave")?,
        "fourth",
        &pair.cluster,
        &DaemonSettings::default(),
    )?;
    pair.alice.node.knows(&dave.node)?;
    distinct(&pair, &["alice", "bob", "carol", "dave"])?;
    ensure!(other.is_running(), "the second controller ended");
    for place in [pair.controller.place(), second.place()] {
        let page = ["-sf", "--max-time", "5", "http://127.0.0.1:9470/metrics"];
        let page = place.run("curl", &page)?;
        let old = page
            .lines()
            .find(|line| line.contains("ledger_old") && !line.starts_with('#'));
        ensure!(
            old.is_none_or(|line| line.ends_with(" 0")),
            "they disagree: {old:?}"
        );
    }
    still_well(&pair)
}
