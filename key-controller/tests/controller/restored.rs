//! A controller whose ledger somebody put back from a backup: what it signed since is promised.

use std::fs;

use cluster_store::{ClusterStore, RequestId, RequestState};
use node_identity::{NodeUid, RevocationList, RevokedSubject};

use crate::rig::{Node, Rig, run, succeeded, wait};

const ALICE: [&str; 1] = ["198.51.100.1"];
const BOB: [&str; 1] = ["198.51.100.2"];
const CAROL: [&str; 1] = ["198.51.100.3"];

fn backup(rig: &Rig) -> Vec<u8> {
    fs::read(rig.state().join("ledger")).unwrap()
}

/// Keeps the file, and so its mode.
fn restore(rig: &Rig, ledger: &[u8]) {
    fs::write(rig.state().join("ledger"), ledger).unwrap();
}

fn alarm(rig: &Rig) -> String {
    wait(
        || {
            let log = rig.log();
            let line = log.lines().find(|line| line.contains("Nothing is granted"));
            line.map(str::to_owned)
        },
        "the alarm",
    )
}

fn state(rig: &Rig, id: &RequestId) -> Option<RequestState> {
    run(rig.store().request_state(id)).unwrap()
}

fn revokes(list: &RevocationList, uid: NodeUid) -> bool {
    let wanted = RevokedSubject::Node(uid);
    list.entries.iter().any(|entry| entry.subject == wanted)
}

#[test]
fn a_ledger_older_than_its_certificates_grants_nothing_until_a_newer_one_is_put_back() {
    let rig = Rig::new();
    let running = rig.start();
    let alice = rig.token("alice", &[]);
    Node::new(1, &alice, &ALICE).enrol(&rig, &alice);
    let old = backup(&rig);
    let bobs = rig.token("bob", &[]);
    let bob = Node::new(2, &bobs, &BOB);
    let promised = bob.enrol(&rig, &bobs);
    assert!(running.stop().success());
    let new = backup(&rig);

    restore(&rig, &old);
    let running = rig.start();
    let carols = rig.token("carol", &[]);
    let carol = Node::new(3, &carols, &CAROL).ask(&rig, Some(&carols));
    let said = alarm(&rig);
    succeeded(rig.verb(&["revoke", "alice"]));
    rig.list(|list| revokes(list, alice.identity.uid));

    assert_eq!(state(&rig, &carol), Some(RequestState::Waiting));
    assert!(
        said.contains("ERROR") && said.contains("bob") && said.contains("newer backup"),
        "{said}"
    );
    let kept = rig.certificate(&bob.identity.uid).unwrap();
    assert_eq!(kept.to_der(), promised.to_der());

    assert!(running.stop().success());
    restore(&rig, &new);
    let _running = rig.start();
    // The backup does not know of this one either.
    assert!(alarm(&rig).contains(&alice.identity.uid.to_string()));
    succeeded(rig.verb(&["revoke", "alice"]));
    let carols = rig.token("carol", &[]);
    let granted = Node::new(3, &carols, &CAROL).enrol(&rig, &carols);
    let (granted, promised) = (&granted.terms().pod_ranges, &promised.terms().pod_ranges);
    assert!(!granted.overlaps(promised));
}

#[test]
fn a_ledger_older_than_a_revocation_keeps_it_published_and_grants_nothing() {
    let rig = Rig::new();
    let running = rig.start();
    let alice = rig.token("alice", &[]);
    let uid = alice.identity.uid;
    Node::new(1, &alice, &ALICE).enrol(&rig, &alice);
    let old = backup(&rig);
    succeeded(rig.verb(&["revoke", "alice"]));
    let before = rig.list(|list| revokes(list, uid));
    assert!(running.stop().success());

    restore(&rig, &old);
    let _running = rig.start();
    let bobs = rig.token("bob", &[]);
    let bob = Node::new(2, &bobs, &BOB).ask(&rig, Some(&bobs));
    let said = alarm(&rig);
    let after = rig.list(|list| list.number > before.number);

    assert!(said.contains(&uid.to_string()), "{said}");
    assert!(revokes(&after, uid), "{after:?}");
    assert_eq!(state(&rig, &bob), Some(RequestState::Waiting));
    succeeded(rig.verb(&["revoke", "alice"]));
    rig.answer(&bob, RequestState::Issued);
}
