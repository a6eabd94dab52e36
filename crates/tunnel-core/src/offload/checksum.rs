//! The Internet checksum (RFC 1071), summed in the machine's byte order: the one's complement sum
//! of swapped words is the swapped sum, so nothing is swapped on the way.

use crate::bytes::{field, put};
use crate::offload::SegmentKind;
use crate::packet::{IPV4_HEADER, IPV6_HEADER};

/// A one's complement sum of 16-bit words, not folded yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes that start at an even offset of what is summed.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Sum {
        let (words, rest) = bytes.as_chunks::<4>();
        let sum: u64 = words
            .iter()
            .map(|word| u64::from(u32::from_ne_bytes(*word)))
            .sum();
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        Sum(self.0 + sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds a 16-bit number.
    #[must_use]
    pub fn with_be16(self, number: u16) -> Sum {
        Sum(self.0 + u64::from(u16::from_ne_bytes(number.to_be_bytes())))
    }

    /// The sum as it stands in a packet.
    pub fn fold(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > u64::from(u16::MAX) {
            sum = (sum >> 16) + (sum & u64::from(u16::MAX));
        }
        (sum as u16).to_ne_bytes()
    }

    /// The checksum that makes the sum right.
    pub fn complement(self) -> [u8; 2] {
        self.fold().map(|byte| !byte)
    }

    /// Whether a sum that includes its checksum is right.
    pub fn is_valid(self) -> bool {
        self.fold() == [0xff, 0xff]
    }
}

/// The sum of the pseudo-header: addresses, protocol, length of what follows the IP header.
pub fn pseudo_header(packet: &[u8], kind: SegmentKind, length: usize) -> Option<Sum> {
    let addresses = if kind.is_ipv4() {
        packet.get(12..IPV4_HEADER)?
    } else {
        packet.get(8..IPV6_HEADER)?
    };
    let length = u16::try_from(length).ok()?;
    Some(
        Sum::default()
            .with(addresses)
            .with_be16(kind.protocol().into())
            .with_be16(length),
    )
}

/// Writes the header checksum of an IPv4 packet.
pub(crate) fn write_ipv4_header(packet: &mut [u8], header: usize) -> Option<()> {
    put(packet, 10, [0, 0])?;
    let checksum = Sum::default().with(packet.get(..header)?).complement();
    put(packet, 10, checksum)
}

/// Writes the TCP or UDP checksum of a whole packet whose transport header starts at `start`.
pub(crate) fn write_transport(packet: &mut [u8], kind: SegmentKind, start: usize) -> Option<()> {
    let at = start + kind.checksum_offset();
    put(packet, at, [0, 0])?;
    let segment = packet.get(start..)?;
    let sum = pseudo_header(packet, kind, segment.len())?.with(segment);
    put(packet, at, checksum_field(sum, kind.checksum_offset()))
}

/// The checksum to write at this offset of a transport header. In UDP a zero says "no checksum",
/// so that 0xffff, which sums the same, takes its place.
pub(crate) fn checksum_field(sum: Sum, offset: usize) -> [u8; 2] {
    match sum.complement() {
        [0, 0] if offset == super::UDP_CHECKSUM => [0xff, 0xff],
        checksum => checksum,
    }
}

/// Whether IPv4 header checksum and TCP or UDP checksum are right.
pub(crate) fn is_right(packet: &[u8], kind: SegmentKind, start: usize) -> bool {
    let transport = || {
        let segment = packet.get(start..)?;
        let written: [u8; 2] = field(segment, kind.checksum_offset())?;
        let absent = written == [0, 0] && !kind.is_tcp();
        let sum = pseudo_header(packet, kind, segment.len())?.with(segment);
        Some(!absent && sum.is_valid())
    };
    let header = |packet: &[u8]| {
        !kind.is_ipv4()
            || packet
                .get(..start)
                .is_some_and(|header| Sum::default().with(header).is_valid())
    };
    header(packet) && transport().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The checksum as RFC 1071 writes it, word by word, in network order.
    fn slow_sum(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            sum += u32::from(word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_gives_its_sum() {
        let sum = Sum::default().with(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);

        assert_eq!(sum.fold(), [0xdd, 0xf2]);
        assert_eq!(sum.complement(), [0x22, 0x0d]);
    }

    #[test]
    fn the_longest_packet_of_ones_does_not_overflow() {
        assert_eq!(
            Sum::default().with(&vec![0xff; 65_535]).fold(),
            slow_sum(&vec![0xff; 65_535]).to_be_bytes()
        );
    }

    proptest! {
        #[test]
        fn the_fast_sum_agrees_with_the_slow_one(
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            split in 0_usize..1500,
        ) {
            let split = (split * 2).min(bytes.len() / 2 * 2);
            let sum = Sum::default().with(&bytes[..split]).with(&bytes[split..]);
            prop_assert_eq!(sum.fold(), slow_sum(&bytes).to_be_bytes());
        }
    }
}
