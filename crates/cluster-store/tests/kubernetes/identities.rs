//! Certificates and envelopes in objects that others made or filled, and nodes that depart.

use std::time::Duration;

use chacha20::ChaCha8Rng;
use cluster_store::{ClusterStore, StoreError};
use node_identity::{
    CERTIFICATE_LIFETIME, CertificateSerial, IdentityKey, NodeCertificateTerms, NodeName, NodeUid,
    PodCidr, PodRanges, RootKey, SpiffeId, UnixTime,
};
use rand_core::SeedableRng;
use serde_json::json;

use super::fake::{Fake, Instead};
use super::requests::world;
use super::{ALICE, BOB, IDENTITIES, controller_store, identity, node_store};

fn certificate(uid: &str) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (key, now) = (RootKey::generate(&mut random), UnixTime(1_800_000_000));
    let domain = "sotto.test".parse().unwrap();
    let root = key.create_certificate(&domain, now, &mut random);
    let terms = NodeCertificateTerms {
        identity: SpiffeId {
            trust_domain: domain,
            uid: uid.parse().unwrap(),
            name: "alice".parse().unwrap(),
        },
        key: IdentityKey::generate(&mut random).public(),
        addresses: vec!["198.51.100.7".parse().unwrap()],
        pod_ranges: PodRanges::try_new(vec!["10.244.3.0/24".parse::<PodCidr>().unwrap()]).unwrap(),
        serial: CertificateSerial(1),
        not_before: now,
        not_after: now.plus(CERTIFICATE_LIFETIME),
    };
    key.issue(&root, &terms).unwrap().to_der().to_vec()
}

#[tokio::test(start_paused = true)]
async fn aw08_an_object_that_is_full_makes_way_for_its_certificate() {
    let fake = world();
    let mut full = identity("alice", ALICE, b"old");
    full["metadata"]["finalizers"] = json!(["a/a"]);
    full["spec"]["revoked"] = json!(true);
    fake.put(IDENTITIES, full);
    // As an etcd that takes no byte more.
    fake.instead(|asked| {
        let grows = asked.method == "PATCH" && asked.body["spec"]["certificate"].is_string();
        grows.then_some(Instead::Status(500, None))
    });
    let certificate = certificate(ALICE);

    let store = controller_store(&fake);
    let alice: NodeUid = ALICE.parse().unwrap();
    store
        .publish_certificate(&alice, &certificate)
        .await
        .unwrap();

    let spec = fake.object(IDENTITIES, "alice").unwrap()["spec"].clone();
    assert_eq!(spec["certificate"], cluster_api::encode(&certificate));
    assert_eq!(spec["revoked"], true, "an operator's word");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_replaces_what_another_node_or_nobody_left_under_its_name() {
    let alice: NodeUid = ALICE.parse().unwrap();
    let certificate = certificate(ALICE);
    let mut forged = identity("alice", BOB, b"forged");
    forged["metadata"]["finalizers"] = json!(["mallory.example/never"]);
    let malformed = json!({ "metadata": { "name": "alice" }, "spec": { "nodeUID": 7 } });
    let mut own = identity("alice", ALICE, b"old");
    own["spec"]["revoked"] = json!(true);
    for (before, revoked) in [
        (Some(forged), false),
        (Some(malformed), false),
        (Some(own), true),
        (None, false),
    ] {
        let fake = world();
        before
            .into_iter()
            .for_each(|object| drop(fake.put(IDENTITIES, object)));
        let store = controller_store(&fake);

        store
            .publish_certificate(&alice, &certificate)
            .await
            .unwrap();

        let spec = fake.object(IDENTITIES, "alice").unwrap()["spec"].clone();
        assert_eq!(spec["nodeUID"], ALICE);
        assert_eq!(spec["certificate"], cluster_api::encode(&certificate));
        assert_eq!(spec["revoked"], revoked);

        store.published().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = fake.asked(|_| true).len();
        store
            .publish_certificate(&alice, &certificate)
            .await
            .unwrap();
        assert_eq!(
            fake.asked(|_| true).len(),
            before,
            "what is there is not written"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_node_is_withdrawn_once_though_its_daemon_goes_on_and_removed_with_its_node() {
    let fake = world();
    let mut own = identity("alice", ALICE, b"old");
    own["status"] = json!({ "statements": ["AQ=="] });
    fake.put(IDENTITIES, own);
    let store = controller_store(&fake);
    let (alice, name): (NodeUid, NodeName) = (ALICE.parse().unwrap(), "alice".parse().unwrap());
    let settle = async || {
        store.published().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    settle().await;

    store.withdraw_node(&alice, &name).await.unwrap();

    let object = fake.object(IDENTITIES, "alice").unwrap();
    assert_eq!(object["spec"]["revoked"], true);
    assert_eq!(object["spec"].get("certificate"), None);
    assert_eq!(object["status"]["statements"], json!(["AQ=="]));
    settle().await;
    let before = fake.asked(|_| true).len();
    store.withdraw_node(&alice, &name).await.unwrap();
    assert_eq!(fake.asked(|_| true).len(), before, "nothing is left to do");

    fake.delete("nodes", "alice");
    settle().await;
    store.withdraw_node(&alice, &name).await.unwrap();
    assert_eq!(fake.object(IDENTITIES, "alice"), None);
}

#[tokio::test(start_paused = true)]
async fn envelopes_wait_for_the_controller_to_make_their_object() {
    let fake = world();
    let store = node_store(&fake);
    let alice: NodeUid = ALICE.parse().unwrap();
    let envelopes = [vec![1], vec![2]];

    let early = store.publish_envelopes(&alice, &envelopes).await;
    fake.put(IDENTITIES, identity("alice", ALICE, b"1"));
    store.publish_envelopes(&alice, &envelopes).await.unwrap();

    assert!(
        matches!(early, Err(StoreError::NotThere { .. })),
        "{early:?}"
    );
    let status = &fake.object(IDENTITIES, "alice").unwrap()["status"];
    assert_eq!(status["statements"], json!(["AQ==", "Ag=="]));
}

#[tokio::test(start_paused = true)]
async fn a_node_departs_only_when_asking_for_it_says_so() {
    let fake = world();
    let store = controller_store(&fake);
    let (alice, bob): (NodeUid, NodeUid) = (ALICE.parse().unwrap(), BOB.parse().unwrap());
    let name = || "alice".parse().unwrap();
    let both = [(alice, name()), (bob, name())];
    assert_eq!(store.missing(&both).await.unwrap(), [bob]);
    assert_eq!(store.departed(&both).await.unwrap().gone, [bob]);

    // The list says that nobody is there, the Node itself says otherwise.
    let empty = Fake::default();
    empty.put("nodes", fake.object("nodes", "alice").unwrap());
    let node = fake.object("nodes", "alice").unwrap();
    let listed = controller_store(&empty);
    listed.missing(&[]).await.unwrap();
    empty.delete("nodes", "alice");
    tokio::time::sleep(Duration::from_secs(1)).await;
    empty.end_watches("nodes");
    empty.put("nodes", node);
    let departed = listed.departed(&[(alice, name())]).await.unwrap();
    assert!(departed.gone.is_empty() && departed.unknown.is_empty());
}

#[tokio::test(start_paused = true)]
async fn aw08_a_node_that_cannot_be_asked_for_keeps_no_answer_about_another_back() {
    let fake = world();
    let store = controller_store(&fake);
    let (alice, bob): (NodeUid, NodeUid) = (ALICE.parse().unwrap(), BOB.parse().unwrap());
    let both = [(bob, "bad".parse().unwrap()), (bob, "bob".parse().unwrap())];
    fake.instead(|asked| {
        let is_bad = asked.path.ends_with("/nodes/bad");
        is_bad.then_some(Instead::Status(500, None))
    });

    let departed = store.departed(&both).await.unwrap();

    assert_eq!(departed.gone, [bob]);
    assert_eq!(departed.unknown.len(), 1);

    fake.instead(|_| Some(Instead::Status(500, None)));
    let alone = store.departed(&[(alice, "alice".parse().unwrap())]).await;
    assert_eq!(alone.unwrap().gone, []);
    let many: Vec<(NodeUid, NodeName)> = (0..9)
        .map(|number| (alice, format!("node{number}").parse().unwrap()))
        .collect();
    assert!(store.departed(&many).await.is_err(), "the server is away");
}
