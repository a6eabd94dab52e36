//! What a capture of the underlay held, by kind: the tunnel, the machines' own neighbour
//! discovery, and everything else, which should not be there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::pcap::Packet;
use crate::kubernetes;
use crate::lab::TUNNEL_PORT;

/// Lanes a lab's node may have at most.
const LANES: u16 = 8;

/// The kinds of packets in a capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wire {
    /// UDP between tunnel ports, by the message type of WireGuard (0 where there is none).
    pub tunnel: BTreeMap<u8, u64>,
    /// Bytes of UDP payload between tunnel ports.
    pub tunnel_bytes: u64,
    /// Receiver indexes that data messages carried without the sending lane's byte.
    pub indexes: BTreeSet<u32>,
    /// ARP, neighbour discovery, multicast listener reports.
    pub neighbours: u64,
    /// ICMP errors between machines about a tunnel datagram, of which they quote the beginning.
    pub tunnel_errors: u64,
    /// TLS of daemons and the controller with the API server, where there is one.
    pub api: u64,
    /// Everything else, described, with its number.
    pub other: BTreeMap<String, u64>,
}

impl Wire {
    /// Packets of the tunnel.
    pub fn tunnel_packets(&self) -> u64 {
        self.tunnel.values().sum()
    }
}

/// A UDP datagram inside an IP packet.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// From which port.
    pub source_port: u16,
    /// To which port.
    pub destination_port: u16,
    /// What it carries.
    pub payload: &'a [u8],
}

impl Packet {
    /// The UDP datagram that the packet is, if it is a whole one.
    pub fn datagram(&self) -> Option<Datagram<'_>> {
        let ip = ip(self)?;
        if ip.protocol != 17 || ip.fragment {
            return None;
        }
        let (header, rest) = ip.payload.split_first_chunk::<8>()?;
        let [s1, s0, d1, d0, l1, l0, ..] = *header;
        let length = usize::from(u16::from_be_bytes([l1, l0])).checked_sub(8)?;
        Some(Datagram {
            source: ip.source,
            destination: ip.destination,
            source_port: u16::from_be_bytes([s1, s0]),
            destination_port: u16::from_be_bytes([d1, d0]),
            payload: rest.get(..length)?,
        })
    }

    /// What a TCP segment carries.
    pub fn tcp_payload(&self) -> Option<&[u8]> {
        let ip = ip(self)?;
        if ip.protocol != 6 || ip.fragment {
            return None;
        }
        let header = usize::from(ip.payload.get(12)? >> 4) * 4;
        ip.payload.get(header..)
    }

    /// The datagram, if it goes from a tunnel port to a tunnel port.
    pub fn tunnel_datagram(&self) -> Option<Datagram<'_>> {
        self.datagram()
            .filter(|udp| is_tunnel_port(udp.source_port) && is_tunnel_port(udp.destination_port))
    }
}

pub(super) fn classify(packets: &[Packet]) -> Result<Wire> {
    let mut wire = Wire::default();
    for packet in packets {
        if let Some(udp) = packet.tunnel_datagram() {
            let kind = udp.payload.first().copied().unwrap_or(0);
            *wire.tunnel.entry(kind).or_default() += 1;
            wire.tunnel_bytes += u64::try_from(udp.payload.len())?;
            if let (4, Some(index)) = (kind, udp.payload.get(4..8)) {
                let index = u32::from_le_bytes(index.try_into()?);
                if index >> 31 == 1 {
                    wire.indexes.insert(index >> 8);
                }
            }
        } else if is_about_the_tunnel(packet) {
            wire.tunnel_errors += 1;
        } else if is_neighbours(packet) {
            wire.neighbours += 1;
        } else if is_with_the_api_server(packet) {
            wire.api += 1;
        } else {
            *wire.other.entry(describe(packet)).or_default() += 1;
        }
    }
    Ok(wire)
}

fn is_tunnel_port(port: u16) -> bool {
    (TUNNEL_PORT..TUNNEL_PORT + LANES).contains(&port)
}

struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    fragment: bool,
    payload: &'a [u8],
}

fn ip(packet: &Packet) -> Option<Ip<'_>> {
    let body = packet.body();
    match packet.kind {
        0x0800 => {
            let header = body.first_chunk::<20>()?;
            let [first, _, l1, l0, _, _, f1, f0, _, protocol, _, _, rest @ ..] = *header;
            let [s0, s1, s2, s3, d0, d1, d2, d3] = rest;
            let total = usize::from(u16::from_be_bytes([l1, l0]));
            Some(Ip {
                source: Ipv4Addr::new(s0, s1, s2, s3).into(),
                destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
                protocol,
                fragment: u16::from_be_bytes([f1, f0]) & 0x3fff != 0,
                payload: body.get(usize::from(first & 15) * 4..total)?,
            })
        }
        0x86dd => {
            let source: [u8; 16] = body.get(8..24)?.try_into().ok()?;
            let destination: [u8; 16] = body.get(24..40)?.try_into().ok()?;
            let protocol = *body.get(6)?;
            Some(Ip {
                source: Ipv6Addr::from(source).into(),
                destination: Ipv6Addr::from(destination).into(),
                protocol,
                fragment: protocol == 44,
                payload: body.get(40..)?,
            })
        }
        _ => None,
    }
}

/// Types 133 to 137 and 130 to 132, 143 of ICMPv6 (RFC 4861, RFC 2710, RFC 3810), and ARP.
fn is_neighbours(packet: &Packet) -> bool {
    if packet.kind == 0x0806 {
        return true;
    }
    let Some(ip) = ip(packet) else { return false };
    // Multicast listener reports come behind a hop-by-hop header of 8 bytes.
    let icmp = match (ip.protocol, packet.kind) {
        (58, 0x86dd) => ip.payload,
        (0, 0x86dd) if ip.payload.first() == Some(&58) => ip.payload.get(8..).unwrap_or_default(),
        _ => return false,
    };
    matches!(icmp.first(), Some(130..=137 | 143))
}

/// Destination unreachable and the like (RFC 792, RFC 4443), quoting a datagram of the tunnel.
fn is_about_the_tunnel(packet: &Packet) -> bool {
    let Some(ip) = ip(packet) else { return false };
    let is_error = match (ip.protocol, ip.payload.first()) {
        (1, Some(kind)) => matches!(kind, 3 | 11 | 12),
        (58, Some(kind)) => *kind < 128,
        _ => false,
    };
    let quoted = ip.payload.get(8..).unwrap_or_default();
    // The quote may be cut short, so only its headers are looked at.
    let udp = match packet.kind {
        0x0800 if quoted.get(9) == Some(&17) => quoted.get(20..24),
        0x86dd if quoted.get(6) == Some(&17) => quoted.get(40..44),
        _ => None,
    };
    let Some([s1, s0, d1, d0]) = udp else {
        return false;
    };
    let ports = [
        u16::from_be_bytes([*s1, *s0]),
        u16::from_be_bytes([*d1, *d0]),
    ];
    is_error && ports.into_iter().all(is_tunnel_port)
}

/// TCP to or from the one port of the one machine.
fn is_with_the_api_server(packet: &Packet) -> bool {
    let Some(ip) = ip(packet) else { return false };
    let [s1, s0, d1, d0, ..] = ip.payload else {
        return false;
    };
    let ends = [
        (ip.source, u16::from_be_bytes([*s1, *s0])),
        (ip.destination, u16::from_be_bytes([*d1, *d0])),
    ];
    ip.protocol == 6
        && ends.iter().any(|(address, port)| {
            address.to_string() == kubernetes::ADDRESS && port.to_string() == kubernetes::PORT
        })
}

fn describe(packet: &Packet) -> String {
    let Some(ip) = ip(packet) else {
        return format!("Ethernet type {:#06x}", packet.kind);
    };
    let protocol = match ip.protocol {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        number => format!("protocol {number}"),
    };
    let ports = ports(&ip);
    let fragment = if ip.fragment { " fragment" } else { "" };
    format!(
        "{protocol}{fragment} {} -> {}{ports}",
        ip.source, ip.destination
    )
}

fn ports(ip: &Ip<'_>) -> String {
    match (ip.protocol, ip.payload) {
        (6 | 17, [_, _, high, low, ..]) if !ip.fragment => {
            format!(" port {}", u16::from_be_bytes([*high, *low]))
        }
        (1 | 58, [kind, ..]) => format!(" type {kind}"),
        _ => String::new(),
    }
}
