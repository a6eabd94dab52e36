//! Underlays of other sizes, nodes with other lanes, a control side that hangs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use sotto_tests::attacker::Mallory;
use sotto_tests::capture::{Capture, Packet};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::Pair;
use sotto_tests::craft;
use sotto_tests::lab::{DaemonSettings, Lab, PodFamilies, TUNNEL_PORT, Wires};
use sotto_tests::leak::nothing_leaks;
use sotto_tests::traffic::{self, Family, Flow, Listener, Stream};
use sotto_tests::wait;

/// Bytes each way: enough for many full packets, few enough to be quick.
const BULK: usize = 10_000_000;

/// How long a control side may hang without anybody noticing.
const HANG: Duration = Duration::from_secs(10);

type Body = fn(&Lab) -> Result<()>;

pub(crate) fn cases() -> Vec<Case> {
    let wires = |mtu, pods| Wires {
        mtu,
        pods,
        ..Wires::default()
    };
    let with = |name, mtu, pods, body: Body| Case {
        name,
        wires: wires(mtu, pods),
        body,
    };
    let mut cases = cases![
        p09_lanes_1_and_3_talk_with_each_other,
        p09_lanes_carry_on_while_control_hangs_for_10_s,
        p03_a_datagram_copied_to_every_lane_is_delivered_once,
    ];
    let sizes: [(&str, u32, PodFamilies, Body); 4] = [
        (
            "p09_ipv4_pods_talk_over_an_underlay_of_1280",
            1280,
            PodFamilies::Ipv4,
            all_sizes_pass,
        ),
        (
            "p09_pods_talk_over_an_underlay_of_1360",
            1360,
            PodFamilies::Both,
            all_sizes_pass,
        ),
        (
            "p09_pods_talk_over_an_underlay_of_9000",
            9000,
            PodFamilies::Both,
            all_sizes_pass,
        ),
        (
            "p09_an_underlay_too_small_for_ipv6_pods_is_refused",
            1359,
            PodFamilies::Both,
            is_refused,
        ),
    ];
    cases.extend(sizes.map(|(name, mtu, pods, body)| with(name, mtu, pods, body)));
    cases
}

fn all_sizes_pass(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let (client, server) = (&pair.alice.pod, &pair.bob.pod);
    let mtu = usize::try_from(pair.alice.node.wires().mtu)?;
    let flows = Flow::ALL.into_iter().filter(|flow| {
        pair.alice.node.wires().pods == PodFamilies::Both || flow.family == Family::V4
    });

    nothing_leaks(lab, |canary| {
        for flow in flows {
            traffic::exchange(flow, client, server, canary)?;
        }
        for address in server.addresses() {
            for size in (mtu - 140..mtu + 8).chain([0, 3 * mtu, 60_000]) {
                traffic::ping(client, *address, &canary.repeated(size))
                    .with_context(|| format!("ping of {size} bytes to {address}"))?;
            }
        }
        Ok(())
    })?;

    let eve = Capture::on_switch(lab)?;
    for (from, to) in [(client, server), (server, client)] {
        for address in to.addresses() {
            let (sent, heard) = traffic::bulk(from, to, *address, BULK)?;
            ensure!(sent == heard, "{BULK} bytes to {address} arrived changed");
        }
    }
    let packets = eve.stop()?.packets()?;
    let longest = packets
        .iter()
        .map(|packet| packet.body().len())
        .max()
        .unwrap_or(0);
    ensure!(longest <= mtu, "{longest} bytes on a wire of {mtu}");
    // Room for IPv6 outside, which has 20 bytes more, and for padding to 16.
    ensure!(
        longest + 36 > mtu,
        "{longest} bytes at most waste a wire of {mtu}"
    );
    Ok(())
}

fn is_refused(lab: &Lab) -> Result<()> {
    let controller = lab.controller()?;
    controller.start()?;
    let alice = lab.node("alice")?;
    alice.enrol(&controller, &DaemonSettings::default())?;

    let daemon = alice.launch(&DaemonSettings::default())?;
    let end = daemon.wait()?;

    ensure!(!end.success(), "the daemon accepted it");
    let said = daemon.log();
    let last = said.lines().last().unwrap_or_default();
    ensure!(
        last.contains("1359") && last.contains("1360"),
        "it said: {said}"
    );
    let links = alice.shell("ip -o link; ip rule; nft list ruleset")?;
    ensure!(!links.contains("sotto"), "the kernel was touched: {links}");
    Ok(())
}

fn with_lanes(lanes: u8) -> DaemonSettings {
    DaemonSettings {
        lanes,
        ..DaemonSettings::default()
    }
}

fn p09_lanes_1_and_3_talk_with_each_other(lab: &Lab) -> Result<()> {
    let pair = Pair::raise_with(lab, &with_lanes(1), &with_lanes(3))?;

    let wire = nothing_leaks(lab, |canary| {
        for _ in 0..8 {
            traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, canary)?;
            traffic::exchange_all(&pair.bob.pod, &pair.alice.pod, canary)?;
        }
        Ok(())
    })?;

    ensure!(wire.tunnel_packets() > 0, "nothing was seen");
    Ok(())
}

fn p09_lanes_carry_on_while_control_hangs_for_10_s(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let (client, server) = (&pair.alice.pod, &pair.bob.pod);
    traffic::ping(client, server.ipv4()?, &[0; 8])?;
    let there = Stream::start(client, server, server.ipv4()?)?;
    let back = Stream::start(server, client, client.ipv6()?)?;

    hang(pair.alice.daemon.pid(), HANG)?;
    let (there, back) = (there.stop()?, back.stop()?);

    ensure!(
        there.lost == 0 && back.lost == 0,
        "lost: {there:?} {back:?}"
    );
    ensure!(
        there.sent > 9000 && back.sent > 9000,
        "sent: {there:?} {back:?}"
    );
    wait::until("alice's control side to answer again", HANG, || {
        pair.alice.node.is_ready()
    })?;
    nothing_leaks(lab, |canary| traffic::exchange_all(client, server, canary))?;
    Ok(())
}

/// Stops one thread of a program, the first, which is the control side; the others run on.
fn hang(pid: i32, time: Duration) -> Result<()> {
    let control = Pid::from_raw(pid);
    // Whoever traces a thread must be one thread itself.
    let traced = std::thread::spawn(move || -> Result<()> {
        ptrace::seize(control, ptrace::Options::empty()).context("trace the daemon")?;
        ptrace::interrupt(control)?;
        waitpid(control, Some(WaitPidFlag::__WALL))?;
        let state = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status"))?;
        let started = Instant::now();
        wait::let_pass(time);
        ptrace::detach(control, None)?;
        ensure!(state.contains("(tracing stop)"), "it did not hang: {state}");
        ensure!(started.elapsed() >= time, "it hung too briefly");
        Ok(())
    });
    traced
        .join()
        .map_err(|_| anyhow::anyhow!("the tracer panicked"))?
}

fn p03_a_datagram_copied_to_every_lane_is_delivered_once(lab: &Lab) -> Result<()> {
    let pair = Pair::raise_with(lab, &with_lanes(3), &with_lanes(3))?;
    let mallory = Mallory::arrive(lab)?;
    let server = Listener::open(&pair.bob.pod)?;
    let eve = Capture::on_switch(lab)?;
    server.receive_from(&pair.alice.pod, &sotto_tests::capture::Canary::new()?, 30)?;
    let from = pair.alice.node.ipv4();
    let recorded: Vec<Packet> = eve.stop()?.packets()?;
    let recorded: Vec<&Packet> = recorded
        .iter()
        .filter(|packet| {
            packet
                .tunnel_datagram()
                .is_some_and(|udp| udp.source == from)
        })
        .collect();
    ensure!(
        recorded.len() >= 30,
        "only {} packets of alice",
        recorded.len()
    );

    for packet in recorded {
        let payload = packet.datagram().context("no datagram")?.payload;
        for lane in 0..3 {
            let copy = craft::redirected(packet, payload, TUNNEL_PORT + lane)?;
            mallory.send_frames(&[&copy])?;
        }
    }

    let again = server.count_more()?;
    ensure!(again == 0, "{again} copies were delivered");
    nothing_leaks(lab, |canary| {
        traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, canary)
    })?;
    Ok(())
}
