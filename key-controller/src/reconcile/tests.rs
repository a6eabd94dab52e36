//! Controllers at work on a store and a ledger in memory, in the shapes of Kubernetes.

mod crowd;
mod departures;
mod lives;
mod refusing;
mod restored;
mod store;

use std::path::Path;

use chacha20::ChaCha20Rng;
use cluster_store::{EnrolmentRequest, NodeSeen, PodSeen, RequestState, Requester, Stamp};
use node_identity::{
    CertificateRequest, IdentityKey, NodeCertificate, RootKey, SignedRevocationList, SpiffeId,
    TrustedRoots,
};
use rand_core::SeedableRng;

use super::*;
use crate::ledger::MemoryLedger;
use store::MemoryStore;

const NOW: UnixTime = UnixTime(1_800_000_000);
const DAEMON_SET: &str = "5f7a3f5e-4a8b-4f5e-9d2d-0d7a0a3c1d11";

/// One cluster: what controllers come and go around.
struct Scene {
    root: [(&'static str, Vec<u8>); 2],
    ledger: MemoryLedger,
    store: MemoryStore,
    settings: Settings,
    now: UnixTime,
}

impl Scene {
    fn new(more: &str) -> Self {
        let text = format!(
            "trust_domain = \"sotto.test\"\n\
             cluster_pod_ranges = [\"10.0.0.0/8\"]\n\
             underlay_ranges = [\"100.64.0.0/10\"]\n[kubernetes]\n{more}"
        );
        let root = root(1);
        let pin = signer(&root).root().pin();
        let ledger = Ledger::empty("sotto.test".parse().unwrap(), pin);
        Self {
            root,
            ledger: MemoryLedger::new(ledger),
            store: MemoryStore::default(),
            settings: Settings::parse(Path::new("--settings"), text.as_bytes()).unwrap(),
            now: NOW,
        }
    }

    /// A controller that has just started.
    fn controller(&self) -> Controller<MemoryStore> {
        self.controller_on(self.ledger.clone())
    }

    fn controller_on(&self, ledger: MemoryLedger) -> Controller<MemoryStore> {
        Controller::new(
            self.store.clone(),
            LedgerHome::Memory(ledger),
            self.settings.clone(),
            signer(&self.root),
            Tally::default(),
        )
    }

    async fn step(&self, controller: &mut Controller<MemoryStore>) {
        let mut random = random();
        let stepped = controller.step(Signing::Allowed, self.now, &mut random);
        stepped.await.unwrap();
    }

    fn list(&self) -> RevocationList {
        let der = self.store.root().revocations.unwrap();
        let root = signer(&self.root).root().clone();
        let roots = TrustedRoots::new(&[root.pin()], [root]);
        let signed = SignedRevocationList::from_der(&der).unwrap();
        signed.verify(&roots).unwrap().list().clone()
    }

    fn certificate(&self, number: u32) -> NodeCertificate {
        let der = self.store.node(&identity(number).uid).unwrap().certificate;
        NodeCertificate::from_der(&der.unwrap()).unwrap()
    }
}

fn random() -> ChaCha20Rng {
    static SEED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1000);
    ChaCha20Rng::seed_from_u64(SEED.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn root(seed: u64) -> [(&'static str, Vec<u8>); 2] {
    let mut random = ChaCha20Rng::seed_from_u64(seed + 900_000);
    let key = RootKey::generate(&mut random);
    let domain = "sotto.test".parse().unwrap();
    let certificate = key.create_certificate(&domain, NOW.minus(KEEP_ANSWERS), &mut random);
    [
        ("root.key", key.to_pem().as_bytes().to_vec()),
        ("root.der", certificate.to_der().to_vec()),
    ]
}

fn signer(root: &[(&'static str, Vec<u8>); 2]) -> Signer {
    let entry = |name: &str| {
        let entry = root.iter().find(|(entry, _)| *entry == name);
        entry.map(|(_, bytes)| bytes.as_slice())
    };
    Signer::from_entries("Secret", entry).unwrap()
}

fn identity(number: u32) -> SpiffeId {
    SpiffeId {
        trust_domain: "sotto.test".parse().unwrap(),
        uid: format!("00000000-0000-4000-8000-{number:012x}")
            .parse()
            .unwrap(),
        name: format!("node{number}").parse().unwrap(),
    }
}

fn key(number: u32) -> IdentityKey {
    IdentityKey::generate(&mut ChaCha20Rng::seed_from_u64(u64::from(number)))
}

/// What node `number`'s daemon asks, and what the API server stamps into it.
fn asks(number: u32, key: &IdentityKey) -> (EnrolmentRequest, Stamp) {
    let identity = identity(number);
    let (high, low) = (number / 200, number % 200);
    let request = CertificateRequest::create(key, &identity, &[]).unwrap();
    let request = EnrolmentRequest {
        pkcs10: request.to_der().to_vec(),
        token: None,
    };
    let pod_uid = format!("11111111-0000-4000-8000-{number:012x}");
    let stamp = Stamp {
        username: "system:serviceaccount:sotto-system:sotto-node".to_owned(),
        pod_name: vec!["sotto-node-x".to_owned()],
        pod_uid: vec![pod_uid.clone()],
        node_name: vec![identity.name.to_string()],
        node_uid: vec![identity.uid.to_string()],
        operator_approved: false,
        pod: Some(PodSeen {
            uid: pod_uid,
            service_account: "sotto-node".to_owned(),
            node_name: identity.name.to_string(),
            daemon_set_uid: Some(DAEMON_SET.to_owned()),
        }),
        node: Some(NodeSeen {
            uid: identity.uid.to_string(),
            being_deleted: false,
            addresses: vec![format!("100.64.{high}.{low}").parse().unwrap()],
            pod_ranges: vec![format!("10.{high}.{low}.0/24")],
        }),
        daemon_set_uid: Some(DAEMON_SET.to_owned()),
        looked_up: None,
    };
    (request, stamp)
}
