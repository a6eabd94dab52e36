//! What neither runtime nor plugin cleans up, the daemon does.

use std::time::Duration;

use anyhow::{Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cluster::Pair;
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::{cases, wait};

pub(super) fn cases() -> Vec<Case> {
    cases![i4_a_daemon_frees_the_addresses_of_pods_that_vanished]
}

fn i4_a_daemon_frees_the_addresses_of_pods_that_vanished(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let alice = &pair.alice.node;
    let names = |line: &str| -> Result<Vec<String>> {
        let text = alice.shell(line)?;
        let mut names: Vec<_> = text.lines().map(str::to_owned).collect();
        names.sort();
        Ok(names)
    };
    let held = || names("ls /run/sotto/pool/*/held | sed 's/.json$//'");
    let links = || names("ip -o link show group 21331 | sed 's/^[0-9]*: //;s/[@:].*//'");
    let before = links()?;
    ensure!(held()? == before, "{:?} and {before:?}", held()?);
    alice.pod("vanished")?;
    let vanished = links()?.into_iter().find(|link| !before.contains(link));
    alice.shell(&format!("ip link del {}", vanished.unwrap_or_default()))?;
    ensure!(held()?.len() == before.len() + 1, "freed too early");

    // It compares at its start, and every minute from then on.
    pair.alice.daemon.kill9()?;
    alice.start(&DaemonSettings::default())?;

    wait::until("the address to be freed", Duration::from_secs(10), || {
        held().is_ok_and(|held| held == before)
    })?;
    ensure!(links()? == before, "a link that lives was touched");
    Ok(())
}
