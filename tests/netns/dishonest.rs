//! A node with a certificate and bad intentions.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::{Member, Pair, join};
use sotto_tests::craft::Forged;
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::leak::nothing_leaks;
use sotto_tests::rogue::Rogue;
use sotto_tests::traffic::Ears;
use sotto_tests::wait;

use crate::hostile::addresses_of;

/// How long an agreement may take, with what bob must first read in the store.
const LIMIT: Duration = Duration::from_secs(20);

/// Nobody's, a Service's, loopback, multicast and broadcast addresses.
const FOREIGN: [&str; 13] = [
    "10.96.0.1",
    "10.244.77.7",
    "127.0.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "192.0.2.1",
    "fd00:10:96::1",
    "fd00:10:244:77::7",
    "::1",
    "ff02::1",
    "::",
    "fe80::1",
];

pub(crate) fn cases() -> Vec<Case> {
    cases![nd06_i2_a_certified_node_speaks_only_for_its_own_range]
}

fn nd06_i2_a_certified_node_speaks_only_for_its_own_range(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let settings = DaemonSettings::default();
    let mallory = join(lab.node("mallory")?, "hers", &pair.controller, &settings)?;
    pair.bob.node.knows(&mallory.node)?;
    let other = pair.bob.node.pod("other")?;
    let mut claimed = vec![pair.alice.node.ipv4(), pair.alice.node.ipv6()];
    claimed.extend(pair.alice.pod.addresses().iter().chain(other.addresses()));
    claimed.extend(addresses_of(&pair.bob.node, "sotto0")?);
    for address in FOREIGN {
        claimed.push(address.parse()?);
    }
    mallory.daemon.kill9()?;
    let before = pair.bob.node.drops("source_not_peers")?;

    nothing_leaks(lab, |canary| {
        for victim in pair.bob.pod.addresses() {
            let lies = lie_to(lab, &pair, &mallory, *victim, &claimed, canary)?;
            ensure!(lies.is_empty(), "bob's pod heard {lies:?}");
        }
        Ok(())
    })?;

    let dropped = pair.bob.node.drops("source_not_peers")? - before;
    ensure!(dropped >= 12.0, "only {dropped} lies were counted");
    Ok(())
}

/// Sends from each claimed source of the victim's family; returns those that were heard.
fn lie_to(
    lab: &Lab,
    pair: &Pair,
    mallory: &Member,
    victim: IpAddr,
    claimed: &[IpAddr],
    canary: &Canary,
) -> Result<Vec<IpAddr>> {
    let same = |address: &&IpAddr| address.is_ipv4() == victim.is_ipv4();
    let hers = mallory.pod.addresses().iter().find(same);
    let hers = *hers.context("she has no address of that family")?;
    let rogue = Rogue::take_over(lab, &pair.controller, &mallory.node, victim)?;
    let ears = Ears::open(&pair.bob.pod, victim)?;
    let destination = ears.address()?;
    let payload = canary.repeated(300);
    let say = |source: IpAddr| {
        let forged = Forged {
            source: SocketAddr::new(source, 4242),
            destination,
            payload: &payload,
        };
        rogue.send(&forged.packet()?)
    };

    // Bob learns of her new key from the store; then her honest word arrives.
    wait::until("the rogue's own source to be heard", LIMIT, || {
        say(hers).is_ok() && ears.sources().is_ok_and(|heard| heard.contains(&hers))
    })?;
    for source in claimed.iter().filter(same) {
        say(*source)?;
    }
    say(hers)?;
    let mut heard = ears.sources()?;
    ensure!(
        heard.contains(&hers),
        "not even {hers} was heard at the end"
    );
    heard.retain(|source| *source != hers);
    rogue.stop()?;
    Ok(heard)
}
