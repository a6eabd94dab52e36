//! Somebody with write access to the whole store, but with no key.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_store::{Published, PublishedNode};
use node_identity::{
    CERTIFICATE_LIFETIME, Envelope, Generation, KeyStatement, NodeUid, TunnelKey, UnixTime,
};

use super::{Cluster, names, reason};
use crate::io::random;
use crate::peers::{Missing, Peers};
use crate::sample::{NOW, SampleNode, filed};

#[test]
fn cp08_peers_that_the_store_lists_no_more_are_kept_and_counted() {
    let mut cluster = Cluster::new();
    let (bob, carol) = (
        cluster.authority.envelope(&cluster.bob, 1),
        cluster.authority.envelope(&cluster.carol, 1),
    );
    let both = cluster.authority.published(&[&bob, &carol]);
    let mut peers = cluster.peers();
    let mut missing_in = |published: &Published| {
        peers.absorb(published, NOW);
        (names(&mut peers).len(), peers.missing())
    };

    assert_eq!(missing_in(&both), (2, Missing::None));
    let shrunk = cluster.authority.published(&[&carol]);
    assert_eq!(missing_in(&shrunk), (2, Missing::Some(1)));
    assert_eq!(missing_in(&Published::default()), (2, Missing::All(2)));
    assert_eq!(missing_in(&both), (2, Missing::None));
}

#[test]
fn cp09_cp10_yesterdays_snapshot_takes_nothing_back() {
    let mut cluster = Cluster::new();
    let yesterday = cluster.authority.envelope(&cluster.bob, 1);
    let today = cluster.authority.envelope(&cluster.bob, 2);
    let mut shown = cluster.authority.published(&[&today]);
    shown.roots = vec![cluster.authority.published_root(7, &[&cluster.carol])];
    let mut restored = cluster.authority.published(&[&yesterday]);
    let carol = cluster.authority.envelope(&cluster.carol, 1);
    restored.nodes.push(filed(&carol));
    let mut peers = cluster.peers();
    peers.absorb(&shown, NOW);

    let learned = peers.absorb(&restored, NOW);

    assert!(!learned.set && !learned.floor && !learned.revocations);
    assert_eq!(names(&mut peers), ["bob"]);
    let kept = peers.believed(&cluster.bob.id.uid).unwrap().envelope();
    assert_eq!(*kept, today);
}

/// Mallory has no key that a root knows, so she signs with her own what she changed.
#[test]
fn aw02_a_field_changed_and_signed_anew_is_refused_and_the_last_good_one_stays() {
    let mut cluster = Cluster::new();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let mallory = SampleNode::new("mallory", 9);
    let mallorys = cluster.authority.envelope(&mallory, 1);
    let mut peers = cluster.peers();
    peers.absorb(&cluster.authority.published(&[&bob]), NOW);
    type Change = fn(&mut KeyStatement);
    let changes: [Change; 8] = [
        |it| it.identity.uid = NodeUid::generate(&mut random::system()),
        |it| it.identity.name = "carol".parse().unwrap(),
        |it| it.certificate_serial.0 += 1,
        |it| it.generation = Generation(u64::MAX),
        |it| it.tunnel_key = TunnelKey::generate(&mut random::system()).public(),
        |it| it.endpoints = vec!["198.51.100.66".parse().unwrap()],
        |it| it.base_port = 666,
        |it| it.lanes = 2,
    ];

    for (number, change) in changes.into_iter().enumerate() {
        for certificate in [bob.certificate(), mallorys.certificate()] {
            let mut statement = bob.statement().clone();
            change(&mut statement);
            let tunnel_key = TunnelKey::generate(&mut random::system());
            let Ok(forged) = Envelope::seal(&statement, &mallory.key, &tunnel_key, certificate)
            else {
                continue;
            };

            let learned = peers.absorb(&cluster.authority.published(&[&forged]), NOW);

            assert!(!learned.set && !learned.floor, "change {number}");
            assert_eq!(names(&mut peers), ["bob"], "change {number}");
            let kept = peers.believed(&cluster.bob.id.uid).unwrap();
            assert_eq!(*kept.envelope(), bob, "change {number}");
        }
    }
}

#[test]
fn aw01_an_object_of_a_root_of_ones_own_is_ignored_and_named() {
    let cluster = Cluster::new();
    let mut mallorys_root = crate::sample::Authority::new();
    let forged = mallorys_root.envelope(&cluster.bob, 1);
    let mut shown = mallorys_root.published(&[&forged]);
    shown.roots.extend(cluster.authority.published(&[]).roots);
    let mut peers = cluster.peers();

    let learned = peers.absorb(&shown, NOW);

    assert!(!learned.set);
    assert!(names(&mut peers).is_empty());
    assert!(reason(&peers, "bob").contains("no pinned root"));
    assert!(peers.take_told().iter().any(|it| it.starts_with("bob: ")));
}

#[test]
fn aw08_ten_thousand_made_up_objects_cost_a_bounded_number_of_words() {
    let cluster = Cluster::new();
    let mut peers = cluster.peers();
    let mut shown = cluster.authority.published(&[]);
    shown.nodes = (0..10_000)
        .map(|number: u32| PublishedNode {
            envelopes: vec![number.to_be_bytes().to_vec(); 2],
            ..PublishedNode::empty(NodeUid::generate(&mut random::system()))
        })
        .collect();

    peers.absorb(&shown, NOW);
    let told = peers.take_told();
    peers.absorb(&shown, NOW);

    assert!(told.len() <= 5, "{}", told.len());
    assert!(peers.take_told().is_empty(), "said once");
    let distinct: BTreeSet<_> = peers.refused().map(|(name, _)| name).collect();
    assert_eq!(distinct.len(), 10_000, "the status has all");
}

#[test]
fn aw08_what_does_not_hold_is_verified_once_until_another_root_or_time_may_mend_it() {
    let mut cluster = Cluster::new();
    let mut shown = cluster.authority.envelope(&cluster.bob, 1);
    let mut forged = cluster.authority.published(&[&shown]);
    *forged.nodes[0].envelopes[0].last_mut().unwrap() ^= 1;
    let mut peers = cluster.peers();
    let remembered = |peers: &mut Peers, forged: &Published, now| {
        for fault in peers.faults.kept.values_mut() {
            fault.refused.reason = "as before".to_owned();
        }
        peers.absorb(forged, now);
        reason(peers, "bob") == "as before"
    };

    assert!(!remembered(&mut peers, &forged, NOW));
    assert!(remembered(&mut peers, &forged, NOW));
    assert!(!remembered(
        &mut peers,
        &forged,
        NOW.minus(Duration::from_secs(60))
    ));

    // What begins in the future is looked at each time, and what is shown no more is forgotten.
    shown = cluster.authority.envelope(&cluster.carol, 1);
    let early = cluster.authority.published(&[&shown]);
    peers.absorb(&early, NOW.minus(Duration::from_secs(365 * 24 * 3600)));
    assert!(peers.faults.kept.is_empty());
    peers.absorb(&early, NOW);
    assert_eq!(names(&mut peers), ["carol"]);
}

#[test]
fn kl11_a_revocation_that_is_withheld_is_over_with_the_certificate_at_most() {
    let mut cluster = Cluster::new();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let mut peers = cluster.peers();
    let withheld = cluster.authority.published(&[&bob]);
    peers.absorb(&withheld, NOW);
    let overdue = UnixTime(NOW.0 + 3601);
    let end = NOW.plus(CERTIFICATE_LIFETIME);

    peers.absorb(&withheld, overdue);
    assert_eq!(names(&mut peers), ["bob"]);
    assert_eq!(
        peers.overdue(overdue),
        [cluster.authority.root.pin()],
        "but it is noticed"
    );
    peers.absorb(&withheld, end);
    peers.expire(end);

    assert!(names(&mut peers).is_empty());
}
