//! Roots that come and go, and one that is wrong.

use node_identity::{Floor, Pin, PodRanges, Revocations};

use super::{Cluster, names, reason};
use crate::peers::Peers;
use crate::sample::{Authority, NOW, SampleNode};

fn pinned(alice: &SampleNode, pins: &[Pin]) -> Peers {
    let ranges = vec!["10.244.0.0/16".parse().unwrap()];
    Peers::new(
        alice.id.uid,
        alice.key.public().hash(),
        pins,
        &PodRanges::try_new(ranges).unwrap(),
        Floor::default(),
        Revocations::default(),
    )
}

#[test]
fn kl07_during_a_change_of_root_both_count_and_then_only_the_new_one() {
    let [mut old, mut new] = [Authority::new(), Authority::new()];
    let [alice, bob, carol] = [("alice", 1), ("bob", 2), ("carol", 3)]
        .map(|(name, number)| SampleNode::new(name, number));
    // Bob still has his certificate from the old root, Carol has one from the new.
    let bobs = old.envelope(&bob, 1);
    let carols = new.envelope(&carol, 1);
    let mut shown = old.published(&[&bobs]);
    shown.roots.extend(new.published(&[]).roots);
    shown.nodes.extend(new.published(&[&carols]).nodes);

    let mut both = pinned(&alice, &[old.root.pin(), new.root.pin()]);
    both.absorb(&shown, NOW);
    let mut after = pinned(&alice, &[new.root.pin()]);
    after.absorb(&shown, NOW);

    assert_eq!(names(&mut both), ["bob", "carol"]);
    assert_eq!(names(&mut after), ["carol"]);
    let said = reason(&after, "bob");
    assert!(said.contains("no pinned root"), "{said}");
}

#[test]
fn kl07_a_certificate_of_the_new_root_takes_the_place_of_one_of_the_old() {
    let [mut old, mut new] = [Authority::new(), Authority::new()];
    let [alice, bob] =
        [("alice", 1), ("bob", 2)].map(|(name, number)| SampleNode::new(name, number));
    let mut peers = pinned(&alice, &[old.root.pin(), new.root.pin()]);
    let bobs = old.envelope(&bob, 1);
    let mut shown = old.published(&[&bobs]);
    shown.roots.extend(new.published(&[]).roots);
    peers.absorb(&shown, NOW);

    // The controller goes on with its ledger's serials.
    new.certify(&bob.id, bob.key.public(), bob.number);
    let renewed = new.envelope(&bob, 2);
    shown.nodes = new.published(&[&renewed]).nodes;
    peers.absorb(&shown, NOW);

    assert_eq!(names(&mut peers), ["bob"]);
    assert_eq!(*peers.believed(&bob.id.uid).unwrap().envelope(), renewed);
}

#[test]
fn kl08_a_wrong_pin_isolates_that_node_alone_and_it_says_so() {
    let mut cluster = Cluster::new();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let shown = cluster.authority.published(&[&bob]);
    let wrong = Authority::new().root.pin();
    let mut isolated = pinned(&cluster.alice, &[wrong]);
    let mut right = cluster.peers();

    isolated.absorb(&shown, NOW);
    right.absorb(&shown, NOW);

    assert!(names(&mut isolated).is_empty() && !isolated.has_root());
    let root = format!("root {}", cluster.authority.root.pin());
    assert!(reason(&isolated, &root).contains("none of pins"));
    assert!(reason(&isolated, "bob").contains("no pinned root"));
    assert_eq!(names(&mut right), ["bob"]);
}

#[test]
fn a_root_of_first_use_counts_from_then_on_and_no_other_does() {
    let [mut first, mut later] = [Authority::new(), Authority::new()];
    let [alice, bob, carol] = [("alice", 1), ("bob", 2), ("carol", 3)]
        .map(|(name, number)| SampleNode::new(name, number));
    let bobs = first.envelope(&bob, 1);
    let shown = first.published(&[&bobs]);
    let mut peers = pinned(&alice, &[]);
    peers.absorb(&shown, NOW);
    assert!(names(&mut peers).is_empty(), "without a pin nobody counts");

    peers.trust(first.root.pin());
    peers.absorb(&shown, NOW);
    let carols = later.envelope(&carol, 1);
    peers.absorb(&later.published(&[&carols]), NOW);

    assert_eq!(names(&mut peers), ["bob"]);
    assert!(reason(&peers, "carol").contains("no pinned root"));
}
