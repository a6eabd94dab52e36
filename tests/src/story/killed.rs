//! Act 4: a daemon dies by kill -9 during a download. Nothing leaks, and the download finishes.

use std::time::Duration;

use anyhow::{Context, Result};

use super::report::Report;
use super::{Cast, Stage, web};
use crate::capture::{Capture, Packet, Recording};
use crate::lab::DaemonSettings;
use crate::wait;

/// Where curl writes.
const FILE: &str = "/var/tmp/sotto-demo-large";

/// How long the daemon stays dead.
const DEAD: Duration = Duration::from_secs(2);

pub(super) fn play(stage: &Stage<'_>, cast: &Cast, report: &mut Report) -> Result<()> {
    let eve = Capture::on_switch(stage.lab)?;
    let url = web::url(cast.server.ipv4()?, "/large");
    let arguments = ["-sSf", "--max-time", "60", "-o", FILE, &url];
    let curl = cast.client.spawn("curl", "curl", &arguments)?;
    let size = || cast.client.run("stat", &["-c", "%s", FILE]);
    wait::until("a part of the download", Duration::from_secs(10), || {
        size().is_ok_and(|size| {
            size.trim()
                .parse::<usize>()
                .is_ok_and(|size| size > web::LARGE / 4)
        })
    })?;
    cast.bobs_daemon.kill9()?;
    report.say("During a download from server to client, bob's daemon is killed: kill -9.");
    wait::let_pass(DEAD);
    let again = stage.bob.start(&DaemonSettings::default())?;
    report.say("It is started again.");
    let end = wait::until_some("the download to end", Duration::from_secs(50), || {
        (!curl.is_running()).then(|| curl.wait())
    })??;
    let page = cast.client.read(FILE)?;
    let seen = eve.stop()?;

    let whole = end.success() && page == stage.canary.repeated(web::LARGE);
    report.promise(
        "the same TCP connection finishes",
        &format!(
            "curl ended with {end}, {} MB, {}",
            page.len() >> 20,
            if whole { "equal" } else { "NOT equal" }
        ),
        whole,
    );
    let (found, wire) = (seen.count(&stage.canary)?, seen.wire()?);
    report.promise(
        "no canary on the wire, also not by the default route",
        &format!(
            "{found} canaries, {} packets outside the tunnel",
            wire.other.values().sum::<u64>()
        ),
        found == 0 && wire.other.is_empty(),
    );
    report.say(&format!(
        "The gap was {:.1} s, of which the daemon was dead {:.1} s.",
        longest_gap(&seen, stage)?,
        DEAD.as_secs_f64()
    ));
    cast.show_peers(report)?;
    again.stop()?;
    cast.nginx.stop()?;
    Ok(())
}

/// Longest time between two full packets of bob's.
fn longest_gap(seen: &Recording, stage: &Stage<'_>) -> Result<f64> {
    /// A packet of the download rather than of an acknowledgement or agreement.
    const FULL: usize = 1200;
    let packets = seen.packets()?;
    let sources = [stage.bob.ipv4(), stage.bob.ipv6()];
    let is_full = |packet: &&Packet| {
        let udp = packet.tunnel_datagram();
        udp.is_some_and(|udp| sources.contains(&udp.source) && udp.payload.len() > FULL)
    };
    let times: Vec<f64> = packets
        .iter()
        .filter(is_full)
        .map(|packet| packet.seconds)
        .collect();
    let gaps = times.windows(2).filter_map(|pair| match pair {
        [before, after] => Some(after - before),
        _ => None,
    });
    gaps.reduce(f64::max).context("no download was seen")
}
