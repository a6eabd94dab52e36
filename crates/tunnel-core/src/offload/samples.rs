//! Packets for the tests of the splitter, the coalescer and the lane.

use crate::offload::SegmentKind;
use crate::offload::checksum::pseudo_header;
use crate::offload::vnet::Offload;

pub(crate) const ALL_KINDS: [SegmentKind; 4] = [
    SegmentKind::Tcp4,
    SegmentKind::Tcp6,
    SegmentKind::Udp4,
    SegmentKind::Udp6,
];

/// A TCP or UDP packet of pod 2 of node `from` to pod 2 of node `to`.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) kind: SegmentKind,
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) port: u16,
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Sample {
    pub(crate) fn new(kind: SegmentKind, payload: Vec<u8>) -> Sample {
        Sample {
            kind,
            from: 0,
            to: 1,
            port: 4001,
            flags: 0x18,
            sequence: 0xffff_f000,
            options: vec![1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
            payload,
        }
    }

    pub(crate) fn headers(&self) -> usize {
        self.start()
            + if self.kind.is_tcp() {
                20 + self.options.len()
            } else {
                8
            }
    }

    pub(crate) fn start(&self) -> usize {
        if self.kind.is_ipv4() { 20 } else { 40 }
    }

    /// The packet with its checksums complete, as a wire has it.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut packet = self.partial();
        let at = self.start() + self.kind.checksum_offset();
        packet[at..at + 2].fill(0);
        let sum = slow_sum(&self.pseudo_header(&packet), &packet[self.start()..]);
        let checksum = if sum == 0xffff && !self.kind.is_tcp() {
            0xffff
        } else {
            !sum
        };
        packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    /// The packet as the tun gives a super-packet: the pseudo-header's sum in the checksum's place.
    pub(crate) fn partial(&self) -> Vec<u8> {
        let start = self.start();
        let mut packet = self.network_header();
        packet.extend(self.transport_header());
        packet.extend(&self.payload);
        let sum = pseudo_header(&packet, self.kind, packet.len() - start).unwrap();
        let at = start + self.kind.checksum_offset();
        packet[at..at + 2].copy_from_slice(&sum.fold());
        packet
    }

    /// The frame that the tun gives: a super-packet to be cut after each `size` bytes.
    pub(crate) fn super_frame(&self, size: u16) -> Vec<u8> {
        let offload = Offload::Segment {
            kind: self.kind,
            size,
            start: self.start() as u16,
        };
        [
            offload.encode(self.headers() as u16).as_slice(),
            &self.partial(),
        ]
        .concat()
    }

    /// The frame that the tun gives for a packet that is complete.
    pub(crate) fn frame(&self) -> Vec<u8> {
        [Offload::None.encode(0).as_slice(), &self.packet()].concat()
    }

    fn network_header(&self) -> Vec<u8> {
        let length = self.headers() + self.payload.len();
        let protocol = self.kind.protocol();
        if self.kind.is_ipv4() {
            let mut header = vec![0x45, 2];
            header.extend((length as u16).to_be_bytes());
            header.extend([0xff, 0xfe, 0x40, 0, 63, protocol, 0, 0]);
            header.extend([10, 244, self.from, 2, 10, 244, self.to, 2]);
            let checksum = !slow_sum(&[], &header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            header
        } else {
            let mut header = vec![0x60, 0x21, 2, 3];
            header.extend(((length - 40) as u16).to_be_bytes());
            header.extend([protocol, 63]);
            for node in [self.from, self.to] {
                header.extend([0xfd, 0, 0, 0x10, 2, 0x44, 0, node, 0, 0, 0, 0, 0, 0, 0, 2]);
            }
            header
        }
    }

    fn transport_header(&self) -> Vec<u8> {
        let mut header = vec![0x1f, 0x90];
        header.extend(self.port.to_be_bytes());
        if self.kind.is_tcp() {
            header.extend(self.sequence.to_be_bytes());
            header.extend([9, 8, 7, 6]);
            header.extend([(((20 + self.options.len()) / 4) << 4) as u8, self.flags]);
            header.extend([1, 0xf5, 0, 0, 0, 0]);
            header.extend(&self.options);
        } else {
            header.extend(((self.payload.len() + 8) as u16).to_be_bytes());
            header.extend([0, 0]);
        }
        header
    }

    fn pseudo_header(&self, packet: &[u8]) -> Vec<u8> {
        let addresses = if self.kind.is_ipv4() {
            &packet[12..20]
        } else {
            &packet[8..40]
        };
        let length = (packet.len() - self.start()) as u16;
        [addresses, &[0, self.kind.protocol()], &length.to_be_bytes()].concat()
    }
}

/// Whether all checksums of a packet are right, by the slow sum.
pub(crate) fn checksums_are_right(packet: &[u8], kind: SegmentKind) -> bool {
    let start = if kind.is_ipv4() { 20 } else { 40 };
    let addresses = if kind.is_ipv4() {
        &packet[12..20]
    } else {
        &packet[8..40]
    };
    let length = (packet.len() - start) as u16;
    let pseudo = [addresses, &[0, kind.protocol()], &length.to_be_bytes()].concat();
    let network = !kind.is_ipv4() || slow_sum(&[], &packet[..20]) == 0xffff;
    network && slow_sum(&pseudo, &packet[start..]) == 0xffff
}

/// The Internet checksum's sum as RFC 1071 writes it, in network order. `first` has even length.
pub(crate) fn slow_sum(first: &[u8], then: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in first.chunks(2).chain(then.chunks(2)) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        sum += u32::from(word);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
