//! Certificate signing requests and what is looked up for them.

use std::collections::BTreeSet;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use cluster_store::{
    Answer, ClusterStore, EnrolmentRequest, PendingReason, RequestState, Requester, Stamp,
};
use serde_json::{Value, json};

use super::fake::{Fake, Instead};
use super::{ALICE, REQUESTS, controller_store, node_store};

fn request(name: &str, node: &str, second: u32) -> Value {
    let pem = "-----BEGIN CERTIFICATE REQUEST-----\nAQID\n-----END CERTIFICATE REQUEST-----\n";
    let stamp = |value: &str| json!([value]);
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {
            "name": name, "creationTimestamp": format!("2026-11-26T00:{:02}:{:02}Z", second / 60, second % 60),
        },
        "spec": {
            "request": Base64::encode_string(pem.as_bytes()), "signerName": "sotto.dev/node",
            "username": "system:serviceaccount:sotto-system:sotto-node",
            "extra": {
                "authentication.kubernetes.io/pod-name": stamp(&format!("pod-{node}")),
                "authentication.kubernetes.io/pod-uid": stamp("pod-uid"),
                "authentication.kubernetes.io/node-name": stamp(node),
                "authentication.kubernetes.io/node-uid": stamp(&format!("uid-of-{node}")),
            },
        },
    })
}

pub(crate) fn world() -> Fake {
    let fake = Fake::default();
    fake.put(
        "daemonsets",
        json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "sotto-node", "uid": "ds" } }),
    );
    fake.put(
        "pods",
        json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "pod-alice", "uid": "pod-uid", "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "sotto-node", "uid": "ds", "controller": true },
            ]},
            "spec": { "nodeName": "alice", "serviceAccountName": "sotto-node", "containers": [] },
        }),
    );
    fake.put(
        "nodes",
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "alice", "uid": ALICE },
            "spec": { "podCIDRs": ["10.244.3.0/24"] },
            "status": { "addresses": [
                { "type": "Hostname", "address": "alice" },
                { "type": "InternalIP", "address": "198.51.100.7" },
                { "type": "InternalIP", "address": "nonsense" },
                { "type": "ExternalIP", "address": "203.0.113.7" },
            ]},
        }),
    );
    fake
}

fn stamp(requester: &Requester) -> &Stamp {
    match requester {
        Requester::Stamped(stamp) => stamp,
        Requester::Anybody => panic!("not stamped"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_comes_with_its_stamps_and_what_is_there_now() {
    let fake = world();
    let mut approved = request("sotto-alice-1", "alice", 1);
    approved["status"] = json!({ "conditions": [
        { "type": "Approved", "status": "True", "reason": "SottoOperatorApproved" },
        { "type": "sotto.dev/Pending", "status": "True", "reason": "AwaitsApproval" },
    ]});
    fake.put(REQUESTS, approved);
    fake.put(REQUESTS, request("sotto-bob-1", "bob", 1));
    let mut answered = request("sotto-alice-0", "alice", 0);
    answered["status"] = json!({ "conditions": [{ "type": "Denied", "status": "True" }] });
    fake.put(REQUESTS, answered);
    let store = controller_store(&fake);

    let found = store.requests().await.unwrap();

    let [alice, bob] = found.requests.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(alice.request.pkcs10, [1, 2, 3]);
    let (alice, state) = (stamp(&alice.requester), alice.state);
    assert!(matches!(state, RequestState::Pending(_)), "{state:?}");
    assert!(alice.operator_approved && alice.looked_up.is_some());
    assert_eq!(alice.node_name, ["alice"]);
    let (pod, node) = (alice.pod.as_ref().unwrap(), alice.node.as_ref().unwrap());
    assert_eq!(
        (pod.uid.as_str(), pod.node_name.as_str()),
        ("pod-uid", "alice")
    );
    assert_eq!(pod.daemon_set_uid, alice.daemon_set_uid);
    let address: std::net::IpAddr = "198.51.100.7".parse().unwrap();
    assert_eq!(node.addresses, [address]);
    assert_eq!(node.pod_ranges, ["10.244.3.0/24"]);
    let bob = stamp(&bob.requester);
    assert!(bob.pod.is_none() && bob.node.is_none() && !bob.operator_approved);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_asked_for_is_not_said_to_be_absent() {
    let fake = world();
    fake.put(REQUESTS, request("sotto-alice-1", "alice", 1));
    fake.instead(|asked| {
        let is_pod = asked.path.contains("/pods/");
        is_pod.then_some(Instead::Status(500, None))
    });
    let store = controller_store(&fake);

    assert!(store.requests().await.unwrap().requests.is_empty());

    fake.behave();
    let found = store.requests().await.unwrap();
    assert!(stamp(&found.requests[0].requester).pod.is_some());
}

#[tokio::test(start_paused = true)]
async fn aw08_a_pod_that_cannot_be_read_keeps_only_its_own_request_back() {
    let fake = world();
    let mut spoilt = fake.object("pods", "pod-alice").unwrap();
    spoilt["spec"] = json!(7);
    fake.put("pods", spoilt);
    fake.put(REQUESTS, request("sotto-alice-1", "alice", 1));
    fake.put(REQUESTS, request("sotto-bob-1", "bob", 1));

    let found = controller_store(&fake).requests().await.unwrap();

    assert_eq!(found.requests.len(), 1);
    assert_eq!(stamp(&found.requests[0].requester).node_name, ["bob"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_written_and_takes_nothing_else_from_the_request() {
    let fake = world();
    let mut labelled = request("sotto-alice-1", "alice", 1);
    labelled["metadata"]["labels"] = json!({ "managedFields": "kept" });
    fake.put(REQUESTS, labelled);
    let store = controller_store(&fake);
    let id = store.requests().await.unwrap().requests[0].id;
    let conditions = || {
        let object = fake.object(REQUESTS, "sotto-alice-1").unwrap();
        let conditions = object["status"]["conditions"].as_array().unwrap().clone();
        let kinds = conditions.iter().map(|found| found["type"].to_string());
        (kinds.collect::<Vec<_>>().join(" "), object)
    };

    let pending = Answer::Pending(PendingReason::NoAddress);
    store.answer_request(&id, pending).await.unwrap();
    assert_eq!(conditions().0, "\"sotto.dev/Pending\"");
    store
        .answer_request(&id, Answer::Issued(b"1"))
        .await
        .unwrap();

    let (kinds, object) = conditions();
    assert_eq!(kinds, "\"sotto.dev/Pending\" \"Approved\"");
    assert!(object["status"]["certificate"].is_string());
    assert_eq!(object["metadata"]["labels"]["managedFields"], "kept");
    assert_eq!(object["spec"], request("sotto-alice-1", "alice", 1)["spec"]);
    assert_eq!(fake.asked(|asked| asked.method == "PUT").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn aw08_names_from_stamps_never_leave_their_place_in_a_path() {
    let fake = world();
    for (number, name) in ["../../secrets/sotto-root", "a/b", "", "A%2f"]
        .iter()
        .enumerate()
    {
        let mut hostile = request(&format!("r{number}"), "x", 1);
        let extra = &mut hostile["spec"]["extra"];
        extra["authentication.kubernetes.io/pod-name"] = json!([name]);
        extra["authentication.kubernetes.io/node-name"] = json!([name, "alice"]);
        fake.put(REQUESTS, hostile);
    }
    let store = controller_store(&fake);

    let found = store.requests().await.unwrap();

    assert_eq!(found.requests.len(), 4);
    let is_live = |path: &str| path.contains("/pods") || path.contains("/nodes/");
    assert!(fake.asked(|asked| is_live(&asked.path)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn aw08_a_thousand_requests_of_one_node_leave_room_for_the_others() {
    let fake = world();
    for number in 0..1_000 {
        fake.put(
            REQUESTS,
            request(&format!("mallory-{number}"), "mallory", number),
        );
    }
    let mut large = request("large", "carol", 1);
    large["spec"]["request"] = json!(Base64::encode_string(&[b'x'; 17 * 1024]));
    fake.put(REQUESTS, large);
    fake.put(REQUESTS, request("alice-1", "alice", 1));
    let store = controller_store(&fake);

    let found = store.requests().await.unwrap();

    assert_eq!(found.requests.len(), 5);
    let is_alices = |stamp: &Stamp| stamp.node_name == ["alice"];
    let mut requesters = found.requests.iter().map(|found| stamp(&found.requester));
    assert!(requesters.any(is_alices));
    let named = |name: &str| found.refused.iter().any(|entry| entry.name.ends_with(name));
    assert!(named("/mallory-0") && named("/large"));
    assert!(found.refused.len() <= 1_001);
}

#[tokio::test(start_paused = true)]
async fn aw08_more_requests_than_are_looked_into_at_a_time_take_turns() {
    let fake = world();
    for number in 0..400 {
        let node = format!("node-{number}");
        fake.put(REQUESTS, request(&format!("sotto-{node}"), &node, 1));
    }
    let store = controller_store(&fake);

    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let found = store.requests().await.unwrap().requests;
        assert!(found.len() < 400);
        seen.extend(found.into_iter().map(|request| request.id));
    }

    assert_eq!(seen.len(), 400);
}

#[tokio::test(start_paused = true)]
async fn aw08_a_slow_server_ends_a_look_and_the_next_one_goes_on_behind_it() {
    let fake = world();
    for number in 0..40 {
        let node = format!("node-{number}");
        fake.put(REQUESTS, request(&format!("sotto-{node}"), &node, 1));
    }
    fake.instead(|asked| asked.path.contains("/pods/").then_some(Instead::Nothing));
    let store = controller_store(&fake);
    let started = tokio::time::Instant::now();

    store.requests().await.unwrap();

    let took = started.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    for _ in 0..4 {
        store.requests().await.unwrap();
    }
    let asked = fake.asked(|asked| asked.path.contains("/pods/"));
    let asked: BTreeSet<String> = asked.into_iter().map(|asked| asked.path).collect();
    assert_eq!(asked.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn the_same_request_is_left_once_while_it_is_open() {
    let fake = world();
    let store = node_store(&fake);
    let request = EnrolmentRequest {
        pkcs10: vec![1, 2, 3],
        token: None,
    };

    let id = store.submit_request(&request).await.unwrap();
    assert_eq!(store.submit_request(&request).await.unwrap(), id);

    let created = fake.asked(|asked| asked.method == "POST");
    assert_eq!(created.len(), 1);
    assert_eq!(created[0].body["spec"]["signerName"], "sotto.dev/node");
    assert_eq!(
        created[0].body["spec"]["usages"],
        json!(["digital signature"])
    );
    let state = store.request_state(&id).await.unwrap();
    assert_eq!(state, Some(RequestState::Waiting));
    assert_eq!(store.request_state(&request.id()).await.unwrap(), None);
    let name = fake.asked(|asked| asked.method == "GET" && asked.path.contains("sotto-alice-"));
    fake.delete(REQUESTS, name[0].path.rsplit('/').next().unwrap());
    assert_eq!(store.request_state(&id).await.unwrap(), None);
    assert_ne!(store.submit_request(&request).await.unwrap(), id);
}

#[tokio::test(start_paused = true)]
async fn an_error_names_verb_object_and_cure() {
    let fake = world();
    fake.instead(|asked| (asked.method == "POST").then_some(Instead::Status(403, None)));
    let request = EnrolmentRequest {
        pkcs10: vec![1],
        token: None,
    };

    let error = node_store(&fake)
        .submit_request(&request)
        .await
        .unwrap_err();

    assert_eq!(
        error.to_string(),
        "create certificatesigningrequests of alice: allow this verb in the role of this account"
    );
}
