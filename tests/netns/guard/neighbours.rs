//! Hostile neighbours on the switch: clear packets to or from pods, in every shape.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use sotto_tests::capture::{Canary, Capture};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::craft;
use sotto_tests::lab::{Lab, Node};
use sotto_tests::wait;

use super::pair::{Pair, REPAIR_LIMIT, counted};
use super::pods::tun_addresses;
use super::raw::{self, UDP, datagram, packet};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        hp21_clear_packets_of_a_neighbour_reach_no_pod,
        i2_a_pod_source_from_the_wire_reaches_not_even_the_node,
    ]
}

/// ICMP, IPIP, TCP, UDP, a fragment-less nothing, GRE, ICMPv6, SCTP.
const PROTOCOLS: [u8; 8] = [1, 4, 6, UDP, 41, 47, 58, 132];

/// Plugs Mallory in, with routes for the pod ranges by Alice.
pub(super) fn mallory(pair: &Pair<'_>) -> Result<Node> {
    let mallory = pair.lab.node("mallory")?;
    mallory.shell(&format!(
        "ip -4 route add 10.244.0.0/16 via {}; ip -6 route add fd00:10:244::/56 via {}
        ping -c 1 -W 1 -n {} >/dev/null; ping -c 1 -W 1 -n {} >/dev/null",
        pair.alice.ipv4(),
        pair.alice.ipv6(),
        pair.alice.ipv4(),
        pair.alice.ipv6(),
    ))?;
    Ok(mallory)
}

/// Every protocol from each source to each target of its family.
fn shapes(
    sources: &[IpAddr],
    targets: &[IpAddr],
    canary: &Canary,
) -> Result<Vec<(IpAddr, Vec<u8>)>> {
    let udp = datagram(4242, &canary.repeated(128))?;
    let mut shapes = Vec::new();
    for source in sources {
        for target in targets
            .iter()
            .filter(|target| target.is_ipv4() == source.is_ipv4())
        {
            for protocol in PROTOCOLS {
                shapes.push((*target, packet(*source, *target, protocol, &[], &udp)?));
            }
        }
    }
    Ok(shapes)
}

fn hp21_clear_packets_of_a_neighbour_reach_no_pod(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let mallory = mallory(&pair)?;
    let canary = Canary::new()?;
    let mut sources = vec![
        mallory.ipv4(),
        mallory.ipv6(),
        pair.bob.ipv4(),
        pair.bob.ipv6(),
    ];
    sources.extend(pair.server.addresses());
    sources.extend(pair.neighbour.addresses());
    let mut targets = pair.client.addresses().to_vec();
    targets.extend(tun_addresses(&pair)?);
    targets.extend(pair.server.addresses());
    let shapes = shapes(&sources, &targets, &canary)?;
    let alices = raw::neighbour_address(&mallory, &pair.alice.ipv4().to_string())?;
    let own = raw::hardware_address(&mallory, "eth0")?;
    let mut frames = Vec::new();
    for to in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], alices] {
        for (target, body) in shapes.iter().take(8) {
            let kind = if target.is_ipv4() { 0x0800 } else { 0x86dd };
            frames.push(raw::frame(to, own, kind, body));
        }
    }
    let before = counted(&pair.alice, "injected")?;
    let taps = [
        Capture::start(lab, &pair.client, "eth0")?,
        Capture::start(lab, &pair.server, "eth0")?,
        Capture::start(lab, &pair.alice, "sotto0")?,
    ];

    for (target, shape) in &shapes {
        craft::send_raw(&mallory, *target, std::slice::from_ref(shape))?;
    }
    raw::send_frames(&mallory, "eth0", &frames)?;

    for tap in taps {
        let seen = tap.stop()?.count(&canary)?;
        ensure!(seen == 0, "a clear packet went on {seen} times");
    }
    let injected = counted(&pair.alice, "injected")? - before;
    // Frames to a group address are not for a router to forward: some never get that far.
    let sent = u64::try_from(shapes.len())?;
    ensure!(
        injected >= sent,
        "{sent} packets were sent, {injected} counted as injected"
    );
    wait::until("the metric to tell", REPAIR_LIMIT * 12, || {
        let told = pair.alice.metric("sotto_clear_injected_dropped_total", "");
        told.is_ok_and(|told| told >= 1.0)
    })?;
    pair.wait_for_flow()
}

fn i2_a_pod_source_from_the_wire_reaches_not_even_the_node(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let mallory = mallory(&pair)?;
    let listener = pair.alice.inside(|| {
        let socket = std::net::UdpSocket::bind(("0.0.0.0", 4242))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })?;
    let udp = datagram(4242, b"hello")?;
    let honest = packet(mallory.ipv4(), pair.alice.ipv4(), UDP, &[], &udp)?;
    let forged = packet(pair.server.ipv4()?, pair.alice.ipv4(), UDP, &[], &udp)?;

    craft::send_raw(&mallory, pair.alice.ipv4(), &[forged, honest])?;

    let mut heard = Vec::new();
    let mut buffer = [0; 64];
    wait::until("the honest datagram", REPAIR_LIMIT, || {
        heard.extend(
            listener
                .recv_from(&mut buffer)
                .map(|(_, source)| source.ip()),
        );
        heard.contains(&mallory.ipv4())
    })?;
    ensure!(heard == [mallory.ipv4()], "the node heard {heard:?}");
    Ok(())
}
