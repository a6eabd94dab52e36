//! Inner packets: what a pod sent, or what came out of a tunnel, and where it goes.
//!
//! Parsing is total: every byte string gives a packet or a reason to drop it. Nothing is changed
//! here (`crate::offload` does that), and nothing is decided by the payload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bytes::{be16, field};
use crate::drop_reason::DropReason;
use crate::owner::{Owner, OwnerTable};
use crate::plane::PeerIndex;

/// Length of an IPv4 header without options.
pub(crate) const IPV4_HEADER: usize = 20;

/// Length of an IPv6 header without extensions.
pub(crate) const IPV6_HEADER: usize = 40;

/// Plaintext is padded to a multiple of this, so that sizes tell a listener less.
pub(crate) const PADDING: usize = 16;

/// Largest inner packet that travels in one message, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtu(pub u16);

/// The header of an inner packet, as far as a verdict needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerPacket {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Length that the header claims, header included; not above what was there.
    pub length: usize,
}

impl InnerPacket {
    /// Reads a packet that came out of the tun: the bytes are the packet, no more and no less.
    ///
    /// # Errors
    /// The bytes are no packet; the reason says why.
    pub fn parse(bytes: &[u8]) -> Result<InnerPacket, DropReason> {
        let packet = InnerPacket::parse_header(bytes)?;
        if packet.length != bytes.len() {
            return Err(DropReason::LengthMismatch);
        }
        Ok(packet)
    }

    /// Reads a packet that came out of a tunnel: fewer than 16 bytes of zero may follow it.
    ///
    /// # Errors
    /// The bytes are no packet; the reason says why.
    pub fn parse_padded(bytes: &[u8]) -> Result<InnerPacket, DropReason> {
        let packet = InnerPacket::parse_header(bytes)?;
        let padding = bytes
            .get(packet.length..)
            .ok_or(DropReason::LengthMismatch)?;
        if padding.len() >= PADDING || padding.iter().any(|byte| *byte != 0) {
            return Err(DropReason::LengthMismatch);
        }
        Ok(packet)
    }

    fn parse_header(bytes: &[u8]) -> Result<InnerPacket, DropReason> {
        let header = match bytes.first().map(|first| first >> 4) {
            Some(4) => parse_ipv4(bytes),
            Some(6) => parse_ipv6(bytes),
            Some(_) | None => None,
        };
        let header = header.ok_or(DropReason::MalformedPacket)?;
        if header.packet.length < header.length || header.packet.length > bytes.len() {
            return Err(DropReason::LengthMismatch);
        }
        if header.hop_limit == 0 {
            return Err(DropReason::ZeroHopLimit);
        }
        Ok(header.packet)
    }

    /// Where a packet from this node's pods goes: to a peer, or nowhere.
    pub fn route_outbound(&self, owners: &OwnerTable) -> Verdict {
        let peer = match owners.owner(self.destination) {
            Some(Owner::Peer(peer)) => peer,
            Some(Owner::Service) => return Verdict::Drop(DropReason::UntranslatedService),
            Some(Owner::Own) => return Verdict::Drop(DropReason::DestinationOwn),
            None => return Verdict::Drop(DropReason::NoOwner),
        };
        if owners.owner(self.source) != Some(Owner::Own) {
            return Verdict::Drop(DropReason::SourceNotOwn);
        }
        Verdict::ToPeer(peer)
    }

    /// Where a packet goes that the peer's key opened: to this node's pods, or nowhere.
    pub fn route_inbound(&self, owners: &OwnerTable, from: PeerIndex) -> Verdict {
        if owners.owner(self.source) != Some(Owner::Peer(from)) {
            return Verdict::Drop(DropReason::SourceNotPeers);
        }
        if owners.owner(self.destination) != Some(Owner::Own) {
            return Verdict::Drop(DropReason::DestinationNotOwn);
        }
        Verdict::ToLocal
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Through the tunnel to this peer.
    ToPeer(PeerIndex),
    /// Into the tun, to a pod of this node.
    ToLocal,
    /// Nowhere.
    Drop(DropReason),
}

struct Header {
    packet: InnerPacket,
    length: usize,
    hop_limit: u8,
}

fn parse_ipv4(bytes: &[u8]) -> Option<Header> {
    let [first] = field(bytes, 0)?;
    let length = usize::from(first & 0x0f) * 4;
    if length < IPV4_HEADER || length > bytes.len() {
        return None;
    }
    let [hop_limit] = field(bytes, 8)?;
    let packet = InnerPacket {
        source: Ipv4Addr::from(field::<4>(bytes, 12)?).into(),
        destination: Ipv4Addr::from(field::<4>(bytes, 16)?).into(),
        length: be16(bytes, 2)?.into(),
    };
    Some(Header {
        packet,
        length,
        hop_limit,
    })
}

fn parse_ipv6(bytes: &[u8]) -> Option<Header> {
    let [hop_limit] = field(bytes, 7)?;
    let packet = InnerPacket {
        source: Ipv6Addr::from(field::<16>(bytes, 8)?).into(),
        destination: Ipv6Addr::from(field::<16>(bytes, 24)?).into(),
        length: IPV6_HEADER + usize::from(be16(bytes, 4)?),
    };
    Some(Header {
        packet,
        length: IPV6_HEADER,
        hop_limit,
    })
}

#[cfg(test)]
mod tests;
