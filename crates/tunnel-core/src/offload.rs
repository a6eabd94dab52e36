//! Super-packets: the tun hands over and takes up to 64 KiB at once, with a header that says how
//! to cut it. Going out they are split to segments (`split`), coming in neighbours are put
//! together again (`coalesce`); that is worth ten times the throughput of single packets.
//!
//! Checksums going out are completed here, as no hardware will; coming in they are verified
//! before packets are joined, because the kernel trusts a super-packet's.

pub mod checksum;
pub mod coalesce;
#[cfg(test)]
pub(crate) mod samples;
pub mod split;
pub mod vnet;

/// Offset of the header-length byte in a TCP header.
pub(crate) const TCP_DATA_OFFSET: usize = 12;
/// Offset of the flags in a TCP header.
pub(crate) const TCP_FLAGS: usize = 13;
/// Offset of the checksum in a TCP header.
pub(crate) const TCP_CHECKSUM: usize = 16;
/// Length of a TCP header without options.
pub(crate) const TCP_HEADER: usize = 20;
/// Offset of the checksum in a UDP header.
pub(crate) const UDP_CHECKSUM: usize = 6;
/// Length of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;

/// TCP flags of which the splitter or the coalescer takes notice.
pub(crate) mod tcp_flag {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
    pub(crate) const CWR: u8 = 0x80;
}

/// IP protocol numbers.
pub(crate) const PROTOCOL_TCP: u8 = 6;
/// See above.
pub(crate) const PROTOCOL_UDP: u8 = 17;

/// The protocol that is cut into segments, and the IP version under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// TCP in IPv4.
    Tcp4,
    /// TCP in IPv6.
    Tcp6,
    /// UDP in IPv4.
    Udp4,
    /// UDP in IPv6.
    Udp6,
}

impl SegmentKind {
    pub(crate) fn is_tcp(self) -> bool {
        match self {
            SegmentKind::Tcp4 | SegmentKind::Tcp6 => true,
            SegmentKind::Udp4 | SegmentKind::Udp6 => false,
        }
    }

    pub(crate) fn is_ipv4(self) -> bool {
        match self {
            SegmentKind::Tcp4 | SegmentKind::Udp4 => true,
            SegmentKind::Tcp6 | SegmentKind::Udp6 => false,
        }
    }

    pub(crate) fn protocol(self) -> u8 {
        if self.is_tcp() {
            PROTOCOL_TCP
        } else {
            PROTOCOL_UDP
        }
    }

    pub(crate) fn checksum_offset(self) -> usize {
        if self.is_tcp() {
            TCP_CHECKSUM
        } else {
            UDP_CHECKSUM
        }
    }
}
