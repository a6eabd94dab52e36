//! What a certificate may say, and in which bytes.

use std::time::Duration;

use der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::{certificate::Version, ext::Extension};

use super::world::{NOW, World, ranges};
use crate::{
    CertificateError, IdentityKey, IssueError, NodeCertificate, NodeCertificateTerms,
    RootCertificate, RootError, TermsError, TrustedRoots, VerifyError,
    encoding::EncodingError,
    x509::{
        self, CertificateBody, address_blocks::AddressBlocks, address_blocks::AddressBlocksError,
    },
};

#[test]
fn a_certificate_reads_back_as_it_was_issued() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);

    let again = NodeCertificate::from_der(alice.certificate.to_der()).unwrap();

    assert_eq!(again, alice.certificate);
    let root = RootCertificate::from_der(world.root.to_der()).unwrap();
    assert_eq!(root, world.root);
    assert_eq!(root.pin(), world.root_key.pin());
}

#[test]
fn impossible_terms_are_not_issued() {
    let mut world = World::seeded(1);
    let key = IdentityKey::generate(&mut world.rng);
    let terms = world.terms("alice", 1, &key);
    let issue = |change: &dyn Fn(&mut NodeCertificateTerms)| {
        let mut changed = terms.clone();
        change(&mut changed);
        world.root_key.issue(&world.root, &changed).unwrap_err()
    };
    let terms_error = |change: &dyn Fn(&mut NodeCertificateTerms)| {
        let IssueError::Terms(error) = issue(change) else {
            panic!("refused, but not for its terms")
        };
        error
    };
    let nine = (1..10).map(|at| format!("198.51.100.{at}").parse().unwrap());
    let nine: Vec<_> = nine.collect();

    assert_eq!(
        terms_error(&|terms| terms.addresses.clear()),
        TermsError::AddressCount(0)
    );
    assert_eq!(
        terms_error(&|terms| terms.addresses.clone_from(&nine)),
        TermsError::AddressCount(9)
    );
    assert!(matches!(
        terms_error(&|terms| terms.addresses = vec!["10.244.1.7".parse().unwrap()]),
        TermsError::AddressInPodRanges(_)
    ));
    assert_eq!(
        terms_error(&|terms| terms.pod_ranges = ranges(&[])),
        TermsError::NoPodRanges
    );
    assert!(matches!(
        terms_error(&|terms| terms.not_after = terms.not_before),
        TermsError::Dates { .. }
    ));
    assert!(matches!(
        terms_error(&|terms| terms.not_after.0 += 1),
        TermsError::Lifetime(_)
    ));
    assert!(matches!(
        issue(&|terms| terms.identity.trust_domain = "other.test".parse().unwrap()),
        IssueError::TrustDomain { .. }
    ));
    let ten_years = Duration::from_secs(20 * 365 * 24 * 3600);
    assert!(matches!(
        issue(&|terms| {
            terms.not_before = NOW.plus(ten_years);
            terms.not_after = NOW.plus(ten_years).plus(Duration::from_secs(60));
        }),
        IssueError::OutlivesRoot(_)
    ));
}

#[test]
fn a_root_issues_only_with_its_own_certificate_and_for_other_keys() {
    let mut world = World::seeded(1);
    let other = World::seeded(2);
    let key = IdentityKey::from_pem(&world.root_key.to_pem()).unwrap();
    let terms = world.terms("alice", 1, &key);

    let own_key = world.root_key.issue(&world.root, &terms).unwrap_err();
    let other_root = world.root_key.issue(&other.root, &terms).unwrap_err();

    assert_eq!(own_key, IssueError::RootKey);
    assert_eq!(other_root, IssueError::OtherRoot);
}

#[test]
fn a_leaf_wider_than_its_root_is_refused() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let narrow = narrow_root(&world, &["10.244.0.0/24", "fd00:10:244::/56"]);
    let roots = TrustedRoots::new(&[narrow.pin()], [narrow.clone()]);

    let verdict = alice
        .envelope()
        .verify(&roots, &Default::default(), &Default::default(), NOW);
    let issued = world.root_key.issue(&narrow, alice.certificate.terms());

    assert!(matches!(
        verdict,
        Err(VerifyError::PodRangesOutsideRoot { .. })
    ));
    assert!(matches!(issued, Err(IssueError::PodRanges(_))));
}

/// The world's root over less than the whole address space.
pub(super) fn narrow_root(world: &World, space: &[&str]) -> RootCertificate {
    let mut body = super::world::body_of(world.root.to_der());
    *body.extensions.last_mut().unwrap() = AddressBlocks::of_ranges(&ranges(space)).to_extension();
    let (der, _, _) = x509::sign(&body, &world.root_signing_key);
    RootCertificate::from_der(&der).unwrap()
}

/// An extension nobody knows.
fn unknown(critical: bool) -> Extension {
    Extension {
        extn_id: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.99999.1"),
        critical,
        extn_value: OctetString::new([5, 0].as_slice()).unwrap(),
    }
}

#[test]
fn kl09_a_certificate_with_anything_unknown_is_refused_even_if_the_root_signed_it() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let forge = |change: &dyn Fn(&mut CertificateBody)| {
        NodeCertificate::from_der(&world.forge(&alice.certificate, change)).unwrap_err()
    };

    assert_eq!(
        forge(&|body| body.extensions.push(unknown(true))),
        CertificateError::Form
    );
    assert_eq!(
        forge(&|body| body.extensions.push(unknown(false))),
        CertificateError::Form
    );
    assert_eq!(
        forge(&|body| body.extensions.swap(0, 1)),
        CertificateError::Form
    );
    assert_eq!(
        forge(&|body| body.version = Version::V1),
        CertificateError::Form
    );
    assert_eq!(
        forge(&|body| body.extensions[4].critical = false),
        CertificateError::AddressBlocks(AddressBlocksError::Encoding(EncodingError::NotCanonical))
    );
    assert_eq!(
        forge(&|body| body.subject = body.issuer.clone()),
        CertificateError::Form
    );
    assert_eq!(
        forge(&|body| {
            let doubled = body.extensions[4].clone();
            body.extensions.push(doubled);
        }),
        CertificateError::AddressBlocks(AddressBlocksError::Missing)
    );
    assert_eq!(
        forge(&|body| body.extensions[0] = x509::basic_constraints(Some(0))),
        CertificateError::Form
    );
    assert_eq!(
        forge(&|body| body
            .extensions
            .retain(|one| one.extn_id.to_string() != "2.5.29.35")),
        CertificateError::Issuer
    );
    let two_names = x509::alternative_names(true, "spiffe://sotto.test/node/x/alice", &[]);
    assert!(matches!(
        forge(&|body| body.extensions[3] = two_names.clone()),
        CertificateError::Identity(_)
    ));
}

#[test]
fn a_root_with_anything_unknown_or_a_wrong_signature_is_refused() {
    let world = World::seeded(1);
    let forge = |change: &dyn Fn(&mut CertificateBody)| {
        let mut body = super::world::body_of(world.root.to_der());
        change(&mut body);
        let (der, _, _) = x509::sign(&body, &world.root_signing_key);
        RootCertificate::from_der(&der).unwrap_err()
    };
    let mut flipped = world.root.to_der().to_vec();
    *flipped.last_mut().unwrap() ^= 1;

    assert_eq!(
        forge(&|body| body.extensions.push(unknown(true))),
        RootError::Form
    );
    assert_eq!(
        forge(&|body| body.subject = Default::default()),
        RootError::Form
    );
    assert_eq!(
        RootCertificate::from_der(&flipped).unwrap_err(),
        RootError::Signature
    );
}
