//! Act 3: Mallory forges, replays and edits. No session, no packet, and alice says why.

use std::time::Duration;

use anyhow::{Context, Result};

use super::report::Report;
use super::{Cast, Stage};
use crate::attacker::Mallory;
use crate::capture::{Capture, Packet};
use crate::traffic::{self, Listener};
use crate::wait;

/// How long alice may take to say whom she refuses.
const LIMIT: Duration = Duration::from_secs(15);

pub(super) fn play(stage: &Stage<'_>, cast: &Cast, report: &mut Report) -> Result<()> {
    let mallory = Mallory::arrive(stage.lab)?;
    forge(stage, cast, &mallory, report).context("(a) forged keys")?;
    replay(stage, cast, &mallory, report).context("(b) replay")?;
    edit(stage, cast, &mallory, report).context("(c) edited store")
}

/// (a) A real daemon with a certificate of her own root, published in everybody's store.
fn forge(stage: &Stage<'_>, cast: &Cast, mallory: &Mallory, report: &mut Report) -> Result<()> {
    let daemon = mallory.run_daemon(&cast.controller, &stage.lab.store())?;
    let pod = mallory.node().pod("spy")?;
    mallory.publish_herself(&stage.lab.store())?;
    report
        .say("(a) Mallory makes a root, keys and a certificate, and publishes them in the store.");
    let reason = refusal(stage, "mallory");
    report.promise(
        "alice refuses mallory by name",
        reason.as_deref().unwrap_or("alice says nothing of her"),
        reason.is_some(),
    );
    let reached = traffic::ping(&pod, cast.client.ipv4()?, stage.canary.bytes());
    let received = stage.alice.peer("mallory")?;
    report.promise(
        "no session, no packet",
        if reached.is_ok() {
            "she pinged the client"
        } else {
            "her ping got no answer"
        },
        reached.is_err() && received.is_none(),
    );
    daemon.stop()?;
    Ok(())
}

/// (b) Alice's packets and her signed statement, sent and published again.
fn replay(stage: &Stage<'_>, cast: &Cast, mallory: &Mallory, report: &mut Report) -> Result<()> {
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
    let before = stage.bob.drops("replay")?;
    mallory.replay(&hers)?;
    let dropped = wait::until_some("bob to drop the replays", LIMIT, || {
        let dropped = stage.bob.drops("replay").ok()? - before;
        (dropped > 0.0).then_some(dropped)
    });
    let again = listener.count_more()?;
    report.say(&format!(
        "(b) Mallory sends {} recorded packets of alice again.",
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
    mallory.claim_statement_of(&stage.lab.store(), &stage.alice)?;
    let reason = wait::until_some("bob to refuse the copied statement", LIMIT, || {
        stage
            .bob
            .refusals()
            .ok()?
            .into_iter()
            .find(|refused| refused.contains("alice"))
    });
    report.promise(
        "alice's statement serves nobody else",
        &reason
            .as_ref()
            .map_or_else(|error| error.to_string(), Clone::clone),
        reason.is_ok(),
    );
    Ok(())
}

/// (c) Bob's published statement, edited so that his range points at her.
fn edit(stage: &Stage<'_>, cast: &Cast, mallory: &Mallory, report: &mut Report) -> Result<()> {
    mallory.point_at_herself(&stage.lab.store(), &stage.bob)?;
    report.say("(c) Mallory edits bob's entry in the store: his pods are now at her address.");
    let reason = refusal(stage, "bob");
    report.promise(
        "alice refuses the edited entry by name",
        reason.as_deref().unwrap_or("alice says nothing"),
        reason.is_some(),
    );
    let eve = Capture::on_switch(stage.lab)?;
    traffic::exchange_all(&cast.client, &cast.server, &stage.canary)?;
    let to_her = eve.stop()?.packets()?;
    let to_her = to_her
        .iter()
        .filter_map(Packet::tunnel_datagram)
        .filter(|udp| [mallory.node().ipv4(), mallory.node().ipv6()].contains(&udp.destination));
    let stray = to_her.count();
    report.promise(
        "alice goes on talking to bob, and to nobody else",
        &format!("all flows arrived, {stray} packets went to mallory"),
        stray == 0,
    );
    Ok(())
}

/// What alice says of a name that she refuses.
fn refusal(stage: &Stage<'_>, name: &str) -> Option<String> {
    wait::until_some("alice to refuse", LIMIT, || {
        let refusals = stage.alice.refusals().ok()?;
        refusals.into_iter().find(|refused| refused.contains(name))
    })
    .ok()
}
