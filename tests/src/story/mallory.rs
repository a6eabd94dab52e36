//! Act 3: Mallory forges, replays and edits. No session, no packet, and alice says why.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::report::Report;
use super::{Cast, Stage};
use crate::attacker::Mallory;
use crate::capture::{Capture, Packet};
use crate::kubernetes::{Cluster, NAMESPACE};
use crate::traffic::{self, Listener};
use crate::wait;

/// How long alice may take to say whom she refuses.
const LIMIT: Duration = Duration::from_secs(15);

pub(super) fn play(stage: &Stage<'_>, cast: &Cast, report: &mut Report) -> Result<()> {
    let mallory = Mallory::arrive(stage.lab)?;
    let own = forge(stage, cast, &mallory, report).context("(a) forged keys")?;
    replay(stage, cast, &mallory, &own, report).context("(b) replay")?;
    edit(stage, cast, &mallory, report).context("(c) edited store")?;
    match &cast.cluster {
        Some(cluster) => {
            scribble(stage, cast, &mallory, cluster, report).context("(d) other objects")
        }
        None => Ok(()),
    }
}

/// (a) A real daemon with a certificate of her own root, published in everybody's store.
fn forge(stage: &Stage<'_>, cast: &Cast, mallory: &Mallory, report: &mut Report) -> Result<String> {
    let board = cast.board(stage);
    let daemon = mallory.run_daemon(&cast.controller, &board)?;
    let spy = mallory.node().pod("spy")?;
    let own = mallory.publish_herself(&board)?;
    report.say("(a) She makes a root, keys and a certificate, and publishes them in the store.");
    said(
        cast,
        "mallory",
        "alice refuses mallory by name",
        report,
        || (),
    );
    let eve = Capture::on_switch(stage.lab)?;
    let reached = traffic::ping(&spy, cast.server.ipv4()?, stage.canary.bytes()).is_ok();
    let answers = to_her(&eve.stop()?.packets()?, mallory);
    let believed = [&stage.alice, &stage.bob].map(|node| node.peer("mallory"));
    let nobody = believed.iter().all(|peer| matches!(peer, Ok(None)));
    report.promise(
        "no session, no packet",
        &format!(
            "her ping reached {}, {answers} answers",
            if reached { "bob's pod" } else { "nobody" }
        ),
        !reached && nobody && answers == 0,
    );
    daemon.stop()?;
    Ok(own)
}

/// (b) Alice's packets and her signed statement, sent and published again.
fn replay(
    stage: &Stage<'_>,
    cast: &Cast,
    mallory: &Mallory,
    own: &str,
    report: &mut Report,
) -> Result<()> {
    let listener = Listener::open(&cast.server)?;
    let eve = Capture::on_switch(stage.lab)?;
    listener.receive_from(&cast.client, &stage.canary, 50)?;
    let recorded = eve.stop()?.packets()?;
    let hers: Vec<Packet> = recorded
        .into_iter()
        .filter(|packet| {
            let udp = packet.tunnel_datagram();
            udp.is_some_and(|udp| [stage.alice.ipv4(), stage.alice.ipv6()].contains(&udp.source))
        })
        .collect();
    let before = stage.bob.drops("replayed")?;
    mallory.replay(&hers)?;
    let dropped = wait::until_some("bob to drop the replays", LIMIT, || {
        let dropped = stage.bob.drops("replayed").ok()? - before;
        (dropped > 0.0).then_some(dropped)
    });
    let again = listener.count_more()?;
    report.say(&format!(
        "(b) She sends {} recorded packets of alice again.",
        hers.len()
    ));
    report.promise(
        "bob delivers none of them again",
        &format!(
            "{again} delivered, {} dropped as replays",
            dropped.as_ref().unwrap_or(&0.0)
        ),
        again == 0 && dropped.is_ok() && !hers.is_empty(),
    );
    mallory.claim_statement_of(&cast.board(stage), own, &stage.alice)?;
    report.say("    She publishes alice's signed statement as her own.");
    nothing_goes_to_her(
        stage,
        cast,
        mallory,
        "alice's statement serves nobody else",
        report,
    )
}

/// (c) Bob's published statement, edited so that his range points at her.
fn edit(stage: &Stage<'_>, cast: &Cast, mallory: &Mallory, report: &mut Report) -> Result<()> {
    let board = cast.board(stage);
    let mut edits = mallory.point_at_herself(&board, &stage.bob)?;
    ensure!(edits > 0, "no envelope names bob");
    report.say("(c) She edits bob's entry in the store: his pods are said to be at her address.");
    // Bob puts it right, at times before alice has looked.
    said(
        cast,
        "bob",
        "alice refuses the edited entry by name",
        report,
        || edits += mallory.point_at_herself(&board, &stage.bob).unwrap_or(0),
    );
    report.say(&format!(
        "    She had to edit it {edits} times: bob's daemon puts it right."
    ));
    nothing_goes_to_her(
        stage,
        cast,
        mallory,
        "alice goes on with bob, and with nobody else",
        report,
    )
}

/// (d) ConfigMaps named after Sotto, and annotations on Nodes that say what she would like.
fn scribble(
    stage: &Stage<'_>,
    cast: &Cast,
    mallory: &Mallory,
    cluster: &Cluster,
    report: &mut Report,
) -> Result<()> {
    let address = mallory.node().ipv4();
    for name in ["sotto-node", "sotto-controller"] {
        let data = format!("--from-literal=endpoints={address}");
        let verb = ["create", "configmap", name, "-n", NAMESPACE, &data];
        cluster.api.kubectl(&verb)?;
    }
    for node in ["alice", "bob"] {
        let note = format!("sotto.dev/endpoint={address}");
        cluster.api.kubectl(&["annotate", "node", node, &note])?;
    }
    report.say("(d) She writes ConfigMaps and annotates both Nodes with her address.");
    let promise = "nobody reads them";
    nothing_goes_to_her(stage, cast, mallory, promise, report)
}

/// Lets client and server talk, and counts what goes to Mallory.
fn nothing_goes_to_her(
    stage: &Stage<'_>,
    cast: &Cast,
    mallory: &Mallory,
    promise: &str,
    report: &mut Report,
) -> Result<()> {
    let eve = Capture::on_switch(stage.lab)?;
    let arrived = traffic::exchange_all(&cast.client, &cast.server, &stage.canary);
    let stray = to_her(&eve.stop()?.packets()?, mallory);
    let seen = match &arrived {
        Ok(()) => format!("all flows arrived, {stray} packets went to mallory"),
        Err(error) => format!("{error:#}"),
    };
    report.promise(promise, &seen, arrived.is_ok() && stray == 0);
    Ok(())
}

/// Tunnel packets whose destination is Mallory's machine.
fn to_her(packets: &[Packet], mallory: &Mallory) -> usize {
    let hers = [mallory.node().ipv4(), mallory.node().ipv6()];
    let datagrams = packets.iter().filter_map(Packet::tunnel_datagram);
    datagrams
        .filter(|udp| hers.contains(&udp.destination))
        .count()
}

/// Waits for what alice's log says of somebody whom she refuses, while Mallory insists.
fn said(cast: &Cast, name: &str, promise: &str, report: &mut Report, mut insist: impl FnMut()) {
    let wanted = format!("Peer refused node=\"{name}\"");
    let line = wait::until_some("alice to refuse", LIMIT, || {
        insist();
        let log = cast.alices_daemon.log();
        let line = log.lines().find(|line| line.contains(&wanted))?;
        Some(line.split_once("Peer refused ")?.1.to_owned())
    });
    let seen = line.as_deref().unwrap_or("alice says nothing");
    report.promise(promise, seen, line.is_ok());
}
