//! What a datagram on the tunnel port is, by its first bytes and its length alone.

use crate::bytes::field;
use crate::plane::IndexBase;
use crate::transport::{OVERHEAD, TYPE_DATA};

/// Lengths of WireGuard's handshake messages: initiation, response, cookie reply.
const HANDSHAKE_LENGTHS: [(u8, usize); 3] = [(1, 148), (2, 92), (3, 64)];

/// A datagram's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datagram {
    /// A pod packet under the transport with this receiver index.
    Transport(u32),
    /// For the control side: a handshake message, or a message of a session.
    Control,
    /// Neither.
    Unknown,
}

impl Datagram {
    pub(super) fn classify(datagram: &[u8]) -> Datagram {
        let Some([kind, 0, 0, 0]) = field(datagram, 0) else {
            return Datagram::Unknown;
        };
        if HANDSHAKE_LENGTHS.contains(&(kind, datagram.len())) {
            return Datagram::Control;
        }
        let index = field(datagram, 4).map(u32::from_le_bytes);
        match index {
            Some(index) if kind == TYPE_DATA && datagram.len() >= OVERHEAD => {
                match IndexBase::from_wire(index) {
                    Some(_) => Datagram::Transport(index),
                    None => Datagram::Control,
                }
            }
            Some(_) | None => Datagram::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagram(kind: u8, length: usize) -> Vec<u8> {
        let mut datagram = vec![0; length];
        if let Some(first) = datagram.first_mut() {
            *first = kind;
        }
        datagram
    }

    #[test]
    fn messages_are_told_apart_by_type_length_and_top_bit() {
        for (kind, length) in HANDSHAKE_LENGTHS {
            assert_eq!(
                Datagram::classify(&datagram(kind, length)),
                Datagram::Control
            );
        }
        let mut data = datagram(TYPE_DATA, 32);
        assert_eq!(Datagram::classify(&data), Datagram::Control);
        data[7] = 0x80;
        assert_eq!(Datagram::classify(&data), Datagram::Transport(0x8000_0000));
    }

    #[test]
    fn hp14_odd_types_reserved_bytes_and_lengths_are_unknown() {
        for kind in (0..=255).filter(|kind| !(1..=4).contains(kind)) {
            for length in [0, 1, 2, 3, 4, 32, 64, 92, 148, 1452] {
                assert_eq!(
                    Datagram::classify(&datagram(kind, length)),
                    Datagram::Unknown
                );
            }
        }
        for (kind, length) in [(1, 148), (2, 92), (3, 64), (4, 32), (4, 1452)] {
            for reserved in 1..4 {
                let mut datagram = datagram(kind, length);
                datagram[reserved] = 1;
                assert_eq!(
                    Datagram::classify(&datagram),
                    Datagram::Unknown,
                    "{kind} {reserved}"
                );
            }
        }
        for length in 0..32 {
            for kind in 0..5 {
                assert_eq!(
                    Datagram::classify(&datagram(kind, length)),
                    Datagram::Unknown
                );
            }
        }
    }

    #[test]
    fn hp05_a_handshake_message_of_another_length_is_unknown() {
        for (kind, right) in HANDSHAKE_LENGTHS {
            for length in (0..200)
                .chain([1452, 65_507])
                .filter(|length| *length != right)
            {
                assert_eq!(
                    Datagram::classify(&datagram(kind, length)),
                    Datagram::Unknown
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_kind(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Datagram::Transport(index) = Datagram::classify(&bytes) {
                prop_assert!(bytes.len() >= OVERHEAD && IndexBase::from_wire(index).is_some());
            }
        }
    }
}
