//! Act 1: the same pods and addresses on plain routes. Eve reads.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use super::report::Report;
use super::{Stage, web};
use crate::capture::{Capture, Recording};

/// Lines of the conversation that are shown.
const SHOWN: usize = 12;

pub(super) fn play(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    let address = |node: u16| Ipv6Addr::new(0xfd00, 0x10, 0x244, node, 0, 0, 0, 2);
    let client = (stage.alice).plain_pod("client", Ipv4Addr::new(10, 244, 0, 2), address(0))?;
    let server = (stage.bob).plain_pod("server", Ipv4Addr::new(10, 244, 1, 2), address(1))?;
    stage.alice.plain_route(&server, &stage.bob)?;
    stage.bob.plain_route(&client, &stage.alice)?;
    let nginx = web::serve(&server, &stage.canary)?;

    let eve = Capture::on_switch(stage.lab)?;
    let url = web::url(server.ipv4()?, "/");
    let page = web::fetch(&client, &url)?;
    let seen = eve.stop()?;

    report.say(&format!("client$ curl {url}    ({} bytes)", page.len()));
    report.say(&format!("eve$ tcpdump -A\n{}", conversation(&seen)?));
    let found = seen.count(&stage.canary)?;
    report.promise(
        "Eve reads the page",
        &format!("she found the canary {found} times"),
        found > 0 && page.contains("Only for the client"),
    );
    nginx.stop().map(drop)
}

/// The first printable lines that Eve reads between the two.
fn conversation(seen: &Recording) -> Result<String> {
    let packets = seen.packets()?;
    let text: Vec<u8> = packets
        .iter()
        .filter_map(|packet| packet.tcp_payload())
        .flat_map(<[u8]>::to_vec)
        .collect();
    let text = String::from_utf8_lossy(&text);
    let lines = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    let shown: Vec<String> = lines
        .take(SHOWN)
        .map(|line| format!("  | {line}"))
        .collect();
    shown.first().context("Eve saw no text")?;
    Ok(shown.join("\n"))
}
