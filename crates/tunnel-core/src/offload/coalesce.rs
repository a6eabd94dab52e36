//! Joins neighbouring segments of a flow to super-packets, without copying their payload.
//!
//! Packets stay where they were opened, in the receive buffer; a group is a list of pieces of it,
//! written with one `writev`. The first piece carries the tun's header in the bytes before the
//! packet, which the message header has left free. A packet joins only if the kernel, cutting the
//! super-packet again, would make the very same packet of it; everything else passes alone and
//! untouched. Packets of one flow keep their order.

mod shape;

use std::ops::Range;

use crate::bytes::{be16, field, put};
use crate::offload::checksum;
use crate::offload::vnet::{Offload, VNET_HEADER};
use crate::offload::{SegmentKind, TCP_FLAGS, tcp_flag};
use crate::packet::IPV6_HEADER;
use shape::Shape;

/// Longest super-packet: what an IPv4 length field holds.
const LONGEST: usize = u16::MAX as usize;

/// How many groups back a flow is looked for. A batch holds few flows at once; one that is further
/// back only misses a join.
const LOOK_BACK: usize = 8;

/// Most segments of a TCP group: stays below the 1024 pieces that one `writev` takes.
const TCP_SEGMENTS: usize = 512;

/// Most segments of a UDP group: the limit of kernels before 6.9 (`UDP_MAX_SEGMENTS`).
const UDP_SEGMENTS: usize = 64;

/// Whether the tun takes UDP super-packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpJoining {
    /// It does (Linux 6.2 and newer).
    Accepted,
    /// It does not: UDP packets are written one by one.
    Refused,
}

/// Groups the packets of one batch.
#[derive(Debug)]
pub struct Coalescer {
    udp: UdpJoining,
    groups: Vec<Group>,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Group {
    head: usize,
    tail: usize,
    /// The first packet.
    first: Range<usize>,
    shape: Option<Shape>,
    open: bool,
    /// The first packet's checksums were found right.
    verified: bool,
    count: usize,
    length: usize,
}

#[derive(Debug)]
struct Piece {
    range: Range<usize>,
    next: Option<usize>,
}

impl Coalescer {
    /// An empty one.
    pub fn new(udp: UdpJoining) -> Coalescer {
        Coalescer {
            udp,
            groups: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// Forgets the batch.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.pieces.clear();
    }

    /// Takes the next packet of the batch; at least 10 bytes before it are free.
    pub fn push(&mut self, batch: &[u8], packet: Range<usize>) {
        let shape = batch.get(packet.clone()).and_then(Shape::parse);
        if let Some(shape) = shape
            && self.join(batch, &packet, shape)
        {
            return;
        }
        self.start(packet, shape);
    }

    /// Writes the headers of the joined packets; afterwards `writes` are ready.
    pub fn finish(&mut self, batch: &mut [u8]) {
        for group in &self.groups {
            // Cannot fail, as every field lies inside a packet that was parsed; if it did, the
            // kernel would refuse the group.
            group.write_headers(batch);
        }
    }

    /// What is to be written to the tun: the pieces of each super-packet or packet.
    pub fn writes<'a>(
        &'a self,
        batch: &'a [u8],
    ) -> impl Iterator<Item = impl Iterator<Item = &'a [u8]>> {
        self.groups.iter().map(move |group| {
            let piece = |at: usize| self.pieces.get(at);
            std::iter::successors(piece(group.head), move |last| last.next.and_then(piece))
                .filter_map(|piece| batch.get(piece.range.clone()))
        })
    }

    fn start(&mut self, packet: Range<usize>, shape: Option<Shape>) {
        let start = packet.start.saturating_sub(VNET_HEADER);
        let head = self.pieces.len();
        self.pieces.push(Piece {
            range: start..packet.end,
            next: None,
        });
        self.groups.push(Group {
            head,
            tail: head,
            open: shape.is_some_and(|shape| shape.may_grow && self.takes(shape.kind)),
            length: packet.len(),
            first: packet,
            shape,
            verified: false,
            count: 1,
        });
    }

    fn takes(&self, kind: SegmentKind) -> bool {
        kind.is_tcp() || self.udp == UdpJoining::Accepted
    }

    /// Appends the packet to its flow's youngest group, if it continues that one. If not, it
    /// starts a younger one, so that the flow keeps its order.
    fn join(&mut self, batch: &[u8], packet: &Range<usize>, shape: Shape) -> bool {
        let Some(bytes) = batch.get(packet.clone()) else {
            return false;
        };
        let same_flow = |group: &&mut Group| group.is_same_flow(batch, bytes, shape);
        let Some(group) = self.groups.iter_mut().rev().take(LOOK_BACK).find(same_flow) else {
            return false;
        };
        if !group.takes(batch, bytes, shape) {
            return false;
        }
        let tail = self.pieces.len();
        self.pieces.push(Piece {
            range: packet.start + shape.headers..packet.end,
            next: None,
        });
        if let Some(piece) = self.pieces.get_mut(group.tail) {
            piece.next = Some(tail);
        }
        group.append(tail, shape);
        true
    }
}

impl Group {
    fn is_same_flow(&self, batch: &[u8], packet: &[u8], shape: Shape) -> bool {
        let first = batch.get(self.first.clone());
        self.shape.zip(first).is_some_and(|(own, first)| {
            own.kind == shape.kind
                && own.start == shape.start
                && shape.same_addresses_and_ports(first, packet)
        })
    }

    /// Whether the packet continues this group.
    fn takes(&mut self, batch: &[u8], packet: &[u8], shape: Shape) -> bool {
        let (Some(own), Some(first)) = (self.shape, batch.get(self.first.clone())) else {
            return false;
        };
        let payload = self.length - own.headers;
        let most = if own.kind.is_tcp() {
            TCP_SEGMENTS
        } else {
            UDP_SEGMENTS
        };
        let fits = self.open
            && shape.may_join
            && shape.headers == own.headers
            && shape.payload <= own.payload
            && self.count < most
            && self.length + shape.payload <= LONGEST
            && shape.continues(own, payload, self.count, first, packet);
        if !fits {
            return false;
        }
        self.verified = self.verified || checksum::is_right(first, own.kind, own.start);
        self.verified && checksum::is_right(packet, shape.kind, shape.start)
    }

    fn append(&mut self, tail: usize, shape: Shape) {
        self.tail = tail;
        self.count += 1;
        self.length += shape.payload;
        let full = self.shape.is_some_and(|own| own.payload == shape.payload);
        self.open = full && !shape.push;
        if let Some(own) = &mut self.shape {
            own.push |= shape.push;
        }
    }

    fn write_headers(&self, batch: &mut [u8]) -> Option<()> {
        let vnet = self.first.start.checked_sub(VNET_HEADER)?;
        let Some(shape) = self.shape.filter(|_| self.count > 1) else {
            return put(batch, vnet, Offload::None.encode(0));
        };
        let offload = Offload::Segment {
            kind: shape.kind,
            size: u16::try_from(shape.payload).ok()?,
            start: u16::try_from(shape.start).ok()?,
        };
        put(
            batch,
            vnet,
            offload.encode(u16::try_from(shape.headers).ok()?),
        )?;
        let packet = batch.get_mut(self.first.clone())?;
        let length = u16::try_from(self.length).ok()?;
        if shape.kind.is_ipv4() {
            put(packet, 2, length.to_be_bytes())?;
            checksum::write_ipv4_header(packet, shape.start)?;
        } else {
            let header = u16::try_from(IPV6_HEADER).ok()?;
            put(packet, 4, length.checked_sub(header)?.to_be_bytes())?;
        }
        let transport = self.length.checked_sub(shape.start)?;
        if shape.kind.is_tcp() {
            let [flags] = field(packet, shape.start + TCP_FLAGS)?;
            let push = if shape.push { tcp_flag::PSH } else { 0 };
            put(packet, shape.start + TCP_FLAGS, [flags | push])?;
        } else {
            put(
                packet,
                shape.start + 4,
                u16::try_from(transport).ok()?.to_be_bytes(),
            )?;
        }
        let sum = checksum::pseudo_header(packet, shape.kind, transport)?;
        put(
            packet,
            shape.start + shape.kind.checksum_offset(),
            sum.fold(),
        )
    }
}

/// The identification of an IPv4 packet, and whether it may not be fragmented.
fn identification(packet: &[u8]) -> Option<(u16, bool)> {
    Some((be16(packet, 4)?, be16(packet, 6)? & 0x4000 != 0))
}

#[cfg(test)]
mod tests;
