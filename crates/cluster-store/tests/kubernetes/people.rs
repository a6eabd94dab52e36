//! What people are shown.

use std::time::Duration;

use cluster_store::{ClusterStore, IdentityView, NodeView, Notice, Severity};
use node_identity::{CertificateSerial, PodCidr, PodRanges, UnixTime};
use node_status::{
    CertificateStatus, GenerationStatus, NodeStatus, PeerStatus, RefusedStatus, RootPin,
    TunnelStatus,
};
use serde_json::{Value, json};

use super::fake::Fake;
use super::{ALICE, controller_store, node_store};

fn fake() -> Fake {
    let fake = Fake::default();
    fake.put("peers", peer("alice"));
    fake
}

fn peer(name: &str) -> Value {
    json!({ "apiVersion": "sotto.dev/v1alpha1", "kind": "Peer", "metadata": { "name": name },
        "spec": { "nodeUID": ALICE, "identity": "Verified" } })
}

fn view(name: &str) -> NodeView {
    NodeView {
        uid: ALICE.parse().unwrap(),
        name: name.parse().unwrap(),
        identity: IdentityView::Expired,
        reason: "r".repeat(5_000),
        pod_ranges: PodRanges::try_new(vec!["10.244.3.0/24".parse::<PodCidr>().unwrap()]).unwrap(),
        certificate: Some((CertificateSerial(u64::MAX), UnixTime(u64::MAX))),
    }
}

fn lying_peer() -> PeerStatus {
    PeerStatus {
        node: "b".repeat(1_000_000),
        identity: String::new(),
        not_after: u64::MAX,
        generation: u64::MAX,
        pod_ranges: Vec::new(),
        endpoints: Vec::new(),
        tunnel: TunnelStatus::Agreeing,
        handshake_age_seconds: Some(u64::MAX),
        suite: None,
        received_bytes: u64::MAX,
        sent_bytes: u64::MAX,
    }
}

async fn shown(status: &NodeStatus) -> Value {
    let fake = fake();
    node_store(&fake).show_status(status).await.unwrap();
    fake.object("peers", "alice").unwrap()["status"].clone()
}

#[tokio::test(start_paused = true)]
async fn nd13_numbers_and_texts_beyond_the_schema_are_cut_to_it() {
    let status = NodeStatus {
        daemon_version: "ü".repeat(1_000),
        waiting_for: vec!["x".repeat(1_000_000)],
        certificate: Some(CertificateStatus {
            serial: u64::MAX,
            not_after: u64::MAX,
            renewal_overdue: true,
        }),
        generation: Some(GenerationStatus {
            number: u64::MAX,
            age_seconds: u64::MAX,
            made: u64::MAX,
        }),
        lanes: u8::MAX,
        mtu: u16::MAX,
        peers: vec![lying_peer(); 50],
        refused: vec![
            RefusedStatus {
                node: "n".repeat(5_000),
                reason: "r".repeat(5_000),
            };
            50
        ],
        dropped_packets: u64::MAX,
        ..NodeStatus::default()
    };

    let shown = shown(&status).await;

    assert!(
        shown.to_string().len() < 20_000,
        "{} bytes",
        shown.to_string().len()
    );
    assert_eq!(shown["droppedPackets"], i64::MAX);
    assert_eq!(shown["generation"], i64::MAX);
    assert_eq!(shown["lanes"], 64);
    assert_eq!(shown["unhealthyTotal"], 100);
    assert_eq!(shown["unhealthyPeers"].as_array().unwrap().len(), 16);
    assert_eq!(shown["daemonVersion"], "ü".repeat(32));
    assert_eq!(shown["summary"]["received"], "15.9 EiB");
    let made: String = serde_json::from_value(shown["keyMade"].clone()).unwrap();
    assert!(made.starts_with("20"), "{made} is not in the future");
}

#[tokio::test(start_paused = true)]
async fn nd13_the_size_of_a_status_does_not_grow_with_the_cluster() {
    let of = |peers| NodeStatus {
        peers: vec![
            PeerStatus {
                node: "bob".to_owned(),
                tunnel: TunnelStatus::Up,
                received_bytes: 1_000_000,
                ..lying_peer()
            };
            peers
        ],
        ..NodeStatus::default()
    };

    let (small, large) = (shown(&of(10)).await, shown(&of(5_000)).await);

    assert_eq!(large["summary"]["tunnels"], "5000/5000");
    assert!(large.to_string().len() < small.to_string().len() + 100);
}

#[tokio::test(start_paused = true)]
async fn a_condition_keeps_its_time_until_it_turns() {
    let fake = fake();
    let mut before = peer("alice");
    before["status"] = json!({ "oldestHandshake": "2020-01-01T00:00:00Z", "conditions": [
        { "type": "Ready", "status": "True", "reason": "Serving", "message": "",
          "lastTransitionTime": "2020-01-01T00:00:00Z" },
        { "type": "GuardStands", "status": "True", "reason": "Stands", "message": "",
          "lastTransitionTime": "2020-01-01T00:00:00Z" },
    ]});
    fake.put("peers", before);
    let status = NodeStatus {
        root_pin: RootPin::FirstUse,
        ..NodeStatus::default()
    };

    node_store(&fake).show_status(&status).await.unwrap();

    let shown = &fake.object("peers", "alice").unwrap()["status"];
    assert!(
        shown.get("oldestHandshake").is_none(),
        "what is no more is not shown"
    );
    let condition = |kind: &str| {
        let conditions = shown["conditions"].as_array().unwrap();
        conditions
            .iter()
            .find(|found| found["type"] == kind)
            .unwrap()
            .clone()
    };
    assert_eq!(
        condition("Ready")["lastTransitionTime"],
        "2020-01-01T00:00:00Z"
    );
    assert_ne!(
        condition("GuardStands")["lastTransitionTime"],
        "2020-01-01T00:00:00Z"
    );
    assert_eq!(condition("RootPin")["reason"], "TOFU");
}

#[tokio::test(start_paused = true)]
async fn a_status_without_a_peer_to_show_it_in_is_no_fault() {
    let fake = Fake::default();
    let store = node_store(&fake);

    store.show_status(&NodeStatus::default()).await.unwrap();
    fake.put("peers", peer("alice"));
    store.show_status(&NodeStatus::default()).await.unwrap();

    let shown = fake.object("peers", "alice").unwrap();
    assert_eq!(shown["status"]["summary"]["tunnels"], "0/0");
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_written_when_it_differs_and_removed_when_its_node_is_gone() {
    let fake = fake();
    fake.put("peers", peer("mallory"));
    let mut kept = peer("carol");
    kept["spec"]["nodeUID"] = json!(ALICE);
    fake.put("peers", kept);
    fake.put("nodes", json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "carol", "uid": ALICE } }));
    let store = controller_store(&fake);
    let view = view("alice");

    for _ in 0..3 {
        store.show_nodes(std::slice::from_ref(&view)).await.unwrap();
    }

    let spec = &fake.object("peers", "alice").unwrap()["spec"];
    assert_eq!(spec["identity"], "Expired");
    assert_eq!(spec["reason"].as_str().unwrap().len(), 1_024);
    assert!(fake.object("peers", "mallory").is_none());
    assert!(fake.object("peers", "carol").is_some());
    assert_eq!(fake.asked(|asked| asked.method == "PATCH").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_somebody_removed_is_back_within_a_minute() {
    let fake = Fake::default();
    let store = controller_store(&fake);
    let view = [view("alice")];
    store.show_nodes(&view).await.unwrap();

    fake.delete("peers", "alice");
    tokio::time::sleep(Duration::from_secs(60)).await;
    store.show_nodes(&view).await.unwrap();

    assert!(fake.object("peers", "alice").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_same_event_is_written_once_in_a_while() {
    let fake = Fake::default();
    let store = controller_store(&fake);
    let notice = |reason| Notice {
        node: "alice".parse().unwrap(),
        severity: Severity::Warning,
        reason,
        message: "m".repeat(5_000),
    };

    for _ in 0..100 {
        store.notify(notice("Refused")).await;
        store.notify(notice("Issued")).await;
    }

    // Nobody waits for them but this test.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events = fake.asked(|asked| asked.method == "POST");
    assert_eq!(events.len(), 2);
    assert!(events[0].path.contains("/namespaces/default/events"));
    assert_eq!(events[0].body["regarding"]["name"], "alice");
    assert_eq!(events[0].body["note"].as_str().unwrap().len(), 1_024);
}
