//! Pods at the tunnel's own ports: they would spend the nodes' handshakes, or pose as their node.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::craft;
use sotto_tests::lab::{Lab, Node, Pod, TUNNEL_PORT};

use super::pair::{Pair, SERVICE_V4, SERVICE_V6};
use super::pods::{expect_counted, tun_addresses};
use super::raw::{UDP, datagram, packet};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        pd07_a_pod_cannot_knock_at_a_remote_tunnel_port,
        pd08_a_pod_cannot_knock_at_its_own_nodes_tunnel_port,
    ]
}

/// Datagrams of one series of knocks.
const KNOCKS: usize = 200;

/// Knocks from a pod at the tunnel port of each address: nothing on the wire, nothing at Alice's
/// sockets, each counted.
fn knock(pair: &Pair<'_>, targets: &[IpAddr]) -> Result<()> {
    let canary = Canary::new()?;
    let delivered = || delivered_datagrams(&pair.alice);
    let before = delivered()?;
    let leaked = pair.leaked(&canary, || {
        for target in targets {
            let udp = datagram(TUNNEL_PORT, &canary.repeated(148))?;
            let own = if target.is_ipv4() {
                pair.client.ipv4()?
            } else {
                pair.client.ipv6()?
            };
            let knocks = vec![packet(own, *target, UDP, &[], &udp)?; KNOCKS];
            expect_counted(pair, "tunnel_port", KNOCKS, || {
                craft::send_raw(&pair.client, *target, &knocks)
            })
            .with_context(|| format!("to {target}"))?;
        }
        Ok(())
    })?;
    ensure!(leaked == 0, "the canary was seen {leaked} times");
    // The tunnel's own messages are few in this time.
    let heard = delivered()? - before;
    ensure!(
        heard < u64::try_from(KNOCKS / 2)?,
        "{heard} datagrams reached a socket"
    );
    Ok(())
}

/// UDP datagrams that a node's sockets were handed, both families.
fn delivered_datagrams(node: &Node) -> Result<u64> {
    let v4 = node.shell("grep '^Udp: [0-9]' /proc/thread-self/net/snmp | cut -d' ' -f2")?;
    let v6 = node.shell(
        "grep '^Udp6InDatagrams' /proc/thread-self/net/snmp6 | tr -s ' \\t' ' ' | cut -d' ' -f2",
    )?;
    Ok(v4.trim().parse::<u64>()? + v6.trim().parse::<u64>()?)
}

fn pd07_a_pod_cannot_knock_at_a_remote_tunnel_port(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    knock(&pair, &[pair.bob.ipv4(), pair.bob.ipv6()])?;

    // A Service in front of it makes no difference.
    pair.alice.shell(&format!(
        "nft 'table inet kube {{ chain c {{ type nat hook prerouting priority -100;
          ip daddr {SERVICE_V4} dnat ip to {}
          ip6 daddr {SERVICE_V6} dnat ip6 to {}; }}; }}'",
        pair.bob.ipv4(),
        pair.bob.ipv6()
    ))?;
    knock(&pair, &[SERVICE_V4, SERVICE_V6])?;
    pair.wait_for_flow()
}

fn pd08_a_pod_cannot_knock_at_its_own_nodes_tunnel_port(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    let mut own = vec![pair.alice.ipv4(), pair.alice.ipv6()];
    own.extend(tun_addresses(&pair)?);
    knock(&pair, &own)?;

    pair.alice.shell(&format!(
        "nft 'table inet kube {{ chain c {{ type nat hook prerouting priority -100;
          ip daddr {SERVICE_V4} dnat ip to {}
          ip6 daddr {SERVICE_V6} dnat ip6 to {}; }}; }}'",
        pair.alice.ipv4(),
        pair.alice.ipv6()
    ))?;
    knock(&pair, &[SERVICE_V4, SERVICE_V6])?;
    a_reply_to_a_masqueraded_flow_is_no_knock(&pair, &pair.client)
}

/// A flow that was masqueraded onto a tunnel port gets its replies.
fn a_reply_to_a_masqueraded_flow_is_no_knock(pair: &Pair<'_>, pod: &Pod) -> Result<()> {
    let world: IpAddr = "198.51.100.254".parse()?;
    let outside = lab_echo(pair, world)?;
    let socket = pod.inside(|| Ok(UdpSocket::bind(("0.0.0.0", TUNNEL_PORT))?))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send_to(b"hello", (world, 5000))?;
    let mut buffer = [0; 16];
    let (length, asker) = outside.recv_from(&mut buffer)?;
    outside.send_to(buffer.get(..length).unwrap_or_default(), asker)?;
    socket.recv(&mut buffer).context("the reply was dropped")?;
    Ok(())
}

fn lab_echo(pair: &Pair<'_>, world: IpAddr) -> Result<UdpSocket> {
    let socket = pair
        .lab
        .switch()
        .inside(|| Ok(UdpSocket::bind((world, 5000))?))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(socket)
}
