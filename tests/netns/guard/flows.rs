//! What has to work goes on working: every way that traffic takes past the guard, and how it
//! looks on the wire.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::{Lab, Place};
use sotto_tests::traffic;

use super::pair::{Pair, SERVICE_V4, SERVICE_V6};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        pods_talk_across_nodes_and_within_one_unseen,
        a_node_and_its_services_talk_to_remote_pods_through_the_tunnel,
        pods_reach_nodes_and_the_world_as_their_node,
        node_ports_and_services_work_from_everywhere,
        everything_works_with_strict_reverse_path_filters,
        accepts_go_into_a_forward_chain_that_drops,
        a_resolver_on_a_link_local_address_of_the_node_is_reached,
        the_tunnel_needs_no_tracked_connections,
        an_uplink_keeps_listening_to_router_advertisements,
    ]
}

const WORLD_V4: &str = "203.0.113.9";
const WORLD_V6: &str = "2001:db8:ffff::9";
const LIMIT: Duration = Duration::from_secs(2);
const TRIES: usize = 5;

/// Sends a datagram to a socket and gets it back; says whom the answerer saw.
fn talk(
    from: &Place,
    target: SocketAddr,
    at: &Place,
    bound: SocketAddr,
    canary: &Canary,
) -> Result<IpAddr> {
    let server = at.inside(|| Ok(UdpSocket::bind(bound)?))?;
    server.set_read_timeout(Some(LIMIT))?;
    let any = if target.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let client = from.inside(|| Ok(UdpSocket::bind(any)?))?;
    client.set_read_timeout(Some(LIMIT))?;
    let payload = canary.repeated(600);
    let mut buffer = [0; 2000];
    for _ in 0..TRIES {
        client.send_to(&payload, target)?;
        let Ok((length, asker)) = server.recv_from(&mut buffer) else {
            continue;
        };
        server.send_to(buffer.get(..length).unwrap_or_default(), asker)?;
        let Ok((length, answerer)) = client.recv_from(&mut buffer) else {
            continue;
        };
        ensure!(
            buffer.get(..length) == Some(&payload[..]),
            "the answer differs"
        );
        ensure!(
            answerer.ip() == target.ip(),
            "{answerer} answered for {target}"
        );
        return Ok(asker.ip());
    }
    anyhow::bail!("no answer of {target} to {}", from.name())
}

/// [`talk`] with a server that listens where it is spoken to.
fn reach(from: &Place, at: &Place, address: IpAddr, canary: &Canary) -> Result<IpAddr> {
    let target = SocketAddr::new(address, 7000);
    talk(from, target, at, target, canary).with_context(|| format!("{} to {address}", from.name()))
}

fn give_switch_the_world(pair: &Pair<'_>) -> Result<()> {
    pair.lab.switch().shell(&format!(
        "ip address add {WORLD_V4}/32 dev br0; ip -6 address add {WORLD_V6}/128 dev br0 nodad"
    ))?;
    Ok(())
}

fn pods_talk_across_nodes_and_within_one_unseen(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    all_pods_talk(&pair)
}

fn all_pods_talk(pair: &Pair<'_>) -> Result<()> {
    let canary = Canary::new()?;
    let leaked = pair.leaked(&canary, || {
        traffic::exchange_all(&pair.client, &pair.server, &canary)?;
        traffic::exchange_all(&pair.server, &pair.neighbour, &canary)?;
        traffic::exchange_all(&pair.client, &pair.neighbour, &canary)
    })?;
    ensure!(leaked == 0, "the canary was seen {leaked} times");
    Ok(())
}

fn a_node_and_its_services_talk_to_remote_pods_through_the_tunnel(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    pair.translate_service()?;
    let canary = Canary::new()?;
    let tun = super::pods::tun_addresses(&pair)?;
    let leaked = pair.leaked(&canary, || {
        for address in pair.server.addresses() {
            let seen = reach(&pair.alice, &pair.server, *address, &canary)?;
            ensure!(tun.contains(&seen), "the remote pod saw the node as {seen}");
        }
        for address in pair.client.addresses() {
            reach(&pair.alice, &pair.client, *address, &canary)?;
        }
        // A source outside the pod range gets an owner at the peer.
        let target = SocketAddr::new(pair.server.ipv4()?, 7000);
        let node = pair.alice.ipv4();
        let client = pair.alice.inside(|| Ok(UdpSocket::bind((node, 7001))?))?;
        let server = pair.server.inside(|| Ok(UdpSocket::bind(target)?))?;
        server.set_read_timeout(Some(LIMIT))?;
        client.send_to(&canary.repeated(600), target)?;
        let (_, seen) = server.recv_from(&mut [0; 2000])?;
        ensure!(tun.contains(&seen.ip()), "the remote pod saw {seen}");
        Ok(())
    })?;
    ensure!(leaked == 0, "the canary was seen {leaked} times");
    Ok(())
}

fn pods_reach_nodes_and_the_world_as_their_node(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    give_switch_the_world(&pair)?;
    let canary = Canary::new()?;
    let switch = lab.switch();
    for (world, node) in [(WORLD_V4, pair.alice.ipv4()), (WORLD_V6, pair.alice.ipv6())] {
        let seen = reach(&pair.client, switch, world.parse()?, &canary)?;
        ensure!(seen == node, "the world saw {seen}");
    }
    for (remote, own) in [
        (pair.bob.ipv4(), pair.alice.ipv4()),
        (pair.bob.ipv6(), pair.alice.ipv6()),
    ] {
        let seen = reach(&pair.client, &pair.bob, remote, &canary)?;
        ensure!(seen == own, "the other node saw {seen}");
        let seen = reach(&pair.client, &pair.alice, own, &canary)?;
        ensure!(
            pair.client.addresses().contains(&seen),
            "the own node saw {seen}"
        );
        reach(&pair.alice, &pair.bob, remote, &canary)?;
    }
    Ok(())
}

/// NodePort 30070 on both nodes and a Service, all of them the server.
fn node_ports(pair: &Pair<'_>) -> Result<()> {
    let (v4, v6) = (pair.server.ipv4()?, pair.server.ipv6()?);
    for node in [&pair.alice, &pair.bob] {
        node.shell(&format!(
            "nft -f - <<'RULES'
            table inet ports {{
              chain pre {{
                type nat hook prerouting priority -100;
                fib daddr type local meta nfproto ipv4 udp dport 30070 meta mark set 0x4000 dnat ip to {v4}:7000
                fib daddr type local meta nfproto ipv6 udp dport 30070 meta mark set 0x4000 dnat ip6 to [{v6}]:7000
              }}
              chain post {{
                type nat hook postrouting priority 100;
                meta mark 0x4000 masquerade
              }}
            }}
RULES"
        ))?;
    }
    Ok(())
}

fn node_ports_and_services_work_from_everywhere(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    every_service_works(&pair)
}

fn every_service_works(pair: &Pair<'_>) -> Result<()> {
    pair.translate_service()?;
    node_ports(pair)?;
    let canary = Canary::new()?;
    let servers = [pair.server.ipv4()?, pair.server.ipv6()?];
    let leaked = pair.leaked(&canary, || {
        for (service, server) in [SERVICE_V4, SERVICE_V6].into_iter().zip(servers) {
            let bound = SocketAddr::new(server, 7000);
            for from in [&*pair.client, &*pair.neighbour, &*pair.alice] {
                talk(
                    from,
                    SocketAddr::new(service, 7000),
                    &pair.server,
                    bound,
                    &canary,
                )
                .with_context(|| format!("{} to the Service", from.name()))?;
            }
        }
        Ok(())
    })?;
    ensure!(leaked == 0, "the canary was seen {leaked} times");

    let nodes = [
        [pair.alice.ipv4(), pair.alice.ipv6()],
        [pair.bob.ipv4(), pair.bob.ipv6()],
    ];
    for addresses in nodes {
        for (node, server) in addresses.into_iter().zip(servers) {
            let port = SocketAddr::new(node, 30070);
            let bound = SocketAddr::new(server, 7000);
            for from in [pair.lab.switch(), &*pair.client] {
                talk(from, port, &pair.server, bound, &canary)
                    .with_context(|| format!("{} to the node port of {node}", from.name()))?;
            }
        }
    }
    Ok(())
}

fn everything_works_with_strict_reverse_path_filters(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    for node in [&pair.alice, &pair.bob] {
        node.shell("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >$f; done")?;
    }
    give_switch_the_world(&pair)?;
    all_pods_talk(&pair)?;
    every_service_works(&pair)?;
    let canary = Canary::new()?;
    reach(&pair.client, lab.switch(), WORLD_V4.parse()?, &canary).map(drop)
}

/// As Docker leaves a host: what nobody accepts is dropped.
fn accepts_go_into_a_forward_chain_that_drops(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    for node in [&pair.alice, &pair.bob] {
        node.shell("iptables -w -P FORWARD DROP; ip6tables -w -P FORWARD DROP")?;
        sotto_tests::wait::until("the accepts", Duration::from_secs(3), || {
            let accepts = "test $(iptables -S FORWARD | grep -c sotto) = 4
                test $(ip6tables -S FORWARD | grep -c sotto) = 4";
            node.shell(accepts).is_ok()
        })?;
    }
    all_pods_talk(&pair)
}

fn a_resolver_on_a_link_local_address_of_the_node_is_reached(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    pair.alice.shell("ip address add 169.254.20.10/32 dev lo")?;

    let canary = Canary::new()?;
    reach(&pair.client, &pair.alice, "169.254.20.10".parse()?, &canary).map(drop)
}

/// A full connection table must not stop the tunnel.
fn the_tunnel_needs_no_tracked_connections(lab: &Lab) -> Result<()> {
    let pair = Pair::new(lab)?;
    all_pods_talk(&pair)?;

    for node in [&pair.alice, &pair.bob] {
        let tracked = node.shell("conntrack -L 2>/dev/null | grep -c port=51820 || true")?;
        ensure!(
            tracked.trim() == "0",
            "{} tracks {tracked} flows",
            node.name()
        );
        let pods = node.shell("conntrack -L 2>/dev/null | grep -c 10.244 || true")?;
        ensure!(pods.trim() != "0", "{} tracks nothing at all", node.name());
    }
    Ok(())
}

/// Forwarding makes the kernel deaf to advertisements, and the default route would go.
fn an_uplink_keeps_listening_to_router_advertisements(lab: &Lab) -> Result<()> {
    let controller = lab.controller()?;
    let _running = controller.start()?;
    let alice = lab.node("alice")?;
    alice.shell("sysctl -qw net.ipv6.conf.eth0.accept_ra=1")?;
    super::pair::enrol(&alice, &controller)?;
    let _daemon = alice.start(&sotto_tests::lab::DaemonSettings::default())?;

    let value = alice.shell("cat /proc/sys/net/ipv6/conf/eth0/accept_ra")?;
    ensure!(value.trim() == "2", "accept_ra is {value}");
    let forwarding = alice.shell("cat /proc/sys/net/ipv6/conf/all/forwarding")?;
    ensure!(forwarding.trim() == "1", "forwarding is {forwarding}");
    Ok(())
}
