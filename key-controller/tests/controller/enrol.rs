//! Nodes that enrol, renew, change their key and are revoked.

use std::time::Duration;

use cluster_store::{PendingReason, RequestState};
use node_identity::{JoinToken, RevokedSubject};

use crate::rig::{Node, Rig, complaint, controller, now, succeeded, text, wait};

const ALICE: [&str; 2] = ["198.51.100.1", "2001:db8::1"];
const BOB: [&str; 2] = ["198.51.100.2", "2001:db8::2"];

fn alice(rig: &Rig) -> (Node, JoinToken) {
    let token = rig.token("alice", &["--address", ALICE[0], "--address", ALICE[1]]);
    (Node::new(1, &token, &ALICE), token)
}

#[test]
fn two_nodes_enrol_and_get_disjoint_ranges_from_the_pinned_root() {
    let rig = Rig::new();
    let _running = rig.start();
    let (alice, alices) = alice(&rig);
    let bobs = rig.token("bob", &[]);
    let bob = Node::new(2, &bobs, &BOB);

    let (one, two) = (alice.enrol(&rig, &alices), bob.enrol(&rig, &bobs));

    let (one, two) = (one.terms(), two.terms());
    assert!(
        rig.roots().contains(&rig.pin),
        "the published root hashes to the printed pin"
    );
    assert_eq!(one.identity, alice.identity);
    assert_eq!(one.key, alice.key.public());
    assert_eq!(one.addresses, alice.addresses);
    assert!(!one.pod_ranges.overlaps(&two.pod_ranges));
    assert_eq!(
        (one.pod_ranges.ipv4().count(), one.pod_ranges.ipv6().count()),
        (1, 1)
    );
    assert_eq!(
        one.not_after.duration_since(one.not_before),
        Duration::from_secs(72 * 3600 + 300)
    );
    assert!(now().0.abs_diff(one.serial.0 >> 24) < 60);
    let list = rig.list(|_| true);
    assert_eq!(list.entries, []);
    assert_eq!(
        list.next_update.duration_since(list.issued),
        Duration::from_secs(26 * 3600)
    );
}

#[test]
fn asking_again_with_the_same_key_gets_the_same_certificate() {
    let rig = Rig::new();
    let _running = rig.start();
    let (alice, token) = alice(&rig);
    let first = alice.enrol(&rig, &token);

    let again = alice.enrol(&rig, &token);
    let renewal = alice.ask(&rig, None);
    rig.answer(&renewal, RequestState::Issued);

    assert_eq!(again, first);
    assert_eq!(rig.certificate(&alice.identity.uid), Some(first));
}

#[test]
fn a_token_serves_one_key_only() {
    let rig = Rig::new();
    let _running = rig.start();
    let (alice, token) = alice(&rig);
    let first = alice.enrol(&rig, &token);
    let thief = Node::new(66, &token, &ALICE);

    let id = thief.ask(&rig, Some(&token));

    rig.answer(&id, RequestState::Refused);
    assert_eq!(rig.certificate(&alice.identity.uid), Some(first));
}

#[test]
fn a_live_node_changes_its_key_only_when_an_operator_approves() {
    let rig = Rig::new();
    let _running = rig.start();
    let (old, token) = alice(&rig);
    let first = old.enrol(&rig, &token);
    let second_token = rig.token("alice", &[]);
    assert_eq!(
        second_token.identity, token.identity,
        "a live node keeps its UID"
    );
    let new = Node::new(3, &second_token, &ALICE);
    let id = new.ask(&rig, Some(&second_token));
    rig.answer(&id, RequestState::Pending(PendingReason::AwaitsApproval));

    assert!(text(&rig.verb(&["nodes"])).contains("awaits approval"));
    succeeded(rig.verb(&["approve", "alice"]));
    rig.answer(&id, RequestState::Issued);

    let certificate = rig.certificate(&new.identity.uid).unwrap();
    assert_eq!(certificate.terms().key, new.key.public());
    assert_eq!(certificate.terms().pod_ranges, first.terms().pod_ranges);
    assert!(certificate.terms().serial > first.terms().serial);
    let old_key = RevokedSubject::IdentityKey(old.key.public().hash());
    let list = rig.list(|list| !list.entries.is_empty());
    assert!(list.entries.iter().any(|entry| entry.subject == old_key));
    rig.answer(&old.ask(&rig, None), RequestState::Refused);
}

#[test]
fn a_revoked_node_is_listed_taken_out_and_never_renewed() {
    let rig = Rig::new();
    let _running = rig.start();
    let (alice, token) = alice(&rig);
    let certificate = alice.enrol(&rig, &token);
    let before = rig.list(|_| true);

    succeeded(rig.verb(&["revoke", "alice"]));

    let list = rig.list(|list| list.entries.len() == 2);
    assert!(list.number > before.number);
    assert!(
        list.entries
            .iter()
            .all(|entry| entry.until == certificate.terms().not_after)
    );
    let uid = alice.identity.uid;
    rig.wait("alice is gone", |found| {
        found.nodes.iter().all(|node| node.uid != uid)
    });
    rig.answer(&alice.ask(&rig, None), RequestState::Refused);
    assert!(complaint(&rig.verb(&["revoke", &uid.to_string()])).contains("already"));
    let token = rig.token("alice", &[]);
    assert_ne!(
        token.identity.uid, uid,
        "the name is free, for another node"
    );
    let newcomer = Node::new(5, &token, &ALICE).enrol(&rig, &token);
    assert!(
        !newcomer
            .terms()
            .pod_ranges
            .overlaps(&certificate.terms().pod_ranges)
    );
}

#[test]
fn a_node_without_a_free_range_waits_until_there_is_one() {
    let rig = Rig::new();
    rig.configure("10.244.0.0/24");
    let running = rig.start();
    let (alice, alices) = alice(&rig);
    let first = alice.enrol(&rig, &alices);
    let bobs = rig.token("bob", &[]);
    let bob = Node::new(2, &bobs, &BOB);
    let id = bob.ask(&rig, Some(&bobs));
    rig.answer(&id, RequestState::Pending(PendingReason::NoFreePodRange));

    assert!(running.stop().success());
    rig.configure("10.244.0.0/23");
    let _running = rig.start();

    rig.answer(&id, RequestState::Issued);
    let second = rig.certificate(&bob.identity.uid).unwrap();
    assert!(
        !second
            .terms()
            .pod_ranges
            .overlaps(&first.terms().pod_ranges)
    );
}

#[test]
fn an_expired_token_and_a_deleted_one_enrol_nobody() {
    let rig = Rig::new();
    let _running = rig.start();
    let short = rig.token("alice", &["--ttl", "1s"]);
    let revoked = rig.token("bob", &[]);
    succeeded(rig.verb(&["revoke", "bob"]));
    let made = now();
    wait(
        || (now().0 >= made.0 + 2).then_some(()),
        "the token expires",
    );

    let late = Node::new(1, &short, &ALICE).ask(&rig, Some(&short));
    let gone = Node::new(2, &revoked, &BOB).ask(&rig, Some(&revoked));

    rig.answer(&late, RequestState::Refused);
    rig.answer(&gone, RequestState::Refused);
}

#[test]
fn a_configuration_names_the_state_folder_and_refuses_foreign_addresses() {
    let rig = Rig::new();
    let config = rig.config();
    let words = [
        "token",
        "create",
        "--node",
        "alice",
        "--config",
        config.to_str().unwrap(),
    ];
    let with = |address| controller(&[&words[..], &["--address", address]].concat());

    let token: JoinToken = text(&succeeded(with(ALICE[0]))).parse().unwrap();
    let said = complaint(&with("203.0.113.1"));

    assert_eq!(token.pin, rig.pin);
    assert!(
        said.contains("203.0.113.1") && said.contains("underlay_ranges"),
        "{said}"
    );
}

#[test]
fn the_log_counts_a_refusal_by_its_reason_and_the_requester_is_not_told() {
    let rig = Rig::new();
    let _running = rig.start();
    let (alice, token) = alice(&rig);
    alice.enrol(&rig, &token);
    for (seed, total) in [(66, "total=1"), (67, "total=2")] {
        let id = Node::new(seed, &token, &ALICE).ask(&rig, Some(&token));
        rig.answer(&id, RequestState::Refused);

        let log = rig.log();
        let line = log
            .lines()
            .find(|line| line.contains(&id.to_string()))
            .unwrap();
        assert!(
            line.contains("token_used") && line.contains(total),
            "{line}"
        );
        let answer = rig.store_folder().join(format!("answers/{id}.json"));
        let told = std::fs::read_to_string(answer).unwrap();
        assert_eq!(told, "{\"version\":1,\"state\":\"refused\"}\n");
    }
}

#[test]
fn a_flood_of_refused_enrolments_is_named_only_at_first() {
    let rig = Rig::new();
    let running = rig.start();
    let (alice, token) = alice(&rig);
    alice.enrol(&rig, &token);
    running.kill();
    let ask = |seed| Node::new(seed, &token, &ALICE).ask(&rig, Some(&token));
    let asked: Vec<_> = (1000..1150).map(ask).collect();

    let _running = rig.start();

    for id in &asked {
        rig.answer(id, RequestState::Refused);
    }
    let more = || rig.log().contains("more=50").then_some(());
    wait(more, "the rest is told as a number");
    assert_eq!(rig.log().matches("Enrolment refused").count(), 100);
}
