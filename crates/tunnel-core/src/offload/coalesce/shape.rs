//! What the coalescer has to know of one packet.

use std::ops::Range;

use super::identification;
use crate::bytes::{be16, be32, field};
use crate::offload::{
    PROTOCOL_TCP, PROTOCOL_UDP, SegmentKind, TCP_DATA_OFFSET, TCP_FLAGS, TCP_HEADER, UDP_CHECKSUM,
    UDP_HEADER, tcp_flag,
};
use crate::packet::{IPV4_HEADER, IPV6_HEADER};

/// A TCP or UDP packet that is no fragment and has no IP options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: SegmentKind,
    /// Where the transport header starts.
    pub(super) start: usize,
    /// Length of IP and transport header.
    pub(super) headers: usize,
    pub(super) payload: usize,
    /// Plain data, that a group may end with.
    pub(super) may_join: bool,
    /// Plain data, after which a group may go on.
    pub(super) may_grow: bool,
    pub(super) push: bool,
}

impl Shape {
    pub(super) fn parse(packet: &[u8]) -> Option<Shape> {
        let (kind, start) = network(packet)?;
        if kind.is_tcp() {
            tcp(packet, kind, start)
        } else {
            udp(packet, kind, start)
        }
    }

    pub(super) fn same_addresses_and_ports(self, first: &[u8], packet: &[u8]) -> bool {
        let addresses = if self.kind.is_ipv4() {
            12..IPV4_HEADER
        } else {
            8..IPV6_HEADER
        };
        same(first, packet, addresses) && same(first, packet, self.start..self.start + 4)
    }

    /// Whether `packet` is what comes out when a group of `count` segments with `payload` bytes,
    /// whose first one is `first`, goes on by one segment.
    pub(super) fn continues(
        self,
        first_shape: Shape,
        payload: usize,
        count: usize,
        first: &[u8],
        packet: &[u8],
    ) -> bool {
        let network = if self.kind.is_ipv4() {
            // Service and ECN; flags, time to live and protocol.
            same(first, packet, 0..2)
                && same(first, packet, 6..10)
                && ids_continue(first, packet, count)
        } else {
            // Class and flow label; next header and hop limit.
            same(first, packet, 0..4) && same(first, packet, 6..8)
        };
        network && (!self.kind.is_tcp() || self.tcp_continues(first_shape, payload, first, packet))
    }

    fn tcp_continues(
        self,
        first_shape: Shape,
        payload: usize,
        first: &[u8],
        packet: &[u8],
    ) -> bool {
        let start = self.start;
        let sequence = |packet: &[u8]| be32(packet, start + 4);
        let expected = sequence(first).map(|first| first.wrapping_add(payload as u32));
        sequence(packet) == expected
            // Acknowledgement and header length; window; urgent pointer and options.
            && same(first, packet, start + 8..start + 13)
            && same(first, packet, start + 14..start + 16)
            && same(first, packet, start + 18..first_shape.headers)
    }
}

fn network(packet: &[u8]) -> Option<(SegmentKind, usize)> {
    let [first] = field(packet, 0)?;
    let (protocol, tcp, udp, start) = match first {
        0x45 if be16(packet, 6)? & 0x3fff == 0 => (
            field(packet, 9)?,
            SegmentKind::Tcp4,
            SegmentKind::Udp4,
            IPV4_HEADER,
        ),
        0x60..=0x6f => (
            field(packet, 6)?,
            SegmentKind::Tcp6,
            SegmentKind::Udp6,
            IPV6_HEADER,
        ),
        _ => return None,
    };
    match protocol {
        [PROTOCOL_TCP] => Some((tcp, start)),
        [PROTOCOL_UDP] => Some((udp, start)),
        _ => None,
    }
}

fn tcp(packet: &[u8], kind: SegmentKind, start: usize) -> Option<Shape> {
    let [offset] = field(packet, start + TCP_DATA_OFFSET)?;
    let [flags] = field(packet, start + TCP_FLAGS)?;
    let header = usize::from(offset >> 4) * 4;
    if header < TCP_HEADER {
        return None;
    }
    let headers = start + header;
    let payload = packet.len().checked_sub(headers)?;
    let push = flags & tcp_flag::PSH != 0;
    let plain = flags & !tcp_flag::PSH == tcp_flag::ACK && payload > 0;
    Some(Shape {
        kind,
        start,
        headers,
        payload,
        may_join: plain,
        may_grow: plain && !push,
        push,
    })
}

fn udp(packet: &[u8], kind: SegmentKind, start: usize) -> Option<Shape> {
    let headers = start + UDP_HEADER;
    let payload = packet.len().checked_sub(headers)?;
    if usize::from(be16(packet, start + 4)?) != payload + UDP_HEADER {
        return None;
    }
    let plain = payload > 0 && be16(packet, start + UDP_CHECKSUM)? != 0;
    Some(Shape {
        kind,
        start,
        headers,
        payload,
        may_join: plain,
        may_grow: plain,
        push: false,
    })
}

/// The kernel numbers what it cuts; where a packet may not be fragmented the number is not used.
fn ids_continue(first: &[u8], packet: &[u8], count: usize) -> bool {
    identification(first)
        .zip(identification(packet))
        .is_some_and(|((first, unfragmented), (id, _))| {
            unfragmented || id == first.wrapping_add(count as u16)
        })
}

fn same(a: &[u8], b: &[u8], range: Range<usize>) -> bool {
    a.get(range.clone())
        .is_some_and(|a| b.get(range) == Some(a))
}
