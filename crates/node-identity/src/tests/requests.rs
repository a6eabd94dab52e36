//! Certificate requests and join tokens.

use super::world::{World, addresses};
use crate::{
    CertificateRequest, JoinToken, JoinTokenError, RequestError, TunnelKey,
    x509::{self, signed_parts},
};
use der::Decode;
use x509_cert::request::CertReqInfo;

#[test]
fn a_request_reads_back_as_it_was_made() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let identity = &alice.statement.identity;

    let request = CertificateRequest::create(&alice.key, identity, &addresses(1)).unwrap();
    let bare = CertificateRequest::create(&alice.key, identity, &[]).unwrap();

    let again = CertificateRequest::from_der(request.to_der()).unwrap();
    assert_eq!(again, request);
    assert_eq!(again.identity(), identity);
    assert_eq!(again.key(), &alice.key.public());
    assert_eq!(again.addresses(), addresses(1));
    assert_eq!(CertificateRequest::from_der(bare.to_der()).unwrap(), bare);
}

#[test]
fn a_request_for_a_key_one_does_not_have_is_refused() {
    let mut world = World::seeded(1);
    let (alice, mallory) = (world.node("alice", 1), world.node("mallory", 3));
    let request = CertificateRequest::create(&alice.key, &alice.statement.identity, &[]).unwrap();
    let info = CertReqInfo::from_der(&signed_parts(request.to_der()).unwrap().body).unwrap();
    let (stolen, _, _) = x509::sign(&info, mallory.key.signing_key());

    let error = CertificateRequest::from_der(&stolen).unwrap_err();

    assert_eq!(error, RequestError::Signature);
}

#[test]
fn a_request_that_asks_for_more_is_refused() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let request = CertificateRequest::create(&alice.key, &alice.statement.identity, &[]).unwrap();
    let forge = |change: &dyn Fn(&mut CertReqInfo)| {
        let body = signed_parts(request.to_der()).unwrap().body;
        let mut info = CertReqInfo::from_der(&body).unwrap();
        change(&mut info);
        CertificateRequest::from_der(&x509::sign(&info, alice.key.signing_key()).0).unwrap_err()
    };

    let subject = forge(&|info| info.subject = x509::root_name(&[7; 20]));
    let names = forge(&|info| info.attributes = Default::default());
    let authority = forge(&|info| {
        let extensions = vec![
            x509::alternative_names(true, &alice.statement.identity.to_string(), &[]),
            x509::basic_constraints(Some(0)),
        ];
        let attribute = x509_cert::request::ExtensionReq(extensions)
            .try_into()
            .unwrap();
        info.attributes = vec![attribute].try_into().unwrap();
    });

    assert_eq!(subject, RequestError::Form);
    assert_eq!(names, RequestError::Names);
    assert_eq!(authority, RequestError::Form);
}

#[test]
fn a_join_token_reads_back_and_never_prints_by_accident() {
    let mut world = World::seeded(1);
    let identity = world.node("alice", 1).statement.identity;
    let pin = world.root.pin();
    let token = JoinToken::generate(pin, identity.clone(), addresses(1), &mut world.rng).unwrap();

    let text = token.to_string();
    let again: JoinToken = text.parse().unwrap();

    assert!(text.starts_with("sotto1."));
    assert_eq!(
        (again.pin, &again.identity, again.id),
        (pin, &identity, token.id)
    );
    assert_eq!(again.endpoints, addresses(1));
    assert_eq!(again.request_mac(b"request"), token.request_mac(b"request"));
    assert!(format!("{token:?}").contains("<redacted>"));
    assert_eq!(token.id.to_string().parse(), Ok(token.id));
}

#[test]
fn a_damaged_join_token_is_refused_without_repeating_it() {
    let mut world = World::seeded(1);
    let identity = world.node("alice", 1).statement.identity;
    let pin = world.root.pin();
    let text = JoinToken::generate(pin, identity, vec![], &mut world.rng)
        .unwrap()
        .to_string();

    let other = text
        .replace("sotto1.", "sotto2.")
        .parse::<JoinToken>()
        .unwrap_err();
    let padded = format!("{text}=").parse::<JoinToken>().unwrap_err();

    for length in 0..text.len() {
        assert!(text[..length].parse::<JoinToken>().is_err(), "{length}");
    }
    assert_eq!(
        (other, padded),
        (JoinTokenError::Text, JoinTokenError::Text)
    );
}

#[test]
fn a_request_mac_holds_for_one_token_and_one_request() {
    let mut world = World::seeded(1);
    let identity = world.node("alice", 1).statement.identity;
    let pin = world.root.pin();
    let mut token = || JoinToken::generate(pin, identity.clone(), vec![], &mut world.rng).unwrap();
    let (token, other) = (token(), token());

    let mac = token.request_mac(b"request");

    assert!(token.verifies_request(b"request", &mac));
    assert!(!token.verifies_request(b"another", &mac));
    assert!(!other.verifies_request(b"request", &mac));
}

#[test]
fn a_tunnel_key_reads_back_from_its_bytes() {
    let mut world = World::seeded(1);
    let key = TunnelKey::generate(&mut world.rng);

    let again = TunnelKey::from_bytes(&key.to_bytes());

    assert_eq!(again.public(), key.public());
    assert_eq!(again.x25519_secret(), key.x25519_secret());
}
