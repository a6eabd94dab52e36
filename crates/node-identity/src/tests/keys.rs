//! Points that are no keys, and what T and WireGuard's key have to do with each other.

use curve25519_dalek::{MontgomeryPoint, constants::EIGHT_TORSION};

use super::world::World;
use crate::{IdentityPublic, KeyError, TunnelKey, TunnelPublic};

#[test]
fn the_wireguard_key_belongs_to_the_signed_key() {
    let mut world = World::seeded(1);
    for _ in 0..50 {
        let key = TunnelKey::generate(&mut world.rng);

        let public = MontgomeryPoint::mul_base_clamped(*key.x25519_secret());

        assert_eq!(public.to_bytes(), key.public().x25519());
    }
}

#[test]
fn nd05_points_of_small_order_are_no_keys() {
    for point in EIGHT_TORSION {
        let bytes = point.compress().to_bytes();

        assert_eq!(
            TunnelPublic::from_bytes(&bytes).unwrap_err(),
            KeyError::SmallOrder
        );
        assert_eq!(
            IdentityPublic::from_bytes(&bytes).unwrap_err(),
            KeyError::SmallOrder
        );
    }
    let zero = TunnelPublic::from_bytes(&[0; 32]).unwrap_err();
    assert_eq!(zero, KeyError::SmallOrder);
}

#[test]
fn p06_second_spellings_of_a_point_are_no_keys() {
    // y = 1 + p is y = 1 (RFC 8032 section 5.1.3 wants y < p); x = 0 with its sign bit set.
    let mut unreduced = [0xff; 32];
    (unreduced[0], unreduced[31]) = (0xee, 0x7f);
    let mut negative_zero = [0; 32];
    (negative_zero[0], negative_zero[31]) = (1, 0x80);

    for bytes in [unreduced, negative_zero] {
        let error = TunnelPublic::from_bytes(&bytes).unwrap_err();
        assert!(
            matches!(error, KeyError::NotCanonical | KeyError::NotAPoint),
            "{error}"
        );
    }
    // y = 2 is no point of the curve.
    let mut two = [0; 32];
    two[0] = 2;
    assert_eq!(
        TunnelPublic::from_bytes(&two).unwrap_err(),
        KeyError::NotAPoint
    );
}
