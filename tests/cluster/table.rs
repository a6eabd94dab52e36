//! The published table of what is encrypted (docs/traffic.md), proven row by row with captures.
//!
//! Each row asks with a canary of its own while Eve is on the switch and on every node's tun. A row whose
//! packets go in clear shows that Eve would see them: it is the detector's positive control.

mod rows;
mod stage;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sotto_tests::capture::{Canary, Capture, Recording};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use crate::shared;
use rows::ROWS;
use stage::Stage;

const DOCUMENT: &str = include_str!("../../docs/traffic.md");

/// From a packet on the switch to Eve's file.
const CAPTURE_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        each_pair_s_packets_go_as_the_published_table_says,
        the_published_table_has_the_rows_that_are_proven,
    ]
}

/// A pair of the table.
struct Row {
    from: &'static str,
    to: &'static str,
    way: Way,
    source: Source,
    /// Families that it is asked in.
    families: &'static [bool],
    ask: fn(&Stage<'_>, &Question<'_>) -> Result<Answer>,
}

/// What is asked of a row.
struct Question<'a> {
    ipv6: bool,
    /// A path that holds the canary.
    path: &'a str,
    canary: &'a str,
}

/// What came of it.
enum Answer {
    /// The other side says from which address it was asked.
    From(String),
    /// It answered, and does not say.
    Silent,
    /// It did not answer.
    Nothing,
}

/// Where a pair's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Tunnel,
    NoWire,
    Clear,
    ClearThenTunnel,
    Dropped,
}

/// From which address they arrive.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// The asking pod's.
    Pod,
    /// The address of the asking pod's node.
    Node,
    /// The tun of a node.
    Tun(&'static str),
    /// What the kernel of a node takes towards its own pods.
    Local(&'static str),
    /// That of the client outside.
    Client,
    /// They do not arrive.
    Nowhere,
}

impl Way {
    fn text(self) -> &'static str {
        match self {
            Self::Tunnel => "**tunnel**",
            Self::NoWire => "no wire",
            Self::Clear => "clear",
            Self::ClearThenTunnel => "clear to the node, then **tunnel**",
            Self::Dropped => "dropped",
        }
    }

    fn readers(self) -> &'static str {
        match self {
            Self::Tunnel => "the two nodes",
            Self::NoWire => "the node",
            Self::Clear => "both ends, and all between",
            Self::ClearThenTunnel => "all between client and node; behind it the two nodes",
            Self::Dropped => "nobody",
        }
    }

    /// Whether the switch and the tuns carry the canary.
    fn shows(self) -> (bool, bool) {
        match self {
            Self::Tunnel => (false, true),
            Self::NoWire | Self::Dropped => (false, false),
            Self::Clear => (true, false),
            Self::ClearThenTunnel => (true, true),
        }
    }
}

impl Source {
    fn text(self) -> &'static str {
        match self {
            Self::Pod => "the pod's address",
            Self::Node => "its node's address",
            Self::Tun(_) => "the node's tun address",
            Self::Local(_) => "the node's address; in IPv6 its tun's",
            Self::Client => "the client's address",
            Self::Nowhere => "—",
        }
    }
}

impl Row {
    fn line(&self) -> String {
        let (way, source) = (self.way.text(), self.source.text());
        let readers = self.way.readers();
        format!(
            "| {} | {} | {way} | {source} | {readers} |",
            self.from, self.to
        )
    }
}

/// A question that was asked.
struct Asked {
    row: &'static Row,
    ipv6: bool,
    canary: Canary,
    answer: Answer,
}

/// Eve's vantages.
struct Eve {
    switch: Capture,
    tuns: Vec<Capture>,
}

fn each_pair_s_packets_go_as_the_published_table_says(_: &Lab) -> Result<()> {
    shared::with(|lab, trio| {
        let stage = Stage::set(lab, trio)?;
        let tun = |name| Capture::start(lab, trio.host(name)?.place()?.as_ref(), "sotto0");
        let eve = Eve {
            switch: Capture::on_switch(lab)?,
            tuns: ["control", "alice", "bob"]
                .into_iter()
                .map(tun)
                .collect::<Result<_>>()?,
        };
        let mut asked = Vec::new();
        for row in &ROWS {
            for ipv6 in row.families {
                let done = ask(&stage, &eve, row, *ipv6);
                asked.push(done.with_context(|| format!("{} (IPv6: {ipv6})", row.line()))?);
            }
        }
        let switch = eve.switch.stop()?;
        let tuns: Vec<_> = eve
            .tuns
            .into_iter()
            .map(Capture::stop)
            .collect::<Result<_>>()?;
        for one in &asked {
            judge(&stage, one, &switch, &tuns)
                .with_context(|| format!("{} (IPv6: {})", one.row.line(), one.ipv6))?;
        }
        Ok(())
    })
}

fn ask(stage: &Stage<'_>, eve: &Eve, row: &'static Row, ipv6: bool) -> Result<Asked> {
    let canary = Canary::printable()?;
    let text = String::from_utf8(canary.bytes().to_vec())?;
    let before = eve.tunnel_packets()?;
    let answer = (row.ask)(
        stage,
        &Question {
            ipv6,
            path: &format!("/{text}"),
            canary: &text,
        },
    )?;
    if row.way.shows().1 {
        wait::until("the tunnel's packets to grow", CAPTURE_LIMIT, || {
            eve.tunnel_packets().is_ok_and(|now| now > before)
        })?;
    }
    Ok(Asked {
        row,
        ipv6,
        canary,
        answer,
    })
}

impl Eve {
    fn tunnel_packets(&self) -> Result<u64> {
        Ok(self.switch.so_far()?.wire()?.tunnel_packets())
    }
}

fn judge(stage: &Stage<'_>, asked: &Asked, switch: &Recording, tuns: &[Recording]) -> Result<()> {
    let expected = asked.row.way.shows();
    let on_switch = switch.count(&asked.canary)? > 0;
    let mut in_tunnel = false;
    for tun in tuns {
        in_tunnel |= tun.count(&asked.canary)? > 0;
    }
    ensure!(
        (on_switch, in_tunnel) == expected,
        "on the switch: {on_switch}, through a tun: {in_tunnel}; should be {expected:?}"
    );
    let from = match &asked.answer {
        Answer::From(address) => Some(address.clone()),
        Answer::Nothing => None,
        Answer::Silent => [switch]
            .into_iter()
            .chain(tuns)
            .find_map(|recording| sender(recording, &asked.canary).transpose())
            .transpose()?,
    };
    let should = stage.address(asked.row.source, asked.ipv6)?;
    ensure!(
        from == should,
        "it came from {from:?}, should be {should:?}"
    );
    Ok(())
}

/// Who sent the first IPv4 packet with the canary.
fn sender(recording: &Recording, canary: &Canary) -> Result<Option<String>> {
    let packets = recording.packets()?;
    let found = packets
        .iter()
        .find(|packet| canary.count(&packet.frame) > 0);
    let source = found.and_then(|packet| packet.body().get(12..16)?.first_chunk::<4>());
    Ok(source.map(|octets| std::net::Ipv4Addr::from(*octets).to_string()))
}

fn the_published_table_has_the_rows_that_are_proven(_: &Lab) -> Result<()> {
    let published: Vec<_> = DOCUMENT
        .lines()
        .skip_while(|line| !line.starts_with("| From |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let proven: Vec<_> = ROWS.iter().map(Row::line).collect();
    ensure!(
        published == proven,
        "docs/traffic.md should have these rows:\n{}",
        proven.join("\n")
    );
    Ok(())
}
