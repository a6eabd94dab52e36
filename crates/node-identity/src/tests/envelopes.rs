//! What an envelope must hold, one refusal each.

use super::world::{NOW, Parts, World, ranges};
use crate::{
    CertificateSerial, Envelope, Generation, IkHash, SealError, StatementError, TrustedRoots,
    TunnelKey, VerifyError,
};

#[test]
fn an_honest_envelope_makes_a_verified_peer() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let der = alice.envelope().to_der();

    let peer = world.verify(&Envelope::from_der(&der).unwrap()).unwrap();

    assert_eq!(*peer.statement(), alice.statement);
    assert_eq!(peer.x25519(), alice.tunnel_key.public().x25519());
    assert_eq!(
        peer.pod_ranges().to_string(),
        "10.244.1.0/24, fd00:10:244:1::/64"
    );
    assert_eq!(peer.root(), world.root.pin());
    assert_eq!(peer.envelope().to_der(), der);
    assert_eq!(peer.statement_hash(), alice.statement.hash());
}

#[test]
fn kl09_an_envelope_of_another_cluster_is_refused() {
    let mut world = World::seeded(1);
    let mut other = World::seeded(2);
    let alice = other.node("alice", 1);

    let error = world.verify(&alice.envelope()).unwrap_err();

    assert!(matches!(error, VerifyError::UnknownRoot(_)), "{error}");
    let with_pin = TrustedRoots::new(&[other.root.pin()], [world.root.clone()]);
    assert!(with_pin.is_empty(), "a candidate that hashes to no pin");
    let bob = world.node("bob", 2);
    assert!(world.verify(&bob.envelope()).is_ok());
}

#[test]
fn a_node_of_another_trust_domain_is_refused() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let rng = &mut world.rng;
    let elsewhere = "other.test".parse().unwrap();
    let root = world.root_key.create_certificate(&elsewhere, NOW, rng);
    let roots = TrustedRoots::new(&[root.pin()], [root]);

    let error = alice
        .envelope()
        .verify(&roots, &Default::default(), &Default::default(), NOW)
        .unwrap_err();

    assert!(matches!(error, VerifyError::TrustDomain(_)), "{error}");
}

#[test]
fn ranges_and_addresses_keep_out_of_each_others_space() {
    let mut world = World::seeded(1);
    let roots = |cluster| world.roots().within(ranges(&[cluster, "fd00:10:244::/56"]));
    let (good, elsewhere) = (roots("10.244.0.0/16"), roots("10.245.0.0/16"));
    let swallowing = world.roots().within(ranges(&[
        "10.244.0.0/16",
        "fd00:10:244::/56",
        "198.51.100.0/24",
    ]));
    let alice = world.node("alice", 1).envelope();
    let verify = |roots| alice.verify(roots, &Default::default(), &Default::default(), NOW);

    let outside = verify(&elsewhere).unwrap_err();
    let inside = verify(&swallowing).unwrap_err();

    assert!(verify(&good).is_ok());
    assert!(
        matches!(outside, VerifyError::PodRangesOutsideCluster { .. }),
        "{outside}"
    );
    assert!(
        matches!(inside, VerifyError::AddressInsideCluster { .. }),
        "{inside}"
    );
}

#[test]
fn p05_a_new_certificate_with_an_old_statement_is_refused() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let renewed = world.renew(&alice, NOW.plus(std::time::Duration::from_secs(60)), |_| ());
    let mut parts = Parts::of(&alice.envelope());
    parts.set_certificate(renewed.certificate.to_der());

    let error = world.verify(&parts.envelope()).unwrap_err();

    assert!(
        matches!(error, VerifyError::OtherCertificate { .. }),
        "{error}"
    );
}

#[test]
fn a_statement_counts_only_with_its_own_certificate() {
    let mut world = World::seeded(1);
    let (alice, bob) = (world.node("alice", 1), world.node("bob", 2));
    let mut parts = Parts::of(&alice.envelope());
    parts.set_certificate(bob.certificate.to_der());

    let error = world.verify(&parts.envelope()).unwrap_err();

    assert!(
        matches!(error, VerifyError::OtherIdentity { .. }),
        "{error}"
    );
}

#[test]
fn a_node_cannot_seal_what_its_certificate_does_not_say() {
    let mut world = World::seeded(1);
    let (alice, bob) = (world.node("alice", 1), world.node("bob", 2));
    let seal = |change: &dyn Fn(&mut crate::KeyStatement)| {
        let node = alice.restated(alice.same_tunnel_key(), |statement| change(statement));
        Envelope::seal(
            &node.statement,
            &node.key,
            &node.tunnel_key,
            &node.certificate,
        )
        .unwrap_err()
    };
    let binding = |error| {
        let SealError::Binding(error) = error else {
            panic!("{error}")
        };
        error
    };

    let endpoint = seal(&|statement| statement.endpoints = vec!["198.51.100.9".parse().unwrap()]);
    let name = seal(&|statement| statement.identity.name = "bob".parse().unwrap());
    let serial = seal(&|statement| statement.certificate_serial = CertificateSerial(1));
    let hash = seal(&|statement| statement.identity_key_hash = IkHash::from_bytes([0; 32]));
    let key = seal(&|statement| statement.tunnel_key = bob.tunnel_key.public());
    let ports = seal(&|statement| statement.base_port = 0);
    let identity_key = Envelope::seal(
        &alice.statement,
        &bob.key,
        &alice.tunnel_key,
        &alice.certificate,
    );

    assert!(matches!(
        binding(endpoint),
        VerifyError::EndpointNotCertified { .. }
    ));
    assert!(matches!(binding(name), VerifyError::OtherIdentity { .. }));
    assert!(matches!(
        binding(serial),
        VerifyError::OtherCertificate { .. }
    ));
    assert!(matches!(binding(hash), VerifyError::OtherIdentityKey(_)));
    assert_eq!(key, SealError::TunnelKey);
    assert!(matches!(
        ports,
        SealError::Statement(StatementError::Ports { .. })
    ));
    assert_eq!(identity_key.unwrap_err(), SealError::IdentityKey);
}

#[test]
fn impossible_ports_and_endpoints_are_refused() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let check = |change: &dyn Fn(&mut crate::KeyStatement)| {
        let mut statement = alice.statement.clone();
        change(&mut statement);
        crate::KeyStatement::from_der(&statement.to_der())
    };

    assert!(check(&|statement| (statement.base_port, statement.lanes) = (65533, 3)).is_ok());
    for (base_port, lanes) in [(65533, 4), (0, 1), (51820, 0)] {
        let error = check(&|one| (one.base_port, one.lanes) = (base_port, lanes)).unwrap_err();
        assert_eq!(error, StatementError::Ports { base_port, lanes });
    }
    for endpoints in [
        vec![],
        vec!["198.51.100.1"; 2],
        vec!["127.0.0.1"],
        vec!["::ffff:198.51.100.1"],
        vec!["fe80::1"],
        vec!["0.0.0.0"],
    ] {
        let endpoints: Vec<_> = endpoints.iter().map(|at| at.parse().unwrap()).collect();
        let error = check(&|one| one.endpoints.clone_from(&endpoints)).unwrap_err();
        assert!(matches!(error, StatementError::Endpoints(_)), "{error}");
    }
}

#[test]
fn nd05_a_tunnel_key_without_proof_of_possession_is_refused() {
    let mut world = World::seeded(1);
    let (alice, mallory) = (world.node("alice", 1), world.node("mallory", 3));
    // Mallory states Alice's tunnel key, which she does not have, and signs with her own.
    let own = TunnelKey::generate(&mut world.rng);
    let stating = mallory.restated(own, |_| ());
    let mut parts = Parts::of(&stating.envelope());
    let mut statement = stating.statement.clone();
    statement.tunnel_key = alice.tunnel_key.public();
    parts.resign(&statement, &stating);

    let error = world.verify(&parts.envelope()).unwrap_err();

    assert!(matches!(error, VerifyError::TunnelSignature(_)), "{error}");
}

#[test]
fn a_generation_only_grows() {
    assert_eq!(Generation::next(NOW, None), Generation(NOW.0));
    let ahead = Generation(NOW.0 + 5);
    assert_eq!(Generation::next(NOW, Some(ahead)), Generation(NOW.0 + 6));
}
