//! V6 to V10 in Kubernetes: names, keys, addresses and pod ranges beside those of other nodes.

use super::*;
use crate::ledger::Departure;

#[test]
fn aw09_a_name_counts_only_exactly_as_it_is() {
    let mut scene = Scene::in_kubernetes("");
    let asked = request(1, &identity("alice", 1));
    // A Cyrillic letter, a combining mark, capitals, dots, white space.
    for name in [
        "аlice",
        "alice\u{301}",
        "Alice",
        "ALICE",
        "alice.",
        ".alice",
        " alice",
        "alice\0",
        "",
    ] {
        let mut stamp = stamp("alice", 1);
        stamp.node_name = vec![name.to_owned()];
        stamp.pod.as_mut().unwrap().node_name = name.to_owned();

        assert_eq!(scene.reason(&asked, &stamp), Refusal::WrongName, "{name:?}");
    }
}

#[test]
fn aw09_a_name_of_253_bytes_enrols_and_a_longer_one_is_nobodys() {
    let mut scene = Scene::in_kubernetes("");
    let name = [
        ["a"; 63].concat(),
        ["b"; 63].concat(),
        ["c"; 63].concat(),
        ["d"; 61].concat(),
    ]
    .join(".");
    assert_eq!(name.len(), 253);

    let grant = scene.issue(&request(1, &identity(&name, 1)), &stamp(&name, 1));

    assert_eq!(grant.record.name.as_str(), name);
    assert!(format!("{name}e").parse::<NodeName>().is_err());
}

#[test]
fn v6_neither_name_nor_uid_are_taken_from_the_request() {
    let mut scene = Scene::with_alice_in_kubernetes();
    let stamp = stamp("bob", 2);

    assert_eq!(
        scene.reason(&request(2, &identity("alice", 2)), &stamp),
        Refusal::WrongName
    );
    assert_eq!(
        scene.reason(&request(2, &identity("bob", 1)), &stamp),
        Refusal::WrongUid
    );
    let mut foreign = identity("bob", 2);
    foreign.trust_domain = "other.test".parse().unwrap();
    assert_eq!(
        scene.reason(&request(2, &foreign), &stamp),
        Refusal::ForeignTrustDomain
    );
}

#[test]
fn nl05_a_node_made_again_is_another_one_once_the_old_is_revoked() {
    let mut scene = Scene::with_alice_in_kubernetes();
    let mut again = stamp("alice", 2);
    again.node.as_mut().unwrap().pod_ranges = vec!["10.244.1.0/24".to_owned()];
    again.node.as_mut().unwrap().addresses = ips(&["198.51.100.1"]);
    let asked = request(2, &identity("alice", 2));
    let held = Decision::Pending(PendingReason::HeldByDeparted);
    assert_eq!(
        scene.judge(&asked, &again),
        held,
        "the old one's time comes"
    );

    revocations::revoke(&mut scene.ledger, &identity("alice", 1).uid, scene.now);
    let grant = scene.issue(&asked, &again);

    assert_eq!(
        grant.record.pod_ranges.to_string(),
        "10.244.1.0/24",
        "Kubernetes gave it anew"
    );
    assert_eq!(grant.record.addresses, ips(&["198.51.100.1"]));
    let old_key = scene.reason(&request(1, &identity("alice", 2)), &again);
    assert_eq!(old_key, Refusal::KeyOfAnotherNode, "the old key is burnt");
    let packed = crate::ledger::pack(&scene.ledger);
    assert_eq!(crate::ledger::unpack(&packed), Ok(scene.ledger));
}

#[test]
fn nl06_a_renamed_node_inherits_nothing() {
    let mut scene = Scene::with_alice_in_kubernetes();

    let same_key = scene.reason(&request(1, &identity("alina", 2)), &stamp("alina", 2));
    let grant = scene.issue(&request(2, &identity("alina", 2)), &stamp("alina", 2));

    assert_eq!(same_key, Refusal::KeyOfAnotherNode);
    assert_eq!(grant.record.pod_ranges.to_string(), "10.244.2.0/24");
}

#[test]
fn nl07_another_pod_range_is_refused_while_the_node_is_live() {
    let mut scene = Scene::with_alice_in_kubernetes();
    let mut moved = stamp("alice", 1);
    moved.node.as_mut().unwrap().pod_ranges = vec!["10.244.77.0/24".to_owned()];
    let asked = request(1, &identity("alice", 1));
    scene.advance(24 * HOUR);
    assert_eq!(scene.reason(&asked, &moved), Refusal::RangesChanged);

    scene.advance(72 * HOUR);

    assert_eq!(
        scene.issue(&asked, &moved).record.pod_ranges.to_string(),
        "10.244.77.0/24"
    );
}

#[test]
fn v7_another_key_waits_for_approval_of_exactly_this_request() {
    let mut scene = Scene::with_alice_in_kubernetes();
    let (alice, mut approved) = (identity("alice", 1), stamp("alice", 1));
    approved.operator_approved = true;
    let waits = scene.judge(&request(2, &alice), &stamp("alice", 1));
    let expected = Decision::AwaitApproval {
        uid: alice.uid,
        key: key(2).public().hash(),
    };
    assert_eq!(waits, expected);

    let grant = scene.issue(&request(2, &alice), &approved);

    assert_eq!(grant.record.key, key(2).public());
    assert_eq!(scene.ledger.retired[0].key, key(1).public().hash());
    assert_eq!(
        scene.reason(&request(1, &alice), &approved),
        Refusal::RetiredKey
    );
}

#[test]
fn v7_an_approval_satisfies_v7_and_nothing_else() {
    let mut scene = Scene::with_alice_in_kubernetes();
    let mut approved = stamp("bob", 2);
    approved.operator_approved = true;

    assert_eq!(
        scene.reason(&request(1, &identity("bob", 2)), &approved),
        Refusal::KeyOfAnotherNode
    );
    approved.pod = None;
    assert_eq!(
        scene.reason(&request(2, &identity("bob", 2)), &approved),
        Refusal::PodGone
    );
}

#[test]
fn v7_an_expired_node_changes_its_key_without_asking_anybody() {
    let mut scene = Scene::with_alice_in_kubernetes();
    scene.advance(73 * HOUR);

    let grant = scene.issue(&request(2, &identity("alice", 1)), &stamp("alice", 1));

    assert_eq!(grant.record.key, key(2).public());
}

#[test]
fn nd03_an_address_of_another_live_node_is_left_out_and_both_are_named() {
    let mut scene = Scene::with_alice_in_kubernetes();
    let mut greedy = stamp("bob", 2);
    greedy.node.as_mut().unwrap().addresses = ips(&["198.51.100.1", "198.51.100.2"]);

    let grant = scene.issue(&request(2, &identity("bob", 2)), &greedy);

    assert_eq!(grant.record.addresses, ips(&["198.51.100.2"]));
    let left_out = ("198.51.100.1".parse().unwrap(), "alice".parse().unwrap());
    assert_eq!(grant.left_out, [left_out]);
}

#[test]
fn nd03_addresses_off_the_underlay_are_left_out_and_without_any_the_request_waits() {
    let mut scene = Scene::with_alice_in_kubernetes();
    let asked = request(2, &identity("bob", 2));
    let mut lying = stamp("bob", 2);
    let foreign = [
        "203.0.113.1",
        "10.244.1.1",
        "10.96.0.1",
        "fd00:10:244::1",
        "127.0.0.1",
        "0.0.0.0",
    ];
    lying.node.as_mut().unwrap().addresses = ips(&foreign);
    assert_eq!(
        scene.judge(&asked, &lying),
        Decision::Pending(PendingReason::NoAddress)
    );
    lying.node.as_mut().unwrap().addresses = ips(&["198.51.100.1"]);
    assert_eq!(
        scene.judge(&asked, &lying),
        Decision::Pending(PendingReason::NoAddress)
    );

    let many: Vec<String> = (2..30)
        .map(|number| format!("198.51.100.{number}"))
        .collect();
    lying.node.as_mut().unwrap().addresses = many.iter().map(|one| one.parse().unwrap()).collect();
    assert_eq!(
        scene.issue(&asked, &lying).record.addresses.len(),
        MAX_ADDRESSES
    );
}

#[test]
fn nd01_ranges_that_are_not_the_clusters_or_anothers_are_refused() {
    for (ranges, label) in [
        (&["10.244.1.0/24"][..], "range_taken"),
        (&["10.244.0.0/16"], "range_too_large"),
        (&["10.244.128.0/17"], "range_too_large"),
        (&["10.244.2.0/24", "fd00:10:244:2::/63"], "range_too_large"),
        (&["10.244.1.128/25"], "range_taken"),
        (&["10.244.2.0/24", "10.244.1.0/25"], "range_taken"),
        (&["10.96.0.0/24"], "ranges_outside_cluster"),
        (&["10.0.0.0/8"], "ranges_outside_cluster"),
        (&["0.0.0.0/0"], "malformed_range"),
        (&["::ffff:10.244.2.0/120"], "malformed_range"),
        (&["10.244.2.1/24"], "malformed_range"),
        (&["10.244.2.0/24", "10.244.2.0/24"], "malformed_range"),
        (&["ü", ""], "malformed_range"),
    ] {
        let mut scene = Scene::with_alice_in_kubernetes();
        let mut greedy = stamp("bob", 2);
        greedy.node.as_mut().unwrap().pod_ranges =
            ranges.iter().map(|text| (*text).to_owned()).collect();

        let reason = scene.reason(&request(2, &identity("bob", 2)), &greedy);

        assert_eq!(reason.label(), label, "{ranges:?}: {reason}");
    }
}

/// The limit may be newer than the node, and renewals must go on.
#[test]
fn nd01_a_range_that_is_too_large_stays_with_the_node_that_has_it_already() {
    let mut scene = Scene::with_alice_in_kubernetes();
    let uid = identity("alice", 1).uid;
    let wide = vec!["10.244.0.0/16".parse().unwrap()];
    scene.ledger.nodes.get_mut(&uid).unwrap().pod_ranges = PodRanges::try_new(wide).unwrap();
    let mut same = stamp("alice", 1);
    same.node.as_mut().unwrap().pod_ranges = vec!["10.244.0.0/16".to_owned()];
    scene.now = scene.now.plus(Duration::from_secs(24 * 3600));

    let renewed = scene.issue(&request(1, &identity("alice", 1)), &same);

    assert_eq!(renewed.record.pod_ranges.to_string(), "10.244.0.0/16");
    same.node.as_mut().unwrap().pod_ranges = vec!["10.244.0.0/17".to_owned()];
    let reason = scene.reason(&request(1, &identity("alice", 1)), &same);
    assert_eq!(reason.label(), "range_too_large");
}

#[test]
fn nl05_a_range_of_a_node_that_is_gone_is_waited_for_until_that_is_revoked() {
    let mut scene = Scene::with_alice_in_kubernetes();
    scene.issue(&request(3, &identity("carol", 3)), &stamp("carol", 3));
    let alice = identity("alice", 1).uid;
    let departure = Departure {
        at: scene.now,
        held: true,
    };
    scene.ledger.nodes.get_mut(&alice).unwrap().departed = Some(departure);
    let asked = request(2, &identity("bob", 2));
    let mut next = stamp("bob", 2);
    next.node.as_mut().unwrap().pod_ranges = vec!["10.244.1.0/24".to_owned()];
    let mut greedy = next.clone();
    greedy.node.as_mut().unwrap().pod_ranges =
        vec!["10.244.1.0/24".to_owned(), "10.244.3.0/24".to_owned()];

    let held = Decision::Pending(PendingReason::HeldByDeparted);
    assert_eq!(scene.judge(&asked, &next), held);
    assert_eq!(
        scene.reason(&asked, &greedy).label(),
        "range_taken",
        "carol lives"
    );

    revocations::revoke(&mut scene.ledger, &alice, scene.now);
    scene.issue(&asked, &next);
}

#[test]
fn nd02_a_node_made_with_a_range_of_another_gets_no_certificate_whatever_its_uid() {
    let mut scene = Scene::with_alice_in_kubernetes();
    for number in 2..5 {
        let mut greedy = stamp("mallory", number);
        greedy.node.as_mut().unwrap().pod_ranges = vec!["10.244.1.0/24".to_owned()];

        let asked = request(number.into(), &identity("mallory", number));

        assert_eq!(scene.reason(&asked, &greedy).label(), "range_taken");
    }
}

#[test]
fn v9_a_node_without_a_pod_range_waits_or_is_given_one_as_set() {
    let mut without = stamp("alice", 1);
    without.node.as_mut().unwrap().pod_ranges.clear();
    let asked = request(1, &identity("alice", 1));

    let waits = Scene::in_kubernetes("").judge(&asked, &without);
    let given = Scene::in_kubernetes("pod_ranges_from = \"controller\"").issue(&asked, &without);

    assert_eq!(waits, Decision::Pending(PendingReason::NoNodePodRange));
    assert_eq!(
        given.record.pod_ranges.to_string(),
        "10.244.1.0/24, fd00:10:244:1::/64"
    );
}

#[test]
fn nd04_a_key_of_another_node_is_refused_in_kubernetes_too() {
    let mut scene = Scene::with_alice_in_kubernetes();

    let reason = scene.reason(&request(1, &identity("bob", 2)), &stamp("bob", 2));

    assert_eq!(reason, Refusal::KeyOfAnotherNode);
}

#[test]
fn v10_in_kubernetes_too_the_seventh_certificate_within_an_hour_waits() {
    let mut scene = Scene::in_kubernetes("");
    let asked = request(1, &identity("alice", 1));
    for number in 1..=6 {
        let mut moving = stamp("alice", 1);
        moving.node.as_mut().unwrap().addresses = ips(&[&format!("198.51.100.{number}")]);
        scene.issue(&asked, &moving);
        scene.advance(Duration::from_secs(60));
    }

    let again = scene.judge(&asked, &stamp("alice", 1));

    assert_eq!(again, Decision::Pending(PendingReason::RateLimited));
}
