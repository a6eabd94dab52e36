//! Who reaches whom, and that nobody else hears it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::{Member, Pair, join};
use sotto_tests::lab::{DaemonSettings, Lab, control_program};
use sotto_tests::leak::nothing_leaks;
use sotto_tests::traffic::{self, Flow};
use sotto_tests::wait;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        i1_a_ping_crosses_plugin_daemon_controller_and_tunnel,
        dp00_the_detector_fires_when_tunnels_do_not_encrypt,
        dp00_an_ordinary_daemon_never_agrees_to_plaintext,
        dp01_i1_i2_all_reach_all_and_eve_reads_nothing,
        dp06_a_plugin_without_a_daemon_refuses_and_leaves_nothing,
        dp07_the_first_packets_to_an_unknown_peer_wait_or_fail_but_never_leak,
        dp08_the_last_packets_of_a_dying_pod_do_not_leak,
    ]
}

fn i1_a_ping_crosses_plugin_daemon_controller_and_tunnel(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;

    let wire = nothing_leaks(lab, |canary| {
        for address in pair.bob.pod.addresses() {
            traffic::ping(&pair.alice.pod, *address, &canary.repeated(500))?;
        }
        Ok(())
    })?;

    ensure!(
        wire.tunnel.get(&4).is_some_and(|data| *data >= 4),
        "no data messages: {wire:?}"
    );
    ensure!(!wire.indexes.is_empty(), "no transport of ours: {wire:?}");
    Ok(())
}

fn dp00_the_detector_fires_when_tunnels_do_not_encrypt(lab: &Lab) -> Result<()> {
    let control = DaemonSettings {
        program: Some(control_program()?),
        ..DaemonSettings::default()
    };
    let pair = Pair::raise_with(lab, &control, &control)?;

    for flow in Flow::ALL {
        let verdict = nothing_leaks(lab, |canary| {
            traffic::exchange(flow, &pair.alice.pod, &pair.bob.pod, canary)
        });

        let fault = verdict
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        ensure!(
            fault.starts_with("Eve found the canary"),
            "{flow} without encryption: the detector said {fault:?}"
        );
    }
    Ok(())
}

fn dp00_an_ordinary_daemon_never_agrees_to_plaintext(lab: &Lab) -> Result<()> {
    let control = DaemonSettings {
        program: Some(control_program()?),
        ..DaemonSettings::default()
    };
    let pair = Pair::raise_with(lab, &DaemonSettings::default(), &control)?;

    nothing_leaks(lab, |canary| {
        // Whether they agree on a cipher or on nothing: no canary may be on the wire.
        let _ = traffic::ping_once(&pair.alice.pod, pair.bob.pod.ipv4()?, &canary.repeated(500));
        let _ = traffic::ping_once(&pair.bob.pod, pair.alice.pod.ipv6()?, &canary.repeated(500));
        Ok(())
    })?;
    Ok(())
}

fn dp01_i1_i2_all_reach_all_and_eve_reads_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let settings = DaemonSettings::default();
    let carol = join(lab.node("carol")?, "third", &pair.controller, &settings)?;
    let members = [&pair.alice, &pair.bob, &carol];
    for (one, other) in two_by_two(&members) {
        one.node.knows(&other.node)?;
    }

    nothing_leaks(lab, |canary| {
        for (from, to) in two_by_two(&members) {
            traffic::exchange_all(&from.pod, &to.pod, canary)?;
            for address in to.pod.addresses() {
                traffic::ping_from(&from.node, *address, &canary.repeated(300))
                    .with_context(|| format!("{} itself to {address}", from.node.name()))?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn two_by_two<'a>(members: &'a [&'a Member]) -> impl Iterator<Item = (&'a Member, &'a Member)> {
    let pairs = members
        .iter()
        .flat_map(|one| members.iter().map(move |other| (*one, *other)));
    pairs.filter(|(one, other)| !std::ptr::eq(*one, *other))
}

fn dp06_a_plugin_without_a_daemon_refuses_and_leaves_nothing(lab: &Lab) -> Result<()> {
    let alice = lab.node("alice")?;
    let pod = alice.bare_pod("client")?;

    let refused = nothing_leaks_but(lab, || {
        let network = r#"{"cniVersion":"1.1.0","name":"sotto","type":"sotto-cni"}"#;
        alice.cni_output("ADD", pod.container(), pod.name(), network)
    })?;

    let answer = String::from_utf8_lossy(&refused.stdout).into_owned();
    ensure!(!refused.status.success(), "ADD succeeded: {answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    ensure!(
        answer.get("code") == Some(&11.into()),
        "not code 11: {answer}"
    );
    let links = pod.run("ls", &["/sys/class/net"]).unwrap_or_default();
    let in_pod = pod.shell("ip -o link")?;
    ensure!(
        in_pod.lines().count() == 1,
        "the pod has links: {in_pod} {links}"
    );
    let on_node = alice.shell("ip -o link")?;
    ensure!(
        !on_node.contains(": sp"),
        "the node has a pod's link: {on_node}"
    );
    Ok(())
}

fn nothing_leaks_but<T>(lab: &Lab, deed: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut result = None;
    nothing_leaks(lab, |_| {
        result = Some(deed()?);
        Ok(())
    })?;
    result.context("nothing was done")
}

fn dp07_the_first_packets_to_an_unknown_peer_wait_or_fail_but_never_leak(lab: &Lab) -> Result<()> {
    let settings = DaemonSettings::default();
    let controller = lab.controller()?;
    controller.start()?;
    let alice = join(lab.node("alice")?, "client", &controller, &settings)?;
    // From here on alice hears of nobody new.
    alice.node.take_store()?;
    let bob = join(lab.node("bob")?, "server", &controller, &settings)?;

    nothing_leaks(lab, |canary| {
        for address in bob.pod.addresses() {
            let early = traffic::ping_once(&alice.pod, *address, &canary.repeated(300));
            ensure!(
                early.is_err(),
                "{address} answered though alice knows nobody there"
            );
        }
        alice.node.return_store()?;
        alice.node.knows(&bob.node)?;
        traffic::exchange_all(&alice.pod, &bob.pod, canary)
    })?;
    Ok(())
}

fn dp08_the_last_packets_of_a_dying_pod_do_not_leak(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let (client, server) = (&pair.alice.pod, &pair.bob.pod);
    traffic::exchange_all(client, server, &Canary::new()?)?;

    nothing_leaks(lab, |canary| {
        let targets: Vec<IpAddr> = server.addresses().to_vec();
        let flood = traffic::Flood::start(client, &targets, canary)?;
        let back = traffic::Flood::start(server, client.addresses(), canary)?;
        wait::until("the floods to run", Duration::from_secs(10), || {
            flood.sent() > 500 && back.sent() > 500
        })?;
        pair.alice.node.detach(client)?;
        let sent = back.sent();
        wait::until(
            "more packets to the dead pod",
            Duration::from_secs(10),
            || back.sent() > sent + 500,
        )?;
        drop((flood, back));
        Ok(())
    })?;
    let links = pair.alice.node.shell("ip -o link")?;
    ensure!(!links.contains(": sp"), "the pod's link is left: {links}");
    Ok(())
}
