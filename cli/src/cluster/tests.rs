//! Objects as anybody may have written them.

use cluster_api::{NodeIdentity, Peer};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::core::ApiResource;

use crate::fake::{Fake, LATE, wait};

const PEERS: &str = "/apis/sotto.dev/v1alpha1/peers";
const UID: &str = "8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11";

fn peer(name: &str, metadata: &str, spec: &str) -> (String, String) {
    let metadata = format!(r#"{{"name": "{name}", {metadata}}}"#);
    let object = format!(
        r#"{{"apiVersion": "sotto.dev/v1alpha1", "kind": "Peer", "metadata": {metadata}, "spec": {spec}}}"#
    );
    (format!("{PEERS}/{name}"), object)
}

#[test]
fn aw08_a_time_beyond_the_calendar_spoils_neither_list_nor_object() {
    let fake = Fake::default();
    let spec = format!(r#"{{"nodeUID": "{UID}", "identity": "Pending"}}"#);
    let late = r#""creationTimestamp": "9999-12-31T23:59:59Z""#;
    for (name, metadata, spec) in [
        ("alice", r#""labels": {}"#, spec.as_str()),
        ("bob", LATE, &spec),
        ("carol", late, &spec),
        ("mallory", LATE, r#"{"identity": "King"}"#),
    ] {
        let (path, object) = peer(name, metadata, spec);
        fake.put(&path, &object);
    }

    let (listed, bob, carol, absent) = wait(async {
        let cluster = fake.cluster();
        let listed = cluster.list::<Peer>(ListParams::default()).await;
        let bob = cluster.find::<Peer>(None, "bob").await;
        let carol = cluster.find::<Peer>(None, "carol").await;
        let absent = cluster.find::<NodeIdentity>(None, "bob").await;
        (listed.unwrap(), bob.unwrap(), carol.unwrap_err(), absent)
    });
    let names: Vec<String> = listed.objects.iter().map(ResourceExt::name_any).collect();
    let malformed: Vec<&str> = listed.malformed.iter().map(|one| one.0.as_str()).collect();
    assert_eq!(names, ["alice", "bob"]);
    assert_eq!(malformed, ["carol", "mallory"]);
    assert!(listed.malformed[1].1.contains("King"), "{listed:?}");
    assert!(bob.is_some() && absent.unwrap().is_none());
    let carol = format!("{carol:#}");
    assert!(carol.contains("read peers carol"), "{carol}");
}

#[test]
fn aw08_a_time_beyond_the_calendar_hides_no_node() {
    let fake = Fake::default();
    let node = format!(r#"{{"metadata": {{"name": "bob", "uid": "{UID}", {LATE}}}}}"#);
    fake.put("/api/v1/nodes/bob", &node);
    let kind = ApiResource::erase::<Node>(&());

    let (bob, uids, eve) = wait(async {
        let cluster = fake.cluster();
        let bob = cluster.find_metadata(&kind, None, "bob").await;
        let uids = cluster.uids(&kind).await;
        let eve = cluster.find_metadata(&kind, None, "eve").await;
        (bob.unwrap(), uids.unwrap(), eve.unwrap())
    });

    assert_eq!(bob.unwrap().uid.as_deref(), Some(UID));
    assert_eq!(uids, [UID.to_owned()].into());
    assert!(eve.is_none());
}
