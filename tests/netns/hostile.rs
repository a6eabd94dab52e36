//! Mallory on the wire, hostile pods and hostile entries in the store.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use sotto_tests::attacker::Mallory;
use sotto_tests::capture::{Canary, Capture, Packet};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::Pair;
use sotto_tests::craft::{self, Forged};
use sotto_tests::lab::Lab;
use sotto_tests::leak::nothing_leaks;
use sotto_tests::traffic::{self, Listener};

/// A message is bent at most at so many places: each byte of the header and tag, some between.
const PLACES: usize = 160;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        hp01_replayed_packets_are_dropped_and_counted,
        hp04_bent_messages_are_dropped_and_break_nothing,
        hp05_cut_and_extended_messages_are_dropped_and_break_nothing,
        hp14_unknown_messages_are_dropped_and_break_nothing,
        pd01_i2_spoofed_sources_do_not_leave_the_pod,
    ]
}

/// What Alice sent Bob over IPv4 while the pair agreed and talked, each message type.
fn recorded(lab: &Lab, pair: &Pair) -> Result<Vec<Packet>> {
    let eve = Capture::on_switch(lab)?;
    traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, &Canary::new()?)?;
    let all = eve.stop()?.packets()?;
    let from = pair.alice.node.ipv4();
    let hers = |packet: &Packet| {
        packet
            .tunnel_datagram()
            .is_some_and(|udp| udp.source == from)
    };
    let recorded: Vec<Packet> = all.into_iter().filter(hers).collect();
    ensure!(!recorded.is_empty(), "Eve recorded nothing of alice");
    Ok(recorded)
}

/// One recorded message of each kind: by type, and by whether the lanes or control open it.
fn one_of_each(recorded: &[Packet]) -> Vec<&Packet> {
    let kind = |packet: &Packet| {
        let udp = packet.tunnel_datagram()?;
        Some((*udp.payload.first()?, udp.payload.get(7)? >> 7))
    };
    let mut seen = std::collections::BTreeMap::new();
    for packet in recorded {
        if let Some(kind) = kind(packet) {
            seen.entry(kind).or_insert(packet);
        }
    }
    seen.into_values().collect()
}

/// Sends frames to Bob; his pod must hear nothing, his daemon must live and keep its transport.
fn harmless(lab: &Lab, pair: &Pair, mallory: &Mallory, frames: &[Vec<u8>]) -> Result<()> {
    let server = Listener::open(&pair.bob.pod)?;
    let canary = Canary::new()?;
    server.receive_from(&pair.alice.pod, &canary, 3)?;
    let restarts = pair.bob.node.status()?.process_id;

    for batch in frames.chunks(64) {
        let batch: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        mallory.send_frames(&batch)?;
    }

    let heard = server.count_more()?;
    ensure!(
        heard == 0,
        "the server heard {heard} of {} frames",
        frames.len()
    );
    ensure!(pair.bob.daemon.is_running(), "bob's daemon ended");
    ensure!(
        pair.bob.node.status()?.process_id == restarts,
        "bob's daemon restarted"
    );
    let wire = nothing_leaks(lab, |canary| {
        traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, canary)
    })?;
    ensure!(
        !wire.tunnel.contains_key(&1),
        "they had to shake hands again: {wire:?}"
    );
    Ok(())
}

fn hp01_replayed_packets_are_dropped_and_counted(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let recorded = recorded(lab, &pair)?;
    let mallory = Mallory::arrive(lab)?;
    let data = |packet: &&Packet| {
        let udp = packet.tunnel_datagram();
        udp.is_some_and(|udp| udp.payload.first() == Some(&4) && udp.payload.get(7) >= Some(&0x80))
    };
    let number = recorded.iter().filter(data).count();
    let before = pair.bob.node.drops("replayed")?;

    let frames: Vec<Vec<u8>> = recorded.iter().map(|packet| packet.frame.clone()).collect();
    harmless(lab, &pair, &mallory, &frames)?;

    let dropped = pair.bob.node.drops("replayed")? - before;
    ensure!(
        dropped >= number as f64,
        "{dropped} drops were counted for {number} replays"
    );
    Ok(())
}

fn hp04_bent_messages_are_dropped_and_break_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let recorded = recorded(lab, &pair)?;
    let mallory = Mallory::arrive(lab)?;
    let mut frames = Vec::new();

    for packet in one_of_each(&recorded) {
        let payload = packet.datagram().context("no datagram")?.payload;
        let step = (payload.len() / PLACES).max(1);
        for at in (0..payload.len().min(40)).chain((40..payload.len()).step_by(step)) {
            let mut bent = payload.to_vec();
            bent[at] ^= 0x80 >> (at % 8);
            frames.push(craft::bent(packet, &bent)?);
        }
    }

    harmless(lab, &pair, &mallory, &frames)
}

fn hp05_cut_and_extended_messages_are_dropped_and_break_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let recorded = recorded(lab, &pair)?;
    let mallory = Mallory::arrive(lab)?;
    let mut frames = Vec::new();

    for packet in one_of_each(&recorded) {
        let payload = packet.datagram().context("no datagram")?.payload;
        let step = (payload.len() / PLACES).max(1);
        for length in (0..payload.len()).step_by(step) {
            frames.push(craft::bent(packet, &payload[..length])?);
        }
        for more in [1, 2, 15, 16, 17, 64, 1472 - payload.len().min(1471)] {
            let longer = [payload, &vec![0xa5; more]].concat();
            if longer.len() <= 1472 {
                frames.push(craft::bent(packet, &longer)?);
            }
        }
    }

    harmless(lab, &pair, &mallory, &frames)
}

fn hp14_unknown_messages_are_dropped_and_break_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let recorded = recorded(lab, &pair)?;
    let mallory = Mallory::arrive(lab)?;
    let packet = one_of_each(&recorded);
    let packet = packet.last().context("nothing recorded")?;
    let payload = packet.datagram().context("no datagram")?.payload;
    let mut frames = Vec::new();

    for kind in (0..=255).filter(|kind| !(1..=4).contains(kind)) {
        let mut other = payload.to_vec();
        other[0] = kind;
        frames.push(craft::bent(packet, &other)?);
    }
    for reserved in 1..4 {
        for kind in 1..=4 {
            let mut other = payload.to_vec();
            (other[0], other[reserved]) = (kind, 1);
            frames.push(craft::bent(packet, &other)?);
        }
    }
    for length in 0..4 {
        frames.push(craft::bent(packet, &payload[..length])?);
    }

    harmless(lab, &pair, &mallory, &frames)
}

fn pd01_i2_spoofed_sources_do_not_leave_the_pod(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let (alice, bob) = (&pair.alice.node, &pair.bob.node);
    let neighbour = alice.pod("neighbour")?;
    let far = bob.pod("far")?;
    let tun: Vec<IpAddr> = addresses_of(alice, "sotto0")?;
    let mut claimed = vec![alice.ipv4(), alice.ipv6(), bob.ipv4(), bob.ipv6()];
    claimed.extend(
        neighbour
            .addresses()
            .iter()
            .chain(far.addresses())
            .chain(&tun),
    );
    claimed.extend(["10.96.0.1".parse::<IpAddr>()?, "fd00:10:96::1".parse()?]);
    claimed.extend([
        "10.244.77.7".parse::<IpAddr>()?,
        "fd00:10:244:77::7".parse()?,
    ]);

    nothing_leaks(lab, |canary| {
        for target in [&pair.bob.pod, &neighbour] {
            let heard = spoof(&pair.alice.pod, target, &claimed, canary)?;
            ensure!(heard.is_empty(), "{} heard {heard:?}", target.name());
        }
        Ok(())
    })?;
    Ok(())
}

/// Sends a datagram from each claimed source, and one honest one; returns the claimed sources
/// that were heard.
fn spoof(
    from: &sotto_tests::lab::Pod,
    to: &sotto_tests::lab::Pod,
    claimed: &[IpAddr],
    canary: &Canary,
) -> Result<Vec<IpAddr>> {
    let mut heard = Vec::new();
    for family in [IpAddr::is_ipv4 as fn(&IpAddr) -> bool, IpAddr::is_ipv6] {
        let find = |list: &[IpAddr]| list.iter().copied().find(family);
        let destination = find(to.addresses()).context("no address of that family")?;
        let honest = find(from.addresses()).context("no address of that family")?;
        let ears = traffic::Ears::open(to, destination)?;
        let payload = canary.repeated(300);
        let sources = claimed.iter().copied().filter(family).chain([honest]);
        let packets = sources
            .map(|source| {
                Forged {
                    source: SocketAddr::new(source, 4242),
                    destination: ears.address()?,
                    payload: &payload,
                }
                .packet()
            })
            .collect::<Result<Vec<_>>>()?;
        craft::send_raw(from, destination, &packets)?;
        let mut sources = ears.sources()?;
        ensure!(
            sources.contains(&honest),
            "not even the honest {honest} was heard"
        );
        sources.retain(|source| *source != honest);
        heard.extend(sources);
    }
    Ok(heard)
}

pub(crate) fn addresses_of(node: &sotto_tests::lab::Node, link: &str) -> Result<Vec<IpAddr>> {
    let shown = node.run(
        "ip",
        &["-o", "address", "show", "dev", link, "scope", "global"],
    )?;
    let words = shown
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    words
        .map(|word| Ok(word.split('/').next().unwrap_or(word).parse()?))
        .collect()
}
