//! The packet in which a control message travels through a session.
//!
//! boringtun moves IP packets, so a message gets an IPv6 header: fe80::1 to fe80::2, next header
//! 253 (RFC 3692, for experiments). boringtun checks neither; here nothing but this very header is
//! accepted. No such packet ever comes from the tun or goes to it.

const HEADER_SIZE: usize = 40;
const NEXT_HEADER: u8 = 253;
const HOP_LIMIT: u8 = 1;

fn header(payload: usize) -> [u8; HEADER_SIZE] {
    let [high, low] = u16::try_from(payload).unwrap_or(u16::MAX).to_be_bytes();
    let mut header = [0; HEADER_SIZE];
    [header[0], header[4], header[5]] = [0x60, high, low];
    [header[6], header[7]] = [NEXT_HEADER, HOP_LIMIT];
    [header[8], header[9], header[23]] = [0xfe, 0x80, 1];
    [header[24], header[25], header[39]] = [0xfe, 0x80, 2];
    header
}

/// Puts a message into its packet.
pub(super) fn wrap(message: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEADER_SIZE + message.len());
    packet.extend(header(message.len()));
    packet.extend(message);
    packet
}

/// Takes a message out of its packet, if it is one.
pub(super) fn unwrap(packet: &[u8]) -> Option<&[u8]> {
    let (found, message) = packet.split_first_chunk::<HEADER_SIZE>()?;
    (*found == header(message.len())).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_header_is_accepted() {
        let packet = wrap(b"message");
        assert_eq!(unwrap(&packet), Some(b"message".as_slice()));

        for position in 0..HEADER_SIZE {
            let mut other = packet.clone();
            other[position] ^= 1;
            assert_eq!(unwrap(&other), None, "byte {position}");
        }
        assert_eq!(unwrap(&packet[..packet.len() - 1]), None);
    }

    #[test]
    fn the_addresses_are_what_they_are_said_to_be() {
        use std::net::Ipv6Addr;

        let packet = wrap(b"");
        let address = |at: usize| {
            Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap()).to_string()
        };

        assert_eq!(
            (address(8), address(24)),
            ("fe80::1".into(), "fe80::2".into())
        );
    }
}
