//! A root, nodes, and the papers that it gives them.

use chacha20::ChaCha12Rng;
use node_identity::{
    CertificateSerial, Envelope, Floor, Generation, IdentityKey, KeyStatement, NodeCertificate,
    NodeCertificateTerms, PodRanges, RevocationEntry, RevocationList, Revocations, RevokedSubject,
    RootCertificate, RootKey, SpiffeId, TrustedRoots, TunnelKey,
};
use rand_core::SeedableRng;

use super::super::*;

/// When all tests begin: certificates are made then.
pub(super) const START: UnixTime = UnixTime(1_800_000_000);

pub(super) fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

/// A cluster's root.
pub(super) struct Root {
    key: RootKey,
    certificate: RootCertificate,
    trusted: TrustedRoots,
}

impl Root {
    pub(super) fn new() -> Self {
        let key = RootKey::generate(&mut rng(1));
        let domain = "sotto.test".parse().unwrap();
        let certificate = key.create_certificate(&domain, START, &mut rng(2));
        let trusted = TrustedRoots::new(&[key.pin()], [certificate.clone()]);
        Self {
            key,
            certificate,
            trusted,
        }
    }

    /// A list with this one entry.
    pub(super) fn revocations(&self, subject: RevokedSubject) -> Revocations {
        let list = RevocationList {
            number: START.0,
            issued: START,
            next_update: UnixTime(START.0 + 26 * 3600),
            entries: vec![RevocationEntry {
                subject,
                until: UnixTime(START.0 + 72 * 3600),
            }],
        };
        let signed = self.key.sign_revocations(&list);
        let mut revocations = Revocations::default();
        let verified = signed.verify(&self.trusted).unwrap();
        revocations.accept(&verified).unwrap();
        revocations
    }
}

/// What a node is, apart from its daemon.
pub(super) struct Identity {
    pub(super) number: u8,
    pub(super) lanes: u8,
    id: SpiffeId,
    key: IdentityKey,
    certificates: u64,
}

impl Identity {
    pub(super) fn new(number: u8, name: &str, lanes: u8) -> Self {
        let uid = format!("00000000-0000-4000-8000-0000000000{number:02}");
        let id = format!("spiffe://sotto.test/node/{uid}/{name}");
        Self {
            number,
            lanes,
            id: id.parse().unwrap(),
            key: IdentityKey::generate(&mut rng(100 + u64::from(number))),
            certificates: 0,
        }
    }

    pub(super) fn uid(&self) -> NodeUid {
        self.id.uid
    }

    pub(super) fn address(&self) -> IpAddr {
        IpAddr::from([198, 51, 100, self.number])
    }

    fn certificate(&mut self, root: &Root, not_after: UnixTime) -> NodeCertificate {
        self.certificates += 1;
        let range = format!("10.244.{}.0/24", self.number).parse().unwrap();
        let terms = NodeCertificateTerms {
            identity: self.id.clone(),
            key: self.key.public(),
            addresses: vec![self.address()],
            pod_ranges: PodRanges::try_new(vec![range]).unwrap(),
            serial: CertificateSerial((START.0 << 24) + self.certificates),
            not_before: START,
            not_after,
        };
        root.key.issue(&root.certificate, &terms).unwrap()
    }

    /// A new generation under a new certificate, good for three days.
    pub(super) fn generation(&mut self, root: &Root, seed: u64) -> OwnGeneration {
        self.generation_until(root, seed, UnixTime(START.0 + 72 * 3600))
    }

    pub(super) fn generation_until(
        &mut self,
        root: &Root,
        seed: u64,
        not_after: UnixTime,
    ) -> OwnGeneration {
        let certificate = self.certificate(root, not_after);
        let key = TunnelKey::generate(&mut rng(seed));
        let statement = KeyStatement {
            identity: self.id.clone(),
            certificate_serial: certificate.terms().serial,
            identity_key_hash: self.key.public().hash(),
            generation: Generation(START.0 + self.certificates),
            tunnel_key: key.public(),
            endpoints: vec![self.address()],
            base_port: 51820,
            lanes: self.lanes,
        };
        let envelope = Envelope::seal(&statement, &self.key, &key, &certificate).unwrap();
        let (revocations, floor) = (Revocations::default(), Floor::default());
        let verified = envelope.verify(&root.trusted, &revocations, &floor, START);
        OwnGeneration {
            verified: verified.unwrap(),
            key,
            highest_stamp: None,
        }
    }
}
