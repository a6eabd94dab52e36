//! The header that stands before each packet on the tun: virtio's, 10 bytes, in the machine's byte
//! order (the tun's default).

use crate::bytes::{field, put};
use crate::drop_reason::DropReason;
use crate::offload::SegmentKind;

/// Its length.
pub const VNET_HEADER: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// Set beside TCP's types when the first segment has CWR; the flags say so themselves.
const GSO_ECN: u8 = 0x80;

/// What is left to do before the packet can go on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Nothing.
    None,
    /// Sum from `start` to the end, write the checksum `offset` bytes after `start`.
    Checksum {
        /// Where the sum starts.
        start: u16,
        /// Where the checksum stands, from there.
        offset: u16,
    },
    /// Cut into segments.
    Segment {
        /// The protocol.
        kind: SegmentKind,
        /// Payload of each segment but the last.
        size: u16,
        /// Where the transport header starts.
        start: u16,
    },
}

impl Offload {
    /// Takes a frame from the tun apart: what is to be done, and the packet.
    ///
    /// # Errors
    /// The header is cut off, or asks for something that was not offered.
    pub fn decode(frame: &[u8]) -> Result<(Offload, &[u8]), DropReason> {
        let (header, packet) = frame
            .split_at_checked(VNET_HEADER)
            .ok_or(DropReason::BadVnetHeader)?;
        let offload = decode_header(header, packet).ok_or(DropReason::BadVnetHeader)?;
        Ok((offload, packet))
    }

    /// Writes the header that goes before a packet. `headers` is the length of IP and transport
    /// header; the kernel takes it as a hint.
    pub fn encode(self, headers: u16) -> [u8; VNET_HEADER] {
        let (flags, gso, headers, size, start, offset) = match self {
            Offload::None => return [0; VNET_HEADER],
            Offload::Checksum { start, offset } => (NEEDS_CHECKSUM, GSO_NONE, 0, 0, start, offset),
            Offload::Segment { kind, size, start } => {
                let offset = kind.checksum_offset() as u16;
                (NEEDS_CHECKSUM, gso_type(kind), headers, size, start, offset)
            }
        };
        let mut header = [flags, gso, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, value) in [(2, headers), (4, size), (6, start), (8, offset)] {
            put(&mut header, at, value.to_ne_bytes());
        }
        header
    }
}

fn decode_header(header: &[u8], packet: &[u8]) -> Option<Offload> {
    let [flags, gso] = field(header, 0)?;
    let number = |at| field(header, at).map(u16::from_ne_bytes);
    // `hdr_len` at 2 is not read: the transport header's own length is right, this may not be.
    let (size, start, offset) = (number(4)?, number(6)?, number(8)?);
    let version = packet.first()? >> 4;
    let kind = match (gso & !GSO_ECN, version) {
        (GSO_NONE, _) if flags & NEEDS_CHECKSUM == 0 => return Some(Offload::None),
        (GSO_NONE, _) => return Some(Offload::Checksum { start, offset }),
        (GSO_TCP4, 4) => SegmentKind::Tcp4,
        (GSO_TCP6, 6) => SegmentKind::Tcp6,
        (GSO_UDP, 4) => SegmentKind::Udp4,
        (GSO_UDP, 6) => SegmentKind::Udp6,
        _ => return None,
    };
    let usable =
        flags & NEEDS_CHECKSUM != 0 && size > 0 && usize::from(offset) == kind.checksum_offset();
    usable.then_some(Offload::Segment { kind, size, start })
}

fn gso_type(kind: SegmentKind) -> u8 {
    match kind {
        SegmentKind::Tcp4 => GSO_TCP4,
        SegmentKind::Tcp6 => GSO_TCP6,
        SegmentKind::Udp4 | SegmentKind::Udp6 => GSO_UDP,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let offloads = [
            Offload::None,
            Offload::Checksum {
                start: 20,
                offset: 16,
            },
            Offload::Segment {
                kind: SegmentKind::Tcp4,
                size: 1380,
                start: 20,
            },
            Offload::Segment {
                kind: SegmentKind::Udp4,
                size: 1200,
                start: 20,
            },
            Offload::Segment {
                kind: SegmentKind::Tcp6,
                size: 1360,
                start: 40,
            },
            Offload::Segment {
                kind: SegmentKind::Udp6,
                size: 1200,
                start: 48,
            },
        ];
        for offload in offloads {
            let version = match offload {
                Offload::Segment { kind, .. } if !kind.is_ipv4() => 0x60,
                Offload::None | Offload::Checksum { .. } | Offload::Segment { .. } => 0x45,
            };
            let frame = [offload.encode(40).as_slice(), &[version, 1, 2]].concat();

            assert_eq!(
                Offload::decode(&frame),
                Ok((offload, [version, 1, 2].as_slice()))
            );
        }
    }

    #[test]
    fn a_header_that_asks_for_what_was_not_offered_is_dropped() {
        let frame = |flags, gso, size: u16| {
            let mut frame = vec![flags, gso, 40, 0];
            frame.extend(size.to_ne_bytes());
            frame.extend(20_u16.to_ne_bytes());
            frame.extend(16_u16.to_ne_bytes());
            frame.push(0x45);
            Offload::decode(&frame).map(|(offload, _)| offload)
        };

        assert!(frame(NEEDS_CHECKSUM, GSO_TCP4, 1380).is_ok());
        assert!(frame(NEEDS_CHECKSUM, GSO_TCP4 | GSO_ECN, 1380).is_ok());
        assert_eq!(
            frame(NEEDS_CHECKSUM, GSO_TCP4, 0),
            Err(DropReason::BadVnetHeader)
        );
        assert_eq!(frame(0, GSO_TCP4, 1380), Err(DropReason::BadVnetHeader));
        assert_eq!(
            frame(NEEDS_CHECKSUM, GSO_TCP6, 1380),
            Err(DropReason::BadVnetHeader)
        );
        assert_eq!(
            frame(NEEDS_CHECKSUM, GSO_UDP, 1380),
            Err(DropReason::BadVnetHeader)
        );
        assert_eq!(
            frame(NEEDS_CHECKSUM, 3, 1380),
            Err(DropReason::BadVnetHeader)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_dropped(frame in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok((_, packet)) = Offload::decode(&frame) {
                prop_assert_eq!(packet.len() + VNET_HEADER, frame.len());
            }
        }
    }
}
