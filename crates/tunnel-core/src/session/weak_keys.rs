//! X25519 points of small order: a key exchange with one gives a secret that everybody knows.
//!
//! boringtun takes them without a word and never looks at the result.

/// All encodings of points whose order divides eight, below 2^255 (RFC 7748, section 7, and
/// <https://cr.yp.to/ecdh.html#validate>; the top bit of an encoding is ignored).
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    first(1),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    near_p(0xec),
    near_p(0xed),
    near_p(0xee),
];

const fn first(byte: u8) -> [u8; 32] {
    let mut point = [0; 32];
    point[0] = byte;
    point
}

/// 2^255 − 19 and its neighbours, by their lowest byte.
const fn near_p(byte: u8) -> [u8; 32] {
    let mut point = [0xff; 32];
    point[0] = byte;
    point[31] = 0x7f;
    point
}

/// Whether the point has small order.
pub(super) fn has_small_order(point: &[u8; 32]) -> bool {
    let mut point = *point;
    let [.., top] = &mut point;
    *top &= 0x7f;
    SMALL_ORDER.contains(&point)
}

#[cfg(test)]
pub(super) mod tests {
    use boringtun::x25519::{PublicKey, StaticSecret};

    use super::*;

    /// The points, with the ignored bit clear and set.
    pub(crate) fn small_order_points() -> Vec<[u8; 32]> {
        let set = SMALL_ORDER.map(|mut point| {
            point[31] |= 0x80;
            point
        });
        [SMALL_ORDER, set].concat()
    }

    #[test]
    fn every_listed_point_gives_the_secret_that_everybody_knows() {
        let secret = StaticSecret::from([0x5a; 32]);

        for point in small_order_points() {
            let shared = secret.diffie_hellman(&PublicKey::from(point));
            assert!(!shared.was_contributory(), "{point:x?}");
            assert!(has_small_order(&point), "{point:x?}");
        }
        assert!(!has_small_order(PublicKey::from(&secret).as_bytes()));
    }
}
