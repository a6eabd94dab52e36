//! Hostile pods: addresses nobody assigned, odd packets, forged neighbours and routers.

use std::net::{IpAddr, UdpSocket};

use anyhow::{Result, ensure};
use sotto_tests::capture::{Canary, Capture};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::craft;
use sotto_tests::lab::Lab;

use super::pair::{Pair, wait_for_ping};
use super::raw::{self, UDP, datagram, packet};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        pd02_only_the_assigned_address_passes,
        pd03_source_routes_of_a_pod_are_dropped,
        pd04_a_pod_reaches_no_loopback_and_no_group_of_its_node,
        pd05_forged_neighbours_change_nothing,
        pd06_advertisements_of_a_pod_change_nothing,
    ]
}

const SPOOFED_PORT: u16 = 4242;

/// Sends and waits until the guard counted at least that many.
pub(super) fn expect_counted(
    pair: &Pair<'_>,
    counter: &str,
    number: usize,
    send: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = pair.counted(counter)?;
    send()?;
    let counted = pair.counted(counter)? - before;
    ensure!(
        counted >= u64::try_from(number)?,
        "{number} packets were sent and {counted} counted as {counter}"
    );
    Ok(())
}

/// Captures at both other pods and on the switch; nothing with the canary may get there.
fn expect_nowhere(
    pair: &Pair<'_>,
    canary: &Canary,
    happening: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let taps = [
        ("the switch", Capture::on_switch(pair.lab)?),
        (
            "the remote pod",
            Capture::start(pair.lab, &pair.server, "eth0")?,
        ),
        (
            "the neighbour",
            Capture::start(pair.lab, &pair.neighbour, "eth0")?,
        ),
    ];
    happening()?;
    for (place, tap) in taps {
        let seen = tap.stop()?.count(canary)?;
        ensure!(seen == 0, "the canary was seen {seen} times at {place}");
    }
    Ok(())
}

fn pd02_only_the_assigned_address_passes(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let (v4, v6) = (beside(pair.client.ipv4()?)?, beside(pair.client.ipv6()?)?);
    pair.client.shell(&format!(
        "ip address add {v4}/32 dev eth0; ip address add {v6}/128 dev eth0 nodad"
    ))?;

    let canary = Canary::new()?;
    expect_nowhere(&pair, &canary, || {
        for (own, target) in [(v4, pair.server.ipv4()?), (v6, pair.server.ipv6()?)] {
            let socket = pair.client.inside(|| Ok(UdpSocket::bind((own, 0))?))?;
            expect_counted(&pair, "spoofed", 1, || {
                socket.send_to(&canary.repeated(256), (target, SPOOFED_PORT))?;
                Ok(())
            })?;
        }
        Ok(())
    })?;
    pair.client.shell(&format!(
        "ip address del {v4}/32 dev eth0; ip address del {v6}/128 dev eth0"
    ))?;
    pair.wait_for_flow()
}

/// IPv4 options LSRR (131) and SSRR (137), IPv6 routing header of type 0 (RFC 5095).
fn pd03_source_routes_of_a_pod_are_dropped(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let canary = Canary::new()?;
    let udp = datagram(SPOOFED_PORT, &canary.repeated(256))?;
    let (own4, target4) = (pair.client.ipv4()?, pair.server.ipv4()?);
    let (own6, target6) = (pair.client.ipv6()?, pair.server.ipv6()?);
    let hop = [198, 51, 100, 254];
    let lsrr = [&[131, 7, 4][..], &hop, &[0]].concat();
    let ssrr = [&[137, 7, 4][..], &hop, &[0]].concat();
    let IpAddr::V6(via) = pair.neighbour.ipv6()? else {
        anyhow::bail!("no IPv6")
    };
    let header = [&[UDP, 2, 0, 1, 0, 0, 0, 0][..], &via.octets(), &udp].concat();

    expect_nowhere(&pair, &canary, || {
        expect_counted(&pair, "pod_odd", 3, || {
            for options in [&lsrr, &ssrr] {
                let routed = packet(own4, target4, UDP, options, &udp)?;
                craft::send_raw(&pair.client, target4, &[routed])?;
            }
            craft::send_raw(
                &pair.client,
                target6,
                &[packet(own6, target6, 43, &[], &header)?],
            )
        })
    })
}

fn pd04_a_pod_reaches_no_loopback_and_no_group_of_its_node(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let canary = Canary::new()?;
    // Other programs do set this; then nothing but the guard is between pod and loopback.
    pair.alice
        .shell("for f in /proc/sys/net/ipv4/conf/*/route_localnet; do echo 1 >$f; done")?;
    let udp = datagram(SPOOFED_PORT, &canary.repeated(256))?;
    let gateway = raw::neighbour_address(&pair.client, "169.254.1.1")?;
    let own = raw::hardware_address(&pair.client, "eth0")?;
    let mut frames = Vec::new();
    for target in ["127.0.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255"] {
        let body = packet(pair.client.ipv4()?, target.parse()?, UDP, &[], &udp)?;
        frames.push(raw::frame(gateway, own, 0x0800, &body));
    }
    for target in ["ff02::1", "ff05::2", "::ffff:127.0.0.1"] {
        let body = packet(pair.client.ipv6()?, target.parse()?, UDP, &[], &udp)?;
        frames.push(raw::frame(gateway, own, 0x86dd, &body));
    }
    let listener = pair.alice.inside(|| {
        let socket = UdpSocket::bind(("0.0.0.0", SPOOFED_PORT))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })?;

    expect_nowhere(&pair, &canary, || {
        expect_counted(&pair, "pod_odd", frames.len(), || {
            raw::send_frames(&pair.client, "eth0", &frames)
        })
    })?;

    ensure!(
        listener.recv(&mut [0; 512]).is_err(),
        "the node's own listener heard the pod"
    );
    Ok(())
}

fn pd05_forged_neighbours_change_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let known = || -> Result<String> {
        let node = pair.alice.shell("ip neigh show | grep ' dev sp' | sort")?;
        Ok(node + &pair.neighbour.shell("ip neigh show | sort")?)
    };
    let before = known()?;
    let own = raw::hardware_address(&pair.client, "eth0")?;
    let IpAddr::V4(victim) = pair.neighbour.ipv4()? else {
        anyhow::bail!("no IPv4")
    };
    let mut frames = Vec::new();
    for claimed in [victim.octets(), [169, 254, 1, 1], [198, 51, 100, 254]] {
        for operation in [1_u8, 2] {
            let arp = [
                &[0, 1, 8, 0, 6, 4, 0, operation][..],
                &own,
                &claimed,
                &[0xff; 6],
                &claimed,
            ]
            .concat();
            frames.push(raw::frame([0xff; 6], own, 0x0806, &arp));
        }
    }
    frames.extend(frames.clone());

    raw::send_frames(&pair.client, "eth0", &frames)?;
    let IpAddr::V6(victim) = pair.neighbour.ipv6()? else {
        anyhow::bail!("no IPv6")
    };
    // A neighbour advertisement with "override" and our own address as the target's.
    let claim = [
        &[136, 0, 0, 0, 0x20, 0, 0, 0][..],
        &victim.octets(),
        &[2, 1],
        &own,
    ]
    .concat();
    let all_nodes = "ff02::1".parse()?;
    let forged = packet(victim.into(), all_nodes, 58, &[], &claim)?;
    let gateway = raw::neighbour_address(&pair.client, "169.254.1.1")?;
    raw::send_frames(
        &pair.client,
        "eth0",
        &[raw::frame(gateway, own, 0x86dd, &forged)],
    )?;

    ensure!(known()? == before, "somebody learned a forged neighbour");
    wait_for_ping(&pair.neighbour, pair.server.ipv4()?)?;
    wait_for_ping(&pair.neighbour, pair.server.ipv6()?)
}

fn pd06_advertisements_of_a_pod_change_nothing(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let known = || -> Result<String> {
        let routes = "ip -4 route; ip -6 route | sed 's/ expires [^ ]*//'; ip address | grep inet";
        Ok(pair.alice.shell(routes)? + &pair.neighbour.shell(routes)?)
    };
    let before = known()?;
    let own = raw::hardware_address(&pair.client, "eth0")?;
    let gateway = raw::neighbour_address(&pair.client, "169.254.1.1")?;
    let link_local = "fe80::bad".parse()?;
    let to_all = "ff02::1".parse()?;
    // Router advertisement: default route for an hour, and a prefix to make addresses in.
    let prefix = [
        &[3, 4, 64, 0xc0][..],
        &[0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0],
    ]
    .concat();
    let prefix = [&prefix[..], &[0x20, 1, 0x0d, 0xb8, 0xba, 0xad], &[0; 10]].concat();
    let advertisement = [&[134, 0, 0, 0, 64, 0, 14, 16][..], &[0; 8], &prefix].concat();
    let IpAddr::V6(server) = pair.server.ipv6()? else {
        anyhow::bail!("no IPv6")
    };
    let IpAddr::V6(own_v6) = pair.client.ipv6()? else {
        anyhow::bail!("no IPv6")
    };
    let redirect = [
        &[137, 0, 0, 0, 0, 0, 0, 0][..],
        &own_v6.octets(),
        &server.octets(),
    ]
    .concat();
    let reports = [&[143, 0, 0, 0, 0, 0, 0, 0][..]].concat();
    let mut frames = Vec::new();
    for body in [advertisement, redirect, reports] {
        for source in [link_local, pair.client.ipv6()?] {
            let forged = packet(source, to_all, 58, &[], &body)?;
            frames.push(raw::frame(gateway, own, 0x86dd, &forged));
            frames.push(raw::frame([0x33, 0x33, 0, 0, 0, 1], own, 0x86dd, &forged));
        }
    }
    let offer = datagram(68, &[2, 1, 6, 0])?;
    let offer = packet(
        pair.client.ipv4()?,
        "255.255.255.255".parse()?,
        UDP,
        &[],
        &offer,
    )?;
    frames.push(raw::frame([0xff; 6], own, 0x0800, &offer));

    raw::send_frames(&pair.client, "eth0", &frames)?;

    ensure!(known()? == before, "routes or addresses changed");
    pair.wait_for_flow()
}

/// The addresses of Alice's tun device.
pub(super) fn tun_addresses(pair: &Pair<'_>) -> Result<Vec<IpAddr>> {
    let text = pair
        .alice
        .run("ip", &["-o", "address", "show", "dev", "sotto0"])?;
    let words = text.split_whitespace().filter(|word| word.contains('/'));
    words
        .map(|word| Ok(word.split('/').next().unwrap_or(word).parse()?))
        .collect()
}

/// An address that is not assigned, near one that is.
fn beside(address: IpAddr) -> Result<IpAddr> {
    Ok(match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, 200])
        }
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            if let Some(last) = segments.last_mut() {
                *last = 0x200;
            }
            IpAddr::from(segments)
        }
    })
}
