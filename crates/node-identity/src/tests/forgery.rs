//! Bits flipped, encodings bent, signatures that a lax verifier would take.

use curve25519_dalek::{
    EdwardsPoint, Scalar, constants::ED25519_BASEPOINT_POINT as B, traits::Identity,
};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use sha2::{Digest, Sha512};

use super::world::{NOW, Node, Parts, World};
use crate::{
    Envelope, Floor, FloorError, KeyStatement, Revocations, StatementSigner, TunnelPublic,
    VerifyError, admit,
};

/// The order of the base point, little-endian (RFC 8032 section 5.1).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// An Ed25519 signature with a scalar and a nonce of one's choice.
fn sign_raw(scalar: Scalar, nonce: Scalar, public: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let r = (B * nonce).compress();
    let hash = Sha512::new()
        .chain_update(r.as_bytes())
        .chain_update(public)
        .chain_update(message)
        .finalize();
    let challenge = Scalar::from_bytes_mod_order_wide(&hash.into());
    let s = nonce + challenge * scalar;
    [*r.as_bytes(), s.to_bytes()].concat().try_into().unwrap()
}

fn refused_signature(world: &World, parts: &Parts) -> VerifyError {
    world.verify(&parts.envelope()).unwrap_err()
}

#[test]
fn kl09_every_flipped_bit_is_refused() {
    let mut world = World::seeded(1);
    let der = world.node("alice", 1).envelope().to_der();

    for bit in 0..der.len() * 8 {
        let mut flipped = der.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let verified = Envelope::from_der(&flipped).map(|envelope| world.verify(&envelope));
        assert!(
            !matches!(verified, Ok(Ok(_))),
            "bit {bit} of {}",
            der.len() * 8
        );
    }
}

#[test]
fn kl09_an_envelope_with_trailing_bytes_or_cut_short_is_refused() {
    let mut world = World::seeded(1);
    let der = world.node("alice", 1).envelope().to_der();

    let longer = [der.as_slice(), &[0]].concat();

    assert!(Envelope::from_der(&longer).is_err());
    for length in 0..der.len() {
        assert!(Envelope::from_der(&der[..length]).is_err(), "{length}");
    }
}

#[test]
fn kl09_other_encodings_of_the_same_content_are_refused() {
    let mut world = World::seeded(1);
    let der = world.node("alice", 1).envelope().to_der();
    assert_eq!(
        der[..2],
        [0x30, 0x82],
        "a sequence with two bytes of length"
    );

    let long_length = [&[0x30, 0x83, 0], &der[2..]].concat();
    let indefinite = [&[0x30, 0x80], &der[4..], &[0, 0]].concat();

    assert!(Envelope::from_der(&long_length).is_err());
    assert!(Envelope::from_der(&indefinite).is_err());
}

#[test]
fn kl09_a_signature_scalar_past_the_group_order_is_refused() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let mut parts = Parts::of(&alice.envelope());
    let mut signature: [u8; 64] = parts.identity_signature.as_bytes().try_into().unwrap();
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    parts.set_identity_signature(&signature);

    let error = refused_signature(&world, &parts);

    assert!(
        matches!(error, VerifyError::IdentitySignature(_)),
        "{error}"
    );
}

#[test]
fn kl09_a_signature_with_a_nonce_point_of_small_order_is_refused() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let public = alice.key.public().to_bytes();
    let message = alice.statement.signed_bytes(StatementSigner::Identity);
    let scalar = alice.key.signing_key().to_scalar();
    // R is the identity element: the equation holds, and a lax verifier accepts it.
    let signature = sign_raw(scalar, Scalar::ZERO, &public, &message);
    let lax = VerifyingKey::from_bytes(&public).unwrap();
    assert!(
        lax.verify(&message, &Signature::from_bytes(&signature))
            .is_ok()
    );
    let mut parts = Parts::of(&alice.envelope());
    parts.set_identity_signature(&signature);

    let error = refused_signature(&world, &parts);

    assert!(
        matches!(error, VerifyError::IdentitySignature(_)),
        "{error}"
    );
}

#[test]
fn kl09_a_root_signature_by_another_root_is_refused() {
    let mut world = World::seeded(1);
    let other = World::seeded(2);
    let alice = world.node("alice", 1);
    // The issuer that is named is the pinned root; another one signed.
    let body = super::world::body_of(alice.certificate.to_der());
    let (forged, _, _) = crate::x509::sign(&body, &other.root_signing_key);
    let mut parts = Parts::of(&alice.envelope());
    parts.set_certificate(&forged);

    let error = refused_signature(&world, &parts);

    assert!(
        matches!(error, VerifyError::CertificateSignature(_)),
        "{error}"
    );
}

#[test]
fn one_key_cannot_sign_for_the_other() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let mut parts = Parts::of(&alice.envelope());
    std::mem::swap(&mut parts.identity_signature, &mut parts.tunnel_signature);

    let error = refused_signature(&world, &parts);

    assert!(
        matches!(error, VerifyError::IdentitySignature(_)),
        "{error}"
    );
}

#[test]
fn p06_an_identity_key_or_a_root_key_is_no_tunnel_key() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    for pem in [alice.key.to_pem(), world.root_key.to_pem()] {
        let key = crate::IdentityKey::from_pem(&pem).unwrap();
        let tunnel_key = crate::TunnelKey::from_bytes(key.signing_key().as_bytes());
        let node = alice.restated(tunnel_key, |_| ());

        let error = world.verify(&node.envelope()).unwrap_err();

        assert!(
            matches!(error, VerifyError::TunnelKeyIsAnother(_)),
            "{error}"
        );
        assert!(error.is_alarm());
    }
}

/// An envelope by `node` that states −T, where T is the tunnel key of `node`, and proves it.
fn with_negated_tunnel_key(node: &Node, change: impl FnOnce(&mut KeyStatement)) -> Envelope {
    let scalar = node.tunnel_key_scalar();
    let negated = (-(B * scalar)).compress().to_bytes();
    let public = TunnelPublic::from_bytes(&negated).unwrap();
    let mut statement = node.statement.clone();
    statement.tunnel_key = public;
    change(&mut statement);
    let message = statement.signed_bytes(StatementSigner::Tunnel);
    let signature = sign_raw(-scalar, Scalar::from(7u8), &negated, &message);
    let mut parts = Parts::of(&node.envelope());
    parts.resign(&statement, node);
    parts.set_tunnel_signature(&signature);
    parts.envelope()
}

#[test]
fn p06_a_negated_tunnel_key_is_the_same_wireguard_key_and_no_second_peer() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let envelope = with_negated_tunnel_key(&alice, |statement| statement.generation.0 += 1);
    let mut floor = Floor::default();
    let honest = world.peer(&alice);
    floor.observe(&honest);

    let negated = world.verify(&envelope).expect("its signatures are good");
    let known = envelope.verify(&world.roots(), &Revocations::default(), &floor, NOW);

    assert_eq!(negated.x25519(), honest.x25519());
    assert!(matches!(
        known,
        Err(VerifyError::Floor {
            source: FloorError::TunnelKeyReused(_),
            ..
        })
    ));
    assert!(admit(vec![honest, negated]).peers.is_empty());
}

#[test]
fn p06_a_tunnel_key_with_torsion_has_no_way_in() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let clean = VerifyingKey::from_bytes(&alice.tunnel_key.public().to_bytes()).unwrap();
    for small in curve25519_dalek::constants::EIGHT_TORSION {
        let point: EdwardsPoint = clean.to_edwards() + small;
        let bytes = point.compress().to_bytes();

        let taken = TunnelPublic::from_bytes(&bytes);

        let is_clean = small == EdwardsPoint::identity();
        assert_eq!(taken.is_ok(), is_clean);
        let der = alice.statement.to_der();
        let at = der
            .windows(32)
            .position(|window| window == alice.tunnel_key.public().to_bytes())
            .unwrap();
        let mut changed = der.clone();
        changed[at..at + 32].copy_from_slice(&bytes);
        assert_eq!(KeyStatement::from_der(&changed).is_ok(), is_clean);
    }
}
