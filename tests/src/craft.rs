//! Packets that no kernel would make: spoofed sources, replayed and bent tunnel messages,
//! extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::capture::Packet;
use crate::lab::Place;

/// A UDP datagram to be written by hand.
#[derive(Debug, Clone)]
pub struct Forged<'a> {
    /// Claimed sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Content.
    pub payload: &'a [u8],
}

impl Forged<'_> {
    /// The whole IP packet.
    ///
    /// # Errors
    /// When the families differ or the payload is too long.
    pub fn packet(&self) -> Result<Vec<u8>> {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(source, destination, 17, &[])
            }
            (source, destination) => anyhow::bail!("{source} cannot send to {destination}"),
        }
    }

    /// The IPv6 packet with a destination-options header of padding before the datagram.
    ///
    /// # Errors
    /// When an address is IPv4.
    pub fn with_destination_options(&self) -> Result<Vec<u8>> {
        match (self.source.ip(), self.destination.ip()) {
            // Next header UDP, no further 8 bytes, PadN of 4 (RFC 8200 section 4.2).
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(source, destination, 60, &[17, 0, 1, 4, 0, 0, 0, 0])
            }
            (source, destination) => anyhow::bail!("{source} or {destination} is IPv4"),
        }
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Result<Vec<u8>> {
        let udp = self.udp(&[])?;
        let total = u16::try_from(20 + udp.len())?;
        let mut header = vec![0x45, 0];
        header.extend(total.to_be_bytes());
        header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        let sum = checksum(&header);
        put(&mut header, 10, sum);
        header.extend(udp);
        Ok(header)
    }

    fn ipv6(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        next: u8,
        extension: &[u8],
    ) -> Result<Vec<u8>> {
        let mut pseudo = source.octets().to_vec();
        pseudo.extend(destination.octets());
        let udp = self.udp(&pseudo)?;
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(u16::try_from(extension.len() + udp.len())?.to_be_bytes());
        packet.extend([next, 64]);
        packet.extend(pseudo);
        packet.extend(extension);
        packet.extend(udp);
        Ok(packet)
    }

    /// The datagram; without a checksum where there is no pseudo header, as IPv4 allows.
    fn udp(&self, pseudo: &[u8]) -> Result<Vec<u8>> {
        let length = u16::try_from(8 + self.payload.len())?;
        let mut udp = self.source.port().to_be_bytes().to_vec();
        udp.extend(self.destination.port().to_be_bytes());
        udp.extend(length.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(self.payload);
        if !pseudo.is_empty() {
            let mut covered = pseudo.to_vec();
            covered.extend(u32::from(length).to_be_bytes());
            covered.extend([0, 0, 0, 17]);
            covered.extend(&udp);
            let sum = checksum(&covered);
            put(&mut udp, 6, if sum == 0 { 0xffff } else { sum });
        }
        Ok(udp)
    }
}

/// Sends whole IP packets from a place.
///
/// # Errors
/// When the kernel refuses a socket or a packet.
pub fn send_raw(place: &Place, destination: IpAddr, packets: &[Vec<u8>]) -> Result<()> {
    /// With this protocol the kernel takes packets with their header (raw(7)).
    const WITH_HEADER: i32 = 255;
    let domain = if destination.is_ipv4() {
        Domain::IPV4
    } else {
        Domain::IPV6
    };
    let protocol = Some(Protocol::from(WITH_HEADER));
    let socket = place.inside(|| Ok(Socket::new(domain, Type::RAW, protocol)?))?;
    for packet in packets {
        socket
            .send_to(packet, &SocketAddr::new(destination, 0).into())
            .with_context(|| format!("send a forged packet from {}", place.name()))?;
    }
    Ok(())
}

/// A captured tunnel message over IPv4 with another payload, in the same Ethernet frame.
///
/// # Errors
/// When the packet is no IPv4 datagram.
pub fn bent(packet: &Packet, payload: &[u8]) -> Result<Vec<u8>> {
    let udp = packet.datagram().context("no datagram")?;
    redirected(packet, payload, udp.destination_port)
}

/// [`bent`] to another port.
///
/// # Errors
/// When the packet is no IPv4 datagram.
pub fn redirected(packet: &Packet, payload: &[u8], port: u16) -> Result<Vec<u8>> {
    let udp = packet.datagram().context("no datagram")?;
    let header = packet.frame.len() - packet.body().len();
    let mut frame = packet.frame.get(..header).unwrap_or_default().to_vec();
    let forged = Forged {
        source: SocketAddr::new(udp.source, udp.source_port),
        destination: SocketAddr::new(udp.destination, port),
        payload,
    };
    frame.extend(forged.packet()?);
    Ok(frame)
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
