//! A cluster's root, and what each node is apart from its daemon: identity, certificates, tunnel
//! keys, and what it has learned of others.

use std::collections::BTreeMap;
use std::time::Duration;

use chacha20::ChaCha12Rng;
use node_identity::{
    CertificateSerial, Envelope, Floor, Generation, IdentityKey, KeyStatement, NodeCertificate,
    NodeCertificateTerms, NodeUid, PodRanges, RevocationEntry, RevocationList, Revocations,
    RevokedSubject, RootCertificate, RootKey, SpiffeId, TrustedRoots, TunnelKey, UnixTime,
    VerifiedPeer, VerifyError, admit,
};
use rand_core::SeedableRng;
use tunnel_core::control::{GenerationRank, OwnGeneration};

use crate::clock::{START, seconds};
use crate::packet::{endpoint, pod_range};

/// How long a certificate lives.
const LIFE: Duration = Duration::from_secs(72 * 3600);

/// How far its beginning is backdated.
const BACKDATED: Duration = Duration::from_secs(300);

/// Port of lane 0.
pub const BASE_PORT: u16 = 51_820;

/// The cluster's root.
pub struct Root {
    key: RootKey,
    certificate: RootCertificate,
    trusted: TrustedRoots,
    revoked: Vec<RevocationEntry>,
}

impl Root {
    /// A root made by this randomness.
    pub fn new(rng: &mut ChaCha12Rng) -> Self {
        let key = RootKey::generate(rng);
        let domain = "sotto.test".parse().expect("a trust domain");
        let certificate = key.create_certificate(&domain, START, rng);
        let trusted = TrustedRoots::new(&[key.pin()], [certificate.clone()]);
        Self {
            key,
            certificate,
            trusted,
            revoked: Vec::new(),
        }
    }

    /// Revokes a node, and everyone revoked before.
    pub fn revoke(&mut self, node: NodeUid, now: UnixTime) -> Revocations {
        self.revoked.push(RevocationEntry {
            subject: RevokedSubject::Node(node),
            until: now.plus(LIFE),
        });
        let list = RevocationList {
            number: now.0,
            issued: now,
            next_update: now.plus(Duration::from_secs(26 * 3600)),
            entries: self.revoked.clone(),
        };
        let signed = self.key.sign_revocations(&list);
        let verified = signed.verify(&self.trusted).expect("our own list");
        let mut revocations = Revocations::default();
        revocations.accept(&verified).expect("a first list");
        revocations
    }
}

/// Whether a new generation has a new certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Renewed, to live this long.
    Renewed(Duration),
    /// The same: only the tunnel key is new.
    Kept,
}

impl Certificate {
    /// An ordinary renewal.
    pub const RENEWED: Certificate = Certificate::Renewed(LIFE);
}

/// Who a node is.
pub struct Identity {
    number: usize,
    lanes: u8,
    id: SpiffeId,
    key: IdentityKey,
    certificate: Option<NodeCertificate>,
    newest: Option<Generation>,
}

impl Identity {
    /// A node with this many lanes.
    pub fn new(number: usize, lanes: u8, rng: &mut ChaCha12Rng) -> Self {
        let uid = format!("00000000-0000-4000-8000-0000000000{:02}", number + 1);
        let id = format!("spiffe://sotto.test/node/{uid}/node-{number}");
        Self {
            number,
            lanes,
            id: id.parse().expect("a SPIFFE identity"),
            key: IdentityKey::generate(rng),
            certificate: None,
            newest: None,
        }
    }

    /// Its number in the cluster's list.
    #[must_use]
    pub fn uid(&self) -> NodeUid {
        self.id.uid
    }

    /// Its lanes.
    #[must_use]
    pub fn lanes(&self) -> u8 {
        self.lanes
    }

    /// Makes the next generation, at this time of day.
    pub fn generation(
        &mut self,
        root: &Root,
        wanted: Certificate,
        now: Duration,
        rng: &mut ChaCha12Rng,
    ) -> OwnGeneration {
        let now = seconds(now);
        let certificate = match (wanted, self.certificate.clone()) {
            (Certificate::Kept, Some(certificate)) => certificate,
            (Certificate::Kept, None) => self.issue(root, LIFE, now, rng),
            (Certificate::Renewed(life), _) => self.issue(root, life, now, rng),
        };
        let key = TunnelKey::generate(rng);
        let generation = Generation::next(now, self.newest);
        let statement = KeyStatement {
            identity: self.id.clone(),
            certificate_serial: certificate.terms().serial,
            identity_key_hash: self.key.public().hash(),
            generation,
            tunnel_key: key.public(),
            endpoints: vec![endpoint(self.number)],
            base_port: BASE_PORT,
            lanes: self.lanes,
        };
        let envelope = Envelope::seal(&statement, &self.key, &key, &certificate);
        let envelope = envelope.expect("a statement that fits its certificate");
        let verified = envelope.verify(
            &root.trusted,
            &Revocations::default(),
            &Floor::default(),
            certificate.terms().not_before.plus(BACKDATED),
        );
        self.certificate = Some(certificate);
        self.newest = Some(generation);
        OwnGeneration {
            verified: verified.expect("an envelope of our own"),
            key,
            highest_stamp: None,
        }
    }

    fn issue(
        &self,
        root: &Root,
        life: Duration,
        now: UnixTime,
        rng: &mut ChaCha12Rng,
    ) -> NodeCertificate {
        let range = pod_range(self.number).parse().expect("a pod range");
        let previous = self.certificate.as_ref().map(|it| it.terms().serial);
        let terms = NodeCertificateTerms {
            identity: self.id.clone(),
            key: self.key.public(),
            addresses: vec![endpoint(self.number)],
            pod_ranges: PodRanges::try_new(vec![range]).expect("one range"),
            serial: CertificateSerial::next(now, previous, rng),
            not_before: now.minus(BACKDATED),
            not_after: now.plus(life),
        };
        let issued = root.key.issue(&root.certificate, &terms);
        issued.expect("terms that the root may sign")
    }
}

/// What a node has learned of others: on disk, so that a restart keeps it.
#[derive(Default)]
pub struct Learned {
    floor: Floor,
    peers: BTreeMap<NodeUid, VerifiedPeer>,
    /// What is revoked.
    pub revocations: Revocations,
}

impl Learned {
    /// Takes an envelope as published.
    ///
    /// # Errors
    /// It does not verify: superseded, revoked, expired.
    pub fn learn(
        &mut self,
        envelope: &Envelope,
        root: &Root,
        wall: Duration,
    ) -> Result<(), VerifyError> {
        let judged = self.judged(wall);
        let peer = envelope.verify(&root.trusted, &self.revocations, &self.floor, judged)?;
        self.floor.observe(&peer);
        self.peers.insert(peer.identity().uid, peer);
        Ok(())
    }

    /// The second by which certificates are judged when the clock shows `wall`.
    #[must_use]
    pub fn judged(&self, wall: Duration) -> UnixTime {
        self.floor.expiry_clock(seconds(wall))
    }

    /// Everybody who may be spoken with.
    #[must_use]
    pub fn admitted(&self, wall: Duration) -> Vec<VerifiedPeer> {
        let judged = self.judged(wall);
        let peers = self.peers.values();
        let good = peers.filter(|it| !it.is_expired(judged) && !it.is_revoked(&self.revocations));
        admit(good.cloned().collect()).peers
    }

    /// The newest generation known of a node.
    #[must_use]
    pub fn newest(&self, node: NodeUid) -> Option<GenerationRank> {
        self.peers.get(&node).map(GenerationRank::of)
    }
}

/// Randomness for one purpose of a run.
#[must_use]
pub fn rng(seed: u64, purpose: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(purpose))
}
