//! Packets and frames as a hostile pod or neighbour makes them: any protocol, any option.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use sotto_tests::lab::Place;

/// UDP's protocol number.
pub(super) const UDP: u8 = 17;

/// Makes an IP packet; `options` go into an IPv4 header as they are.
pub(super) fn packet(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    options: &[u8],
    payload: &[u8],
) -> Result<Vec<u8>> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            v4(source, destination, protocol, options, payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => v6(source, destination, protocol, payload),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            bail!("a packet from {source} to {destination}")
        }
    }
}

/// Makes a UDP datagram without a checksum, which a guard does not look at.
pub(super) fn datagram(port: u16, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(payload.len() + 8)?;
    let mut bytes = Vec::new();
    for field in [port, port, length, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(payload);
    Ok(bytes)
}

fn v4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    options: &[u8],
    payload: &[u8],
) -> Result<Vec<u8>> {
    let words = u8::try_from(5 + options.len() / 4)?;
    let length = u16::try_from(20 + options.len() + payload.len())?;
    let mut bytes = vec![0x40 | words, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 7, 0, 0, 64, protocol, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(options);
    let sum = checksum(&bytes);
    bytes
        .get_mut(10..12)
        .context("a short header")?
        .copy_from_slice(&sum.to_be_bytes());
    bytes.extend(payload);
    Ok(bytes)
}

fn v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(u16::try_from(payload.len())?.to_be_bytes());
    bytes.extend([protocol, 64]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(payload);
    Ok(bytes)
}

/// The Internet checksum (RFC 1071) of a header of whole words.
fn checksum(header: &[u8]) -> u16 {
    let (pairs, _) = header.as_chunks::<2>();
    let mut sum: u32 = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// Sends whole Ethernet frames by a link of a place.
pub(super) fn send_frames(from: &Place, link: &str, frames: &[Vec<u8>]) -> Result<()> {
    from.inside(|| {
        let address = link_address(link)?;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::empty(),
            None,
        )?;
        for frame in frames {
            sendto(socket.as_raw_fd(), frame, &address, MsgFlags::empty())?;
        }
        Ok(())
    })
}

fn link_address(link: &str) -> Result<LinkAddr> {
    let links = nix::ifaddrs::getifaddrs()?.filter(|found| found.interface_name == link);
    links
        .filter_map(|found| found.address?.as_link_addr().copied())
        .next()
        .with_context(|| format!("no link {link}"))
}

/// An Ethernet frame.
pub(super) fn frame(to: [u8; 6], from: [u8; 6], kind: u16, body: &[u8]) -> Vec<u8> {
    [&to[..], &from[..], &kind.to_be_bytes(), body].concat()
}

/// A link's own hardware address.
pub(super) fn hardware_address(place: &Place, link: &str) -> Result<[u8; 6]> {
    let text = place.run("ip", &["-o", "link", "show", link])?;
    parse_after(&text, "link/ether")
}

/// The hardware address that a place has for a neighbour.
pub(super) fn neighbour_address(place: &Place, neighbour: &str) -> Result<[u8; 6]> {
    let text = place.run("ip", &["neigh", "show", neighbour])?;
    parse_after(&text, "lladdr")
}

fn parse_after(text: &str, word: &str) -> Result<[u8; 6]> {
    let mut words = text.split_whitespace().skip_while(|found| *found != word);
    let address = words
        .nth(1)
        .with_context(|| format!("no {word} in {text}"))?;
    let bytes = address.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
    bytes
        .try_into()
        .map_err(|_| anyhow::anyhow!("{address} is no hardware address"))
}
