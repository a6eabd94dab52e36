//! Cuts a super-packet into segments that fit a message each, and completes checksums.
//!
//! One segment at a time is written straight to where it will be sealed; the super-packet is never
//! copied as a whole. Lengths come from the packet's own headers, never from the tun's hint.

use crate::bytes::{be16, be32, field, put};
use crate::drop_reason::DropReason;
use crate::offload::checksum::{self, Sum};
use crate::offload::vnet::Offload;
use crate::offload::{SegmentKind, TCP_DATA_OFFSET, TCP_FLAGS, TCP_HEADER, UDP_HEADER, tcp_flag};
use crate::packet::{IPV4_HEADER, IPV6_HEADER};

/// The segments of one packet, written one after the other.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    packet: &'a [u8],
    offload: Offload,
    /// Length of IP and transport header, repeated in each segment.
    headers: usize,
    /// Payload of each segment but the last.
    size: usize,
    /// Payload that was written already.
    written: usize,
    index: u16,
    done: bool,
}

impl<'a> Segments<'a> {
    /// Takes a packet, as the tun gave it, apart. The packet's length has been checked.
    ///
    /// # Errors
    /// What the tun asks for contradicts the packet.
    pub fn new(offload: Offload, packet: &'a [u8]) -> Result<Segments<'a>, DropReason> {
        let (headers, size) = match offload {
            Offload::None => (packet.len(), 0),
            Offload::Checksum { start, offset } => {
                check_checksum(packet, start.into(), offset.into())?;
                (packet.len(), 0)
            }
            Offload::Segment { kind, size, start } => {
                (headers(packet, kind, start.into())?, size.into())
            }
        };
        Ok(Segments {
            packet,
            offload,
            headers,
            size,
            written: 0,
            index: 0,
            done: false,
        })
    }

    /// Length of the next segment, headers included.
    pub fn next_length(&self) -> Option<usize> {
        (!self.done).then(|| self.headers + self.left().min(self.size))
    }

    /// Length of the longest segment.
    pub fn longest(&self) -> usize {
        self.packet.len().min(self.headers + self.size)
    }

    /// Writes the next segment into exactly `next_length` bytes; false if they are not.
    pub fn write_next(&mut self, segment: &mut [u8]) -> bool {
        if self.next_length() != Some(segment.len()) {
            return false;
        }
        self.write(segment).is_some()
    }

    fn left(&self) -> usize {
        self.packet.len() - self.headers - self.written
    }

    fn write(&mut self, segment: &mut [u8]) -> Option<()> {
        let (headers, payload) = segment.split_at_mut_checked(self.headers)?;
        headers.copy_from_slice(self.packet.get(..self.headers)?);
        let from = self.headers + self.written;
        payload.copy_from_slice(self.packet.get(from..from + payload.len())?);
        let last = self.left() <= self.size;
        match self.offload {
            Offload::None => {}
            Offload::Checksum { start, offset } => {
                complete(segment, start.into(), offset.into())?;
            }
            Offload::Segment { kind, start, .. } => {
                self.fix_network_header(segment, kind, start.into())?;
                self.fix_transport_header(segment, kind, start.into(), last)?;
                checksum::write_transport(segment, kind, start.into())?;
            }
        }
        self.written = self.written.saturating_add(self.size);
        self.index = self.index.wrapping_add(1);
        self.done = last;
        Some(())
    }

    fn fix_network_header(
        &self,
        segment: &mut [u8],
        kind: SegmentKind,
        start: usize,
    ) -> Option<()> {
        if kind.is_ipv4() {
            let id = be16(self.packet, 4)?.wrapping_add(self.index);
            put(segment, 2, u16::try_from(segment.len()).ok()?.to_be_bytes())?;
            put(segment, 4, id.to_be_bytes())?;
            checksum::write_ipv4_header(segment, start)
        } else {
            let length = u16::try_from(segment.len() - IPV6_HEADER).ok()?;
            put(segment, 4, length.to_be_bytes())
        }
    }

    fn fix_transport_header(
        &self,
        segment: &mut [u8],
        kind: SegmentKind,
        start: usize,
        last: bool,
    ) -> Option<()> {
        if !kind.is_tcp() {
            let length = u16::try_from(segment.len() - start).ok()?;
            return put(segment, start + 4, length.to_be_bytes());
        }
        let sequence = be32(self.packet, start + 4)?.wrapping_add(self.written as u32);
        put(segment, start + 4, sequence.to_be_bytes())?;
        let [mut flags] = field(self.packet, start + TCP_FLAGS)?;
        if !last {
            flags &= !(tcp_flag::FIN | tcp_flag::PSH);
        }
        if self.index > 0 {
            flags &= !tcp_flag::CWR;
        }
        put(segment, start + TCP_FLAGS, [flags])
    }
}

/// Where the IP header ends at the earliest.
fn network_header(packet: &[u8]) -> Option<usize> {
    let [first] = field(packet, 0)?;
    match first >> 4 {
        4 => Some((usize::from(first & 0x0f) * 4).max(IPV4_HEADER)),
        6 => Some(IPV6_HEADER),
        _ => None,
    }
}

/// A checksum inside the IP header would change addresses after they were judged.
fn check_checksum(packet: &[u8], start: usize, offset: usize) -> Result<(), DropReason> {
    let outside = network_header(packet).is_some_and(|header| start >= header);
    if outside && start + offset + 2 <= packet.len() {
        Ok(())
    } else {
        Err(DropReason::BadVnetHeader)
    }
}

/// The sum so far, of the pseudo-header, stands in the checksum's place.
fn complete(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let sum = Sum::default().with(packet.get(start..)?);
    put(
        packet,
        start + offset,
        checksum::checksum_field(sum, offset),
    )
}

/// Length of IP and transport header of a super-packet.
fn headers(packet: &[u8], kind: SegmentKind, start: usize) -> Result<usize, DropReason> {
    let transport = if kind.is_tcp() {
        let [offset] = field(packet, start + TCP_DATA_OFFSET).ok_or(DropReason::BadVnetHeader)?;
        usize::from(offset >> 4) * 4
    } else {
        UDP_HEADER
    };
    let network = network_header(packet);
    let network_fits = match kind {
        SegmentKind::Tcp4 | SegmentKind::Udp4 => {
            let fragment = be16(packet, 6).is_none_or(|field| field & 0x3fff != 0);
            let protocol = field(packet, 9) == Some([kind.protocol()]);
            network == Some(start) && protocol && !fragment
        }
        SegmentKind::Tcp6 | SegmentKind::Udp6 => network.is_some_and(|least| start >= least),
    };
    let transport_fits = transport
        >= if kind.is_tcp() {
            TCP_HEADER
        } else {
            UDP_HEADER
        };
    if network_fits && transport_fits && start + transport <= packet.len() {
        Ok(start + transport)
    } else {
        Err(DropReason::BadVnetHeader)
    }
}

#[cfg(test)]
mod tests;
