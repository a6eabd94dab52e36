//! A root, nodes with everything they need, and tools to take signed objects apart.

use std::net::IpAddr;

use chacha20::ChaCha20Rng;
use der::{Any, Decode, Sequence, asn1::OctetString};
use ed25519_dalek::SigningKey;
use rand_core::SeedableRng;

use crate::{
    CERTIFICATE_LIFETIME, CertificateSerial, Envelope, Floor, Generation, IdentityKey,
    KeyStatement, NOT_BEFORE_BACKDATE, NodeCertificate, NodeCertificateTerms, NodeUid, PodRanges,
    Revocations, RootCertificate, RootKey, SpiffeId, StatementSigner, TrustedRoots, TunnelKey,
    UnixTime, VerifiedPeer, VerifyError,
    encoding::{encode, octets},
    keys::private_to_pem,
    x509::{self, CertificateBody},
};

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);

/// One cluster: its root key is here in the open, so that tests can forge with it.
pub(super) struct World {
    pub(super) rng: ChaCha20Rng,
    pub(super) root_signing_key: SigningKey,
    pub(super) root_key: RootKey,
    pub(super) root: RootCertificate,
}

/// A node with its private keys.
pub(super) struct Node {
    pub(super) key: IdentityKey,
    pub(super) tunnel_key: TunnelKey,
    pub(super) certificate: NodeCertificate,
    pub(super) statement: KeyStatement,
}

impl World {
    pub(super) fn seeded(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let root_signing_key = SigningKey::generate(&mut rng);
        let root_key = RootKey::from_pem(&private_to_pem(&root_signing_key)).unwrap();
        let trust_domain = "sotto.test".parse().unwrap();
        let root = root_key.create_certificate(&trust_domain, NOW, &mut rng);
        Self {
            rng,
            root_signing_key,
            root_key,
            root,
        }
    }

    pub(super) fn roots(&self) -> TrustedRoots {
        TrustedRoots::new(&[self.root.pin()], [self.root.clone()])
    }

    /// The terms of node `number`: 198.51.100.n, 2001:db8::n, 10.244.n.0/24, fd00:10:244:n::/64.
    pub(super) fn terms(
        &mut self,
        name: &str,
        number: u8,
        key: &IdentityKey,
    ) -> NodeCertificateTerms {
        NodeCertificateTerms {
            identity: SpiffeId {
                trust_domain: "sotto.test".parse().unwrap(),
                uid: NodeUid::generate(&mut self.rng),
                name: name.parse().unwrap(),
            },
            key: key.public(),
            addresses: addresses(number),
            pod_ranges: ranges(&[
                &format!("10.244.{number}.0/24"),
                &format!("fd00:10:244:{number:x}::/64"),
            ]),
            serial: CertificateSerial::next(NOW, None, &mut self.rng),
            not_before: NOW.minus(NOT_BEFORE_BACKDATE),
            not_after: NOW.plus(CERTIFICATE_LIFETIME),
        }
    }

    pub(super) fn node(&mut self, name: &str, number: u8) -> Node {
        self.node_with(name, number, |_| ())
    }

    /// A node whose certificate terms were changed before the root signed them.
    pub(super) fn node_with(
        &mut self,
        name: &str,
        number: u8,
        change: impl FnOnce(&mut NodeCertificateTerms),
    ) -> Node {
        let key = IdentityKey::generate(&mut self.rng);
        let mut terms = self.terms(name, number, &key);
        change(&mut terms);
        let certificate = self.root_key.issue(&self.root, &terms).unwrap();
        let tunnel_key = TunnelKey::generate(&mut self.rng);
        let statement = statement(&certificate, &tunnel_key, Generation(NOW.0));
        Node {
            key,
            tunnel_key,
            certificate,
            statement,
        }
    }

    /// The same node with a certificate of later date, a new tunnel key and a new generation.
    pub(super) fn renew(
        &mut self,
        node: &Node,
        now: UnixTime,
        change: impl FnOnce(&mut NodeCertificateTerms),
    ) -> Node {
        let mut terms = node.certificate.terms().clone();
        terms.serial = CertificateSerial::next(now, Some(terms.serial), &mut self.rng);
        terms.not_before = now.minus(NOT_BEFORE_BACKDATE);
        terms.not_after = now.plus(CERTIFICATE_LIFETIME);
        change(&mut terms);
        let certificate = self.root_key.issue(&self.root, &terms).unwrap();
        let tunnel_key = TunnelKey::generate(&mut self.rng);
        let generation = Generation::next(now, Some(node.statement.generation));
        let statement = statement(&certificate, &tunnel_key, generation);
        Node {
            key: IdentityKey::from_pem(&node.key.to_pem()).unwrap(),
            tunnel_key,
            certificate,
            statement,
        }
    }

    pub(super) fn verify(&self, envelope: &Envelope) -> Result<VerifiedPeer, VerifyError> {
        envelope.verify(
            &self.roots(),
            &Revocations::default(),
            &Floor::default(),
            NOW,
        )
    }

    pub(super) fn peer(&self, node: &Node) -> VerifiedPeer {
        self.verify(&node.envelope()).unwrap()
    }

    /// Signs a changed certificate body with the real root key.
    pub(super) fn forge(
        &self,
        certificate: &NodeCertificate,
        change: impl FnOnce(&mut CertificateBody),
    ) -> Vec<u8> {
        let mut body = body_of(certificate.to_der());
        change(&mut body);
        x509::sign(&body, &self.root_signing_key).0
    }
}

impl Node {
    pub(super) fn envelope(&self) -> Envelope {
        Envelope::seal(
            &self.statement,
            &self.key,
            &self.tunnel_key,
            &self.certificate,
        )
        .unwrap()
    }

    /// The same node saying something else under the same certificate.
    pub(super) fn restated(
        &self,
        tunnel_key: TunnelKey,
        change: impl FnOnce(&mut KeyStatement),
    ) -> Self {
        let mut statement = self.statement.clone();
        statement.tunnel_key = tunnel_key.public();
        change(&mut statement);
        Self {
            key: IdentityKey::from_pem(&self.key.to_pem()).unwrap(),
            tunnel_key,
            certificate: self.certificate.clone(),
            statement,
        }
    }

    pub(super) fn tunnel_key_scalar(&self) -> curve25519_dalek::Scalar {
        SigningKey::from_bytes(&self.tunnel_key.to_bytes()).to_scalar()
    }

    pub(super) fn same_tunnel_key(&self) -> TunnelKey {
        TunnelKey::from_bytes(&self.tunnel_key.to_bytes())
    }
}

fn statement(
    certificate: &NodeCertificate,
    tunnel_key: &TunnelKey,
    generation: Generation,
) -> KeyStatement {
    let terms = certificate.terms();
    KeyStatement {
        identity: terms.identity.clone(),
        certificate_serial: terms.serial,
        identity_key_hash: terms.key.hash(),
        generation,
        tunnel_key: tunnel_key.public(),
        endpoints: terms.addresses.clone(),
        base_port: 51820,
        lanes: 1,
    }
}

pub(super) fn addresses(number: u8) -> Vec<IpAddr> {
    vec![
        format!("198.51.100.{number}").parse().unwrap(),
        format!("2001:db8::{number:x}").parse().unwrap(),
    ]
}

pub(super) fn ranges(texts: &[&str]) -> PodRanges {
    PodRanges::try_new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
}

pub(super) fn body_of(certificate: &[u8]) -> CertificateBody {
    let parts = x509::signed_parts(certificate).unwrap();
    CertificateBody::from_der(&parts.body).unwrap()
}

/// The four parts of an envelope, to be exchanged one by one.
#[derive(Sequence, Clone)]
pub(super) struct Parts {
    pub(super) statement: Any,
    pub(super) identity_signature: OctetString,
    pub(super) tunnel_signature: OctetString,
    pub(super) certificate: Any,
}

impl Parts {
    pub(super) fn of(envelope: &Envelope) -> Self {
        Self::from_der(&envelope.to_der()).unwrap()
    }

    pub(super) fn envelope(&self) -> Envelope {
        Envelope::from_der(&encode(self)).unwrap()
    }

    /// Puts another statement in, signed by both keys of `node`, whatever it says.
    pub(super) fn resign(&mut self, statement: &KeyStatement, node: &Node) {
        let signed = |signer| statement.signed_bytes(signer);
        self.statement = Any::from_der(&statement.to_der()).unwrap();
        let identity = node.key.sign(&signed(StatementSigner::Identity));
        let tunnel = node.tunnel_key.sign(&signed(StatementSigner::Tunnel));
        self.set_identity_signature(&identity.to_bytes());
        self.set_tunnel_signature(&tunnel.to_bytes());
    }

    pub(super) fn set_certificate(&mut self, der: &[u8]) {
        self.certificate = Any::from_der(der).unwrap();
    }

    pub(super) fn set_identity_signature(&mut self, bytes: &[u8; 64]) {
        self.identity_signature = octets(bytes);
    }

    pub(super) fn set_tunnel_signature(&mut self, bytes: &[u8; 64]) {
        self.tunnel_signature = octets(bytes);
    }
}
