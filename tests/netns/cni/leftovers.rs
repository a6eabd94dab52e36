//! What neither runtime nor plugin cleans up, the daemon does.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cluster::Pair;
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::{cases, wait};

use super::chain::{Chain, Portmap, set_portmap};

pub(super) fn cases() -> Vec<Case> {
    cases![
        i4_a_daemon_frees_the_addresses_of_pods_that_vanished,
        cn22_after_a_later_plugins_del_failed_the_daemon_frees_the_address,
    ]
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

fn cn22_after_a_later_plugins_del_failed_the_daemon_frees_the_address(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let alice = &pair.alice.node;
    let held = || alice.shell("ls /run/sotto/pool/*/held");
    let before = held()?;
    let chain = Chain::install(alice, &json!({"type": "sotto-cni"}))?;
    chain.attach("web")?;
    set_portmap(alice, Portmap::FailsToDel)?;

    let del = chain.tool("del", "web")?;

    ensure!(del.log.contains("no chain"), "{del:?}");
    ensure!(held()? != before, "our DEL was called");
    alice.shell("ip netns del web")?;
    // It compares at its start, and every minute from then on.
    pair.alice.daemon.kill9()?;
    alice.start(&DaemonSettings::default())?;
    wait::until("the address to be freed", Duration::from_secs(10), || {
        held().is_ok_and(|held| held == before)
    })
}
