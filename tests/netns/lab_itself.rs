//! The lab proves itself: without Sotto, Eve reads everything. A detector that never fired
//! would prove nothing when it stays silent later.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use sotto_tests::capture::{Canary, Capture};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::Lab;
use sotto_tests::traffic;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        eve_reads_every_protocol_without_sotto,
        a_lab_leaves_nothing_behind
    ]
}

fn eve_reads_every_protocol_without_sotto(lab: &Lab) -> Result<()> {
    let (alice, bob) = (lab.node("alice")?, lab.node("bob")?);
    let last = |host| Ipv6Addr::new(0xfd00, 0x10, 0x244, host, 0, 0, 0, 2);
    let client = alice.plain_pod("client", Ipv4Addr::new(10, 244, 0, 2), last(0))?;
    let server = bob.plain_pod("server", Ipv4Addr::new(10, 244, 1, 2), last(1))?;
    alice.plain_route(&server, &bob)?;
    bob.plain_route(&client, &alice)?;

    for flow in traffic::Flow::ALL {
        let canary = Canary::new()?;
        let eve = Capture::on_switch(lab)?;
        traffic::exchange(flow, &client, &server, &canary)?;
        let seen = eve.stop()?;

        let found = seen.count(&canary)?;
        ensure!(found >= 2, "{flow}: Eve saw the canary {found} times");
        ensure!(seen.wire()?.tunnel_packets() == 0, "{flow}: a tunnel?");
        ensure!(!seen.wire()?.other.is_empty(), "{flow}: not classified");
    }
    Ok(())
}

fn a_lab_leaves_nothing_behind(_lab: &Lab) -> Result<()> {
    let lab = Lab::new()?;
    let alice = lab.node("alice")?;
    let sleeper = alice.spawn("sleeper", "sleep", &["1000"])?;
    let folder = lab.folder().to_owned();
    let names = || -> Result<Vec<_>> {
        let entries = std::fs::read_dir("/run/netns")?;
        Ok(entries
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| folder.file_name().is_some_and(|lab| starts_with(name, lab)))
            .collect())
    };
    ensure!(names()?.len() == 2, "no names for ip netns");

    drop(alice);
    drop(lab);

    ensure!(!sleeper.is_running(), "a process is left");
    ensure!(!folder.exists(), "files are left");
    ensure!(names()?.is_empty(), "namespaces are left");
    Ok(())
}

fn starts_with(name: &std::ffi::OsStr, lab: &std::ffi::OsStr) -> bool {
    let (name, lab) = (name.to_string_lossy(), lab.to_string_lossy());
    name.starts_with(&format!("{lab}-"))
}
