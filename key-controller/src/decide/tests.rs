//! A cluster on paper, and the decisions about it.

mod authority;
mod claims;
mod stamped;

use std::path::Path;
use std::time::Duration;

use chacha20::ChaCha20Rng;
use node_identity::{IdentityKey, JoinToken};
use proptest::prelude::*;
use rand_core::SeedableRng;

use super::*;
use crate::tokens::{Invitation, invite};

const START: UnixTime = UnixTime(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const SETTINGS: &str = r#"
state_directory = "/var/lib/sotto-controller"
store_directory = "/var/lib/sotto-store"
trust_domain = "sotto.test"
cluster_pod_ranges = ["10.244.0.0/22", "fd00:10:244::/56"]
underlay_ranges = ["198.51.100.0/24", "2001:db8::/64"]
service_ranges = ["10.96.0.0/12"]
"#;

/// A cluster whose ledger, settings and clock a test turns as it likes.
struct Scene {
    ledger: Ledger,
    settings: Settings,
    now: UnixTime,
    random: ChaCha20Rng,
}

impl Scene {
    fn new() -> Self {
        let pin = format!("sha256:{}", "5a".repeat(32)).parse().unwrap();
        Self {
            ledger: Ledger::empty("sotto.test".parse().unwrap(), pin),
            settings: Settings::parse(Path::new("controller.toml"), SETTINGS.as_bytes()).unwrap(),
            now: START,
            random: ChaCha20Rng::seed_from_u64(7),
        }
    }

    fn invite(&mut self, name: &str, addresses: &[&str]) -> JoinToken {
        let invitation = Invitation {
            name: name.parse().unwrap(),
            addresses: ips(addresses),
            lifetime: 24 * HOUR,
        };
        invite(&mut self.ledger, &invitation, self.now, &mut self.random)
            .unwrap()
            .token
    }

    fn decide(&mut self, asked: &EnrolmentRequest) -> Decision {
        decide(
            asked,
            &Requester::Anybody,
            &self.ledger,
            &self.settings,
            self.now,
            &mut self.random,
        )
    }

    /// Decides and enters a grant into the ledger.
    fn grant(&mut self, asked: &EnrolmentRequest) -> NodeRecord {
        match self.decide(asked) {
            Decision::Issue(grant) => {
                let record = grant.record.clone();
                grant.enter(&mut self.ledger);
                record
            }
            other @ (Decision::Again(_)
            | Decision::Pending(_)
            | Decision::AwaitApproval { .. }
            | Decision::Refused(_)) => panic!("granted, not {other:?}"),
        }
    }

    fn refusal(&mut self, asked: &EnrolmentRequest) -> Refusal {
        match self.decide(asked) {
            Decision::Refused(reason) => reason,
            other @ (Decision::Issue(_)
            | Decision::Again(_)
            | Decision::Pending(_)
            | Decision::AwaitApproval { .. }) => panic!("refused, not {other:?}"),
        }
    }

    /// Enrols alice at 198.51.100.1 with key 1.
    fn with_alice() -> (Self, JoinToken) {
        let mut scene = Self::new();
        let token = scene.invite("alice", &[]);
        scene.grant(&asks(
            &key(1),
            &token.identity,
            &["198.51.100.1"],
            Some(&token),
        ));
        (scene, token)
    }

    fn advance(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }
}

fn key(seed: u64) -> IdentityKey {
    IdentityKey::generate(&mut ChaCha20Rng::seed_from_u64(seed))
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn asks(
    key: &IdentityKey,
    identity: &SpiffeId,
    addresses: &[&str],
    token: Option<&JoinToken>,
) -> EnrolmentRequest {
    let request = CertificateRequest::create(key, identity, &ips(addresses)).unwrap();
    let pkcs10 = request.to_der().to_vec();
    let token = token.map(|token| TokenProof {
        id: *token.id.as_bytes(),
        mac: token.request_mac(&pkcs10),
    });
    EnrolmentRequest { pkcs10, token }
}

proptest! {
    #[test]
    fn i5_no_bytes_make_the_decision_panic_or_enrol(
        pkcs10 in prop::collection::vec(any::<u8>(), 0..400),
        id in any::<[u8; 16]>(),
    ) {
        let (mut scene, _) = Scene::with_alice();
        let token = Some(TokenProof { id, mac: [0; 32] });

        let decision = scene.decide(&EnrolmentRequest { pkcs10, token });

        prop_assert!(matches!(decision, Decision::Refused(Refusal::Malformed(_))));
    }

    #[test]
    fn nd01_whatever_order_nodes_ask_in_their_ranges_are_disjoint(
        turns in prop::collection::vec(0usize..6, 1..24),
    ) {
        let mut scene = Scene::new();
        let tokens: Vec<JoinToken> =
            (0..6).map(|index| scene.invite(&format!("node{index}"), &[])).collect();
        for turn in turns {
            let address = format!("198.51.100.{}", turn + 1);
            let asked = asks(&key(turn as u64), &tokens[turn].identity, &[&address], Some(&tokens[turn]));
            scene.advance(Duration::from_secs(REPEAT_WINDOW_SECONDS));
            match scene.decide(&asked) {
                Decision::Issue(grant) => grant.enter(&mut scene.ledger),
                Decision::Again(_) | Decision::Pending(_) => {}
                other @ (Decision::AwaitApproval { .. } | Decision::Refused(_)) => prop_assert!(false, "{other:?}"),
            }
        }
        let nodes: Vec<&NodeRecord> = scene.ledger.nodes.values().collect();
        for (position, one) in nodes.iter().enumerate() {
            for other in &nodes[position + 1..] {
                prop_assert!(!one.pod_ranges.overlaps(&other.pod_ranges));
            }
        }
        prop_assert!(nodes.len() <= 4, "the cluster has room for four");
    }
}
