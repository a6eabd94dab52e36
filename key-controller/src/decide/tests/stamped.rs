//! V1 to V5 in Kubernetes: who asks, and whether pod and node stand behind it. `held` has the rest.

use cluster_store::{NodeSeen, PodSeen, Stamp};

use super::*;
use crate::revocations;

mod held;

const SETTINGS: &str = r#"
trust_domain = "sotto.test"
cluster_pod_ranges = ["10.244.0.0/16", "fd00:10:244::/56"]
underlay_ranges = ["198.51.100.0/24", "2001:db8::/64"]
service_ranges = ["10.96.0.0/12"]
[kubernetes]
"#;
const ACCOUNT: &str = "system:serviceaccount:sotto-system:sotto-node";
const DAEMON_SET: &str = "5f7a3f5e-4a8b-4f5e-9d2d-0d7a0a3c1d11";

fn uid_of(number: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{number:02x}")
}

/// A node with the number's UID, address and range.
fn identity(name: &str, number: u8) -> SpiffeId {
    SpiffeId {
        trust_domain: "sotto.test".parse().unwrap(),
        uid: uid_of(number).parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

/// What an honest daemon on that node is stamped with.
fn stamp(name: &str, number: u8) -> Stamp {
    let one = |value: String| vec![value];
    let pod_uid = format!("11111111-0000-4000-8000-0000000000{number:02x}");
    Stamp {
        username: ACCOUNT.to_owned(),
        pod_name: one(format!("sotto-node-{number}")),
        pod_uid: one(pod_uid.clone()),
        node_name: one(name.to_owned()),
        node_uid: one(uid_of(number)),
        operator_approved: false,
        pod: Some(PodSeen {
            uid: pod_uid,
            service_account: "sotto-node".to_owned(),
            node_name: name.to_owned(),
            daemon_set_uid: Some(DAEMON_SET.to_owned()),
        }),
        node: Some(NodeSeen {
            uid: uid_of(number),
            being_deleted: false,
            addresses: ips(&[&format!("198.51.100.{number}")]),
            pod_ranges: vec![format!("10.244.{number}.0/24")],
        }),
        daemon_set_uid: Some(DAEMON_SET.to_owned()),
        looked_up: None,
    }
}

fn request(seed: u64, identity: &SpiffeId) -> EnrolmentRequest {
    asks(&key(seed), identity, &[], None)
}

impl Scene {
    fn in_kubernetes(more: &str) -> Self {
        let text = format!("{SETTINGS}{more}");
        let settings = Settings::parse(Path::new("--settings"), text.as_bytes()).unwrap();
        Self {
            settings,
            ..Self::new()
        }
    }

    fn judge(&mut self, asked: &EnrolmentRequest, stamp: &Stamp) -> Decision {
        let requester = Requester::Stamped(Box::new(stamp.clone()));
        decide(
            asked,
            &requester,
            &self.ledger,
            &self.settings,
            self.now,
            &mut self.random,
        )
    }

    fn reason(&mut self, asked: &EnrolmentRequest, stamp: &Stamp) -> Refusal {
        match self.judge(asked, stamp) {
            Decision::Refused(reason) => reason,
            other @ (Decision::Issue(_)
            | Decision::Again(_)
            | Decision::Pending(_)
            | Decision::AwaitApproval { .. }) => panic!("refused, not {other:?}"),
        }
    }

    fn issue(&mut self, asked: &EnrolmentRequest, stamp: &Stamp) -> Grant {
        match self.judge(asked, stamp) {
            Decision::Issue(grant) => {
                (*grant).clone().enter(&mut self.ledger);
                *grant
            }
            other @ (Decision::Refused(_)
            | Decision::Again(_)
            | Decision::Pending(_)
            | Decision::AwaitApproval { .. }) => panic!("granted, not {other:?}"),
        }
    }

    /// Alice with key 1 on node 1.
    fn with_alice_in_kubernetes() -> Self {
        let mut scene = Self::in_kubernetes("");
        scene.issue(&request(1, &identity("alice", 1)), &stamp("alice", 1));
        scene
    }
}

#[test]
fn kl01_a_daemon_with_good_stamps_gets_its_nodes_addresses_and_ranges() {
    let mut scene = Scene::in_kubernetes("");

    let grant = scene.issue(&request(1, &identity("alice", 1)), &stamp("alice", 1));

    assert_eq!(grant.record.key, key(1).public());
    assert_eq!(grant.record.addresses, ips(&["198.51.100.1"]));
    assert_eq!(grant.record.pod_ranges.to_string(), "10.244.1.0/24");
    assert_eq!(grant.left_out, []);
}

#[test]
fn kl01_a_request_that_another_key_signed_is_refused() {
    let mut scene = Scene::in_kubernetes("");
    let honest = request(1, &identity("alice", 1));
    let mut forged = honest.clone();
    let last = forged.pkcs10.len() - 1;
    forged.pkcs10[last] ^= 1;

    assert_eq!(
        scene.reason(&forged, &stamp("alice", 1)).label(),
        "malformed"
    );
}

#[test]
fn v1_a_request_that_names_addresses_or_shows_a_token_is_refused() {
    let mut scene = Scene::in_kubernetes("");
    let named = asks(&key(1), &identity("alice", 1), &["198.51.100.1"], None);
    let mut tokened = request(1, &identity("alice", 1));
    tokened.token = Some(TokenProof {
        id: [0; 16],
        mac: [0; 32],
    });

    for asked in [named, tokened] {
        assert_eq!(
            scene.reason(&asked, &stamp("alice", 1)),
            Refusal::NamesAddresses
        );
    }
}

#[test]
fn v2_stamps_and_tokens_do_not_mix() {
    let (mut folder, token) = Scene::with_alice();
    let mut cluster = Scene::with_alice_in_kubernetes();
    let renewal = request(1, &identity("alice", 1));
    cluster.advance(24 * HOUR);

    let in_folder = folder.reason(
        &asks(&key(1), &token.identity, &["198.51.100.1"], None),
        &stamp("alice", 1),
    );
    let unstamped = cluster.decide(&renewal);

    assert_eq!(in_folder, Refusal::StampedInFolder);
    assert_eq!(
        unstamped,
        Decision::Refused(Refusal::NotStamped),
        "a renewal needs them too"
    );
    cluster.issue(&renewal, &stamp("alice", 1));
}

#[test]
fn aw06_no_other_account_asks_for_a_node() {
    let mut scene = Scene::in_kubernetes("");
    for username in [
        "",
        "system:serviceaccount:sotto-system:sotto-controller",
        "system:serviceaccount:default:sotto-node",
        "system:serviceaccount:sotto-system:sotto-node ",
        "system:serviceaccount:sotto-system:Sotto-node",
        "system:serviceaccount:sotto-system:sotto-node:x",
        "system:node:alice",
        "kubernetes-admin",
    ] {
        let mut stamp = stamp("alice", 1);
        stamp.username = username.to_owned();

        let reason = scene.reason(&request(1, &identity("alice", 1)), &stamp);

        assert_eq!(reason, Refusal::NotTheDaemon(username.to_owned()));
    }
}

/// One change to an honest stamp.
type Change = fn(&mut Stamp);

fn refusals(changes: &[(Change, Refusal)]) {
    for (change, expected) in changes {
        let mut scene = Scene::in_kubernetes("");
        let mut stamp = stamp("alice", 1);
        change(&mut stamp);

        let reason = scene.reason(&request(1, &identity("alice", 1)), &stamp);

        assert_eq!(reason, *expected);
    }
}

#[test]
fn aw05_a_token_that_no_pod_stands_behind_is_refused() {
    refusals(&[
        (|stamp| stamp.pod_name.clear(), Refusal::NoPodBehindToken),
        (|stamp| stamp.pod_uid.clear(), Refusal::NoPodBehindToken),
        (|stamp| stamp.node_name.clear(), Refusal::NoNodeBehindToken),
        (|stamp| stamp.node_uid.clear(), Refusal::NoNodeBehindToken),
        (
            |stamp| stamp.pod_uid.push(uid_of(2)),
            Refusal::AmbiguousStamps,
        ),
        (
            |stamp| stamp.pod_name.push("b".to_owned()),
            Refusal::AmbiguousStamps,
        ),
        (
            |stamp| stamp.node_name.push("bob".to_owned()),
            Refusal::AmbiguousStamps,
        ),
        (
            |stamp| stamp.node_uid.push(uid_of(2)),
            Refusal::AmbiguousStamps,
        ),
    ]);
}

#[test]
fn aw05_a_token_of_a_deleted_or_foreign_pod_is_refused() {
    refusals(&[
        (|stamp| stamp.pod = None, Refusal::PodGone),
        (
            |stamp| stamp.pod.as_mut().unwrap().uid = uid_of(9),
            Refusal::PodReplaced,
        ),
        (
            |stamp| stamp.pod.as_mut().unwrap().service_account = "default".to_owned(),
            Refusal::PodOfAnotherAccount,
        ),
        (
            |stamp| stamp.pod.as_mut().unwrap().node_name = "bob".to_owned(),
            Refusal::PodOnAnotherNode,
        ),
        (
            |stamp| stamp.pod.as_mut().unwrap().daemon_set_uid = None,
            Refusal::PodNotOfDaemonSet,
        ),
        (
            |stamp| stamp.pod.as_mut().unwrap().daemon_set_uid = Some(uid_of(9)),
            Refusal::PodNotOfDaemonSet,
        ),
        (
            |stamp| stamp.daemon_set_uid = None,
            Refusal::PodNotOfDaemonSet,
        ),
        (
            |stamp| {
                stamp.daemon_set_uid = None;
                stamp.pod.as_mut().unwrap().daemon_set_uid = None;
            },
            Refusal::PodNotOfDaemonSet,
        ),
    ]);
}

#[test]
fn nl04_a_node_that_is_gone_going_or_another_gets_nothing() {
    refusals(&[
        (|stamp| stamp.node = None, Refusal::NodeGone),
        (
            |stamp| stamp.node.as_mut().unwrap().uid = uid_of(9),
            Refusal::NodeReplaced,
        ),
        (
            |stamp| stamp.node.as_mut().unwrap().being_deleted = true,
            Refusal::NodeBeingDeleted,
        ),
    ]);
}

#[test]
fn nd11_a_revoked_node_gets_nothing_though_its_node_object_lives() {
    let mut scene = Scene::with_alice_in_kubernetes();
    let alice = identity("alice", 1);
    revocations::revoke(&mut scene.ledger, &alice.uid, scene.now);

    for (seed, approved) in [(1, false), (2, false), (2, true)] {
        let mut stamp = stamp("alice", 1);
        stamp.operator_approved = approved;
        assert_eq!(
            scene.reason(&request(seed, &alice), &stamp),
            Refusal::Revoked
        );
    }
}

proptest! {
    #[test]
    fn i5_no_stamp_makes_the_decision_panic_or_enrols_another_node(
        texts in prop::collection::vec("\\PC{0,20}", 8),
        ranges in prop::collection::vec("[0-9a-f:./]{0,20}", 0..4),
        honest in prop::collection::vec(any::<bool>(), 8),
    ) {
        let mut scene = Scene::in_kubernetes("");
        let mut stamp = stamp("alice", 1);
        let [one, two, three, four, five, six, seven, eight] = &honest[..] else { unreachable!() };
        if !one { stamp.username = texts[0].clone(); }
        if !two { stamp.pod_uid = vec![texts[1].clone()]; }
        if !three { stamp.node_name = vec![texts[2].clone()]; }
        if !four { stamp.node_uid = vec![texts[3].clone()]; }
        if !five { stamp.pod.as_mut().unwrap().node_name = texts[4].clone(); }
        if !six { stamp.node.as_mut().unwrap().uid = texts[5].clone(); }
        if !seven { stamp.daemon_set_uid = Some(texts[6].clone()); }
        if !eight { stamp.node.as_mut().unwrap().pod_ranges = ranges; }

        let decision = scene.judge(&request(1, &identity("alice", 1)), &stamp);

        let all_honest = honest[..7].iter().all(|one| *one);
        prop_assert!(all_honest || matches!(decision, Decision::Refused(_)), "{decision:?}");
    }
}
