//! A cluster in order, and each thing that can be wrong with it.

use cluster_api::{IdentityState, Peer, PeerSpec, PeerStatus};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use node_identity::UnixTime;
use serde_json::json;

use super::super::facts::Facts;
use super::super::{Check, Outcome};
use super::{all, version};
use crate::cluster::Listed;
use crate::health::Living;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn listed<K>(objects: Vec<K>) -> Listed<K> {
    Listed {
        objects,
        malformed: Vec::new(),
    }
}

fn made<K: serde::de::DeserializeOwned>(value: serde_json::Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn node(name: &str, ranges: &[&str]) -> Node {
    made(json!({ "metadata": { "name": name }, "spec": { "podCIDRs": ranges } }))
}

fn peer(name: &str, identity: IdentityState, ready: &str) -> Peer {
    let spec = PeerSpec {
        identity,
        ..PeerSpec::default()
    };
    let mut peer = Peer::new(name, spec);
    peer.status = Some(PeerStatus {
        conditions: vec![Condition {
            type_: "Ready".to_owned(),
            status: ready.to_owned(),
            reason: "Test".to_owned(),
            message: "waits for its certificate".to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }],
        ..PeerStatus::default()
    });
    peer
}

fn daemon_set(namespace: &str, name: &str, ready: i32) -> DaemonSet {
    let settings = "trust_domain = \"sotto.test\"\ncluster_pod_ranges = [\"10.244.0.0/16\"]\n\
                    service_ranges = [\"10.96.0.0/16\"]\nunderlay_ranges = [\"198.51.100.0/24\"]\n";
    let pin = format!("--pin=sha256:{}", "a".repeat(64));
    made(json!({
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": {}, "template": { "spec": { "containers": [{
            "name": "sotto-node", "image": "registry.example/sotto-node:v1",
            "args": ["run", pin, "--settings", settings],
        }] } } },
        "status": {
            "currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberMisscheduled": 0,
            "numberReady": ready,
        },
    }))
}

/// Two controllers with these settings more.
fn controller(settings: &str, volumes: &serde_json::Value) -> Deployment {
    let settings = format!("[kubernetes]\n{settings}");
    made(json!({
        "spec": { "replicas": 2, "selector": {}, "template": { "spec": {
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{ "matchExpressions": [{
                    "key": "node-role.kubernetes.io/control-plane", "operator": "Exists",
                }] }],
            } } },
            "containers": [{
                "name": "sotto-controller", "args": ["run", "--settings", settings],
            }],
            "volumes": volumes,
        } } },
        "status": { "readyReplicas": 2 },
    }))
}

/// A cluster of two nodes in which all is well but the roots, which other tests make.
fn facts() -> Facts {
    let definitions = cluster_api::crds().map(|mut definition| {
        definition.status = Some(made(json!({
            "conditions": [{ "type": "Established", "status": "True" }],
        })));
        let name = definition.metadata.name.clone().unwrap();
        (name, Ok(Some(definition)))
    });
    Facts {
        definitions: definitions.into(),
        missing_policies: Ok(vec![]),
        missing_rights: Ok(vec![]),
        secrets: Ok([
            ("sotto-root", ObjectMeta::default()),
            ("sotto-ledger", ObjectMeta::default()),
        ]
        .into()),
        lease: Ok(Some(made(json!({ "spec": {
            "holderIdentity": "sotto-controller-1",
            "leaseDurationSeconds": 15,
            "renewTime": "2027-01-15T07:59:58.000000Z",
        } })))),
        lists: Err("not of these tests".to_owned()),
        daemon_sets: Ok(listed(vec![daemon_set("sotto-system", "sotto-node", 2)])),
        deployment: Ok(Some(controller("", &json!([])))),
        nodes: Ok(listed(vec![
            node("alice", &["10.244.1.0/24"]),
            node("bob", &["10.244.2.0/24"]),
        ])),
        peers: Ok(listed(vec![
            peer("alice", IdentityState::Verified, "True"),
            peer("bob", IdentityState::Verified, "True"),
        ])),
        living: Living(Ok([String::new()].into())),
        service_ranges: Ok(listed(vec![made(
            json!({ "spec": { "cidrs": ["10.96.0.0/16"] } }),
        )])),
        network_policies: Ok(listed(vec![])),
        namespace: "sotto-system".to_owned(),
    }
}

fn bad(facts: &Facts, outcome: Outcome) -> Vec<String> {
    let wrong = |check: &Check| check.outcome == outcome;
    let checks = all(facts, NOW).into_iter().filter(wrong);
    checks
        .map(|check| format!("{}: {}", check.what, check.found))
        .collect()
}

/// The one failure that a change makes.
fn failure(change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = facts();
    change(&mut facts);
    let mut failures = bad(&facts, Outcome::Fail);
    assert_eq!(failures.len(), 1, "{failures:?}");
    failures.remove(0)
}

#[test]
fn a_cluster_in_order_fails_nothing() {
    assert_eq!(bad(&facts(), Outcome::Fail), Vec::<String>::new());
    let warnings = bad(&facts(), Outcome::Warn);
    assert!(
        matches!(warnings.as_slice(), [one] if one.contains("not of these tests")),
        "{warnings:?}"
    );
}

#[test]
fn versions_outside_of_what_is_supported_are_told() {
    let outcome =
        |major: &str, minor: &str| version(&Ok((major.to_owned(), minor.to_owned()))).outcome;
    assert_eq!(outcome("1", "32"), Outcome::Fail);
    assert_eq!(outcome("1", "33"), Outcome::Ok);
    assert_eq!(outcome("1", "37+"), Outcome::Ok);
    assert_eq!(outcome("1", "38"), Outcome::Warn);
    assert_eq!(outcome("2", "33"), Outcome::Fail);
    assert_eq!(outcome("1", "x"), Outcome::Fail);
    assert_eq!(version(&Err("no answer".to_owned())).outcome, Outcome::Fail);
}

#[test]
fn what_is_missing_is_named_with_its_cure() {
    let text = failure(|facts| facts.definitions[1].1 = Ok(None));
    assert!(
        text.contains("peers.sotto.dev") && text.contains("sotto install"),
        "{text}"
    );
    let text = failure(|facts| facts.missing_policies = Ok(vec!["a policy".to_owned()]));
    assert!(text.contains("missing: a policy"), "{text}");
    for secret in ["sotto-root", "sotto-ledger"] {
        let text = failure(|facts| drop(facts.secrets.as_mut().unwrap().remove(secret)));
        let cure = format!("{secret}; put back the backup");
        assert!(text.contains(&cure), "{text}");
    }
    let text = failure(|facts| facts.deployment = Ok(None));
    assert!(text.contains("every controller"), "{text}");
}

#[test]
fn a_version_that_is_not_served_any_more_fails() {
    let text = failure(|facts| {
        let Ok(Some(definition)) = &mut facts.definitions[0].1 else {
            panic!("a definition");
        };
        definition.spec.versions[0].served = false;
    });

    assert!(text.contains("nodeidentities.sotto.dev"), "{text}");
}

#[test]
fn a_controller_that_is_silent_or_was_never_there_fails() {
    let text = failure(|facts| facts.lease = Ok(None));
    assert!(text.contains("no controller ever led"), "{text}");
    let text = failure(|facts| {
        let Ok(Some(lease)) = &mut facts.lease else {
            panic!("a lease");
        };
        let spec = lease.spec.as_mut().unwrap();
        spec.renew_time = made(json!("2027-01-15T07:58:00.000000Z"));
    });
    assert!(
        text.contains("has not renewed its lease for 2m 0s"),
        "{text}"
    );
}

#[test]
fn nodes_and_peers_that_are_not_well_are_named() {
    let text = failure(|facts| {
        facts.nodes = Ok(listed(vec![node("carol", &["10.244.3.0/24"])]));
    });
    assert!(text.contains("carol never asked"), "{text}");
    let text = failure(|facts| {
        facts.nodes = Ok(listed(vec![node("alice", &[])]));
    });
    assert!(text.contains("alice have none"), "{text}");
    let text = failure(|facts| {
        facts.nodes = Ok(listed(vec![node("alice", &["10.245.0.0/24"])]));
    });
    assert!(text.contains("--pod-range"), "{text}");
    let text = failure(|facts| {
        facts.nodes = Ok(listed(vec![node("alice", &["10.244.0.0/23"])]));
    });
    assert!(text.contains("--node-prefix-length-ipv4"), "{text}");
    let text = failure(|facts| {
        facts.peers.as_mut().unwrap().objects[1] = peer("bob", IdentityState::Verified, "False");
    });
    assert!(
        text.contains("node bob is well: Ready=False: waits"),
        "{text}"
    );
    let text = failure(|facts| {
        facts.peers.as_mut().unwrap().objects[1] = peer("bob", IdentityState::Expired, "True");
    });
    assert!(text.contains("expired"), "{text}");

    let mut facts = facts();
    facts.peers.as_mut().unwrap().objects[1] = peer("bob", IdentityState::Revoked, "False");
    assert_eq!(
        bad(&facts, Outcome::Fail),
        Vec::<String>::new(),
        "out, not ill"
    );
}

#[test]
fn a_node_that_is_gone_is_ill_only_while_it_is_believed() {
    for identity in [IdentityState::Pending, IdentityState::Expired] {
        let mut facts = facts();
        facts.peers.as_mut().unwrap().objects[1] = peer("bob", identity, "False");
        let mut failures = bad(&facts, Outcome::Fail);
        assert_eq!(failures.len(), 1, "{failures:?}");

        let other = "8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11";
        facts.peers.as_mut().unwrap().objects[1].spec.node_uid = other.to_owned();
        failures = bad(&facts, Outcome::Fail);
        let warnings = bad(&facts, Outcome::Warn).join("\n");
        assert!(failures.is_empty(), "{failures:?}");
        assert!(warnings.contains("its Node is gone"), "{warnings}");

        facts.living = Living(Err("this user may not".to_owned()));
        assert_eq!(bad(&facts, Outcome::Fail).len(), 1);
    }

    let text = failure(|facts| {
        facts.peers.as_mut().unwrap().objects[1].spec.node_uid = "gone".to_owned();
    });
    assert!(text.contains("bob is well: its Node is gone"), "{text}");
}

#[test]
fn a_root_that_nobody_pinned_and_a_late_renewal_are_warnings() {
    for (type_, reason) in [("RootPin", "TOFU"), ("CertificateValid", "RenewalOverdue")] {
        let mut facts = facts();
        let mut alice = peer("alice", IdentityState::Verified, "True");
        let conditions = &mut alice.status.as_mut().unwrap().conditions;
        let mut condition = conditions[0].clone();
        condition.type_ = type_.to_owned();
        condition.reason = reason.to_owned();
        conditions.push(condition);
        facts.peers.as_mut().unwrap().objects[0] = alice;

        let warnings = bad(&facts, Outcome::Warn).join("\n");

        assert_eq!(bad(&facts, Outcome::Fail), Vec::<String>::new());
        assert!(warnings.contains("node alice is well"), "{warnings}");
    }
}

#[test]
fn daemons_that_are_missing_or_told_other_services_fail() {
    let text = failure(|facts| {
        let daemons = vec![daemon_set("sotto-system", "sotto-node", 1)];
        facts.daemon_sets = Ok(listed(daemons));
    });
    assert!(text.contains("1 of 2"), "{text}");
    let text = failure(|facts| {
        let ranges = vec![made(json!({ "spec": { "cidrs": ["10.112.0.0/16"] } }))];
        facts.service_ranges = Ok(listed(ranges));
    });
    assert!(text.contains("10.112.0.0/16"), "{text}");
}

#[test]
fn another_network_and_unenforced_policies_are_warnings() {
    let mut facts = facts();
    let other = daemon_set("kube-system", "calico-node", 2);
    facts.daemon_sets.as_mut().unwrap().objects.push(other);
    let policy = made(json!({ "metadata": { "name": "deny", "namespace": "shop" } }));
    facts.network_policies = Ok(listed(vec![policy]));

    let warnings = bad(&facts, Outcome::Warn).join("\n");

    assert_eq!(bad(&facts, Outcome::Fail), Vec::<String>::new());
    assert!(warnings.contains("kube-system/calico-node"), "{warnings}");
    assert!(warnings.contains("shop/deny"), "{warnings}");
}

#[test]
fn what_this_user_may_not_see_is_a_warning() {
    let mut facts = facts();
    facts.secrets = Err("this user may not".to_owned());
    facts.nodes = Err("this user may not".to_owned());

    assert_eq!(bad(&facts, Outcome::Fail), Vec::<String>::new());
    assert!(bad(&facts, Outcome::Warn).len() > 3);
}

#[test]
fn an_installation_without_ranges_of_nodes_or_secret_of_the_root_is_in_order() {
    let mut facts = facts();
    facts.nodes = Ok(listed(vec![
        node("alice", &[]),
        node("bob", &["10.245.0.0/16"]),
    ]));
    facts.secrets.as_mut().unwrap().remove("sotto-root");
    let volumes = json!([{ "name": "root", "hostPath": { "path": "/etc/sotto-root" } }]);
    facts.deployment = Ok(Some(controller(
        "pod_ranges_from = \"controller\"",
        &volumes,
    )));

    assert_eq!(bad(&facts, Outcome::Fail), Vec::<String>::new());
}

#[test]
fn a_root_key_in_an_annotation_and_a_deployment_of_others_are_warnings() {
    let mut facts = facts();
    let root = facts.secrets.as_mut().unwrap().get_mut("sotto-root");
    let applied = "kubectl.kubernetes.io/last-applied-configuration".to_owned();
    root.unwrap().annotations = Some([(applied, "{}".to_owned())].into());
    facts.deployment = Ok(Some(made(json!({
        "spec": { "replicas": 2, "selector": {}, "template": {} },
        "status": { "readyReplicas": 2 },
    }))));

    let warnings = bad(&facts, Outcome::Warn).join("\n");

    assert!(
        warnings.contains("annotate secret sotto-root"),
        "{warnings}"
    );
    assert!(warnings.contains("changed by hand"), "{warnings}");
}
