//! Which refusals are told, and which are no news.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_store::{Refusal, RefusedEntry};
use node_identity::IdentityKey;

use super::super::{Peers, Refused, Severity};
use super::{Cluster, names, reason};
use crate::sample::{NOW, SampleNode};

/// Alice's set after a start with a new generation, while the store shows an older envelope of the
/// node with this key.
fn restarted(cluster: &mut Cluster, in_store: &SampleNode) -> Peers {
    let older = cluster.authority.envelope(in_store, 1);
    let newer = cluster.authority.envelope(&cluster.alice, 2);
    let mut peers = cluster.peers();
    peers.absorb(&cluster.authority.published(&[]), NOW);
    peers.set_own(peers.judge_own(&newer, NOW).unwrap());
    peers.absorb(&cluster.authority.published(&[&older]), NOW);
    peers
}

#[test]
fn this_nodes_own_older_envelope_is_no_news() {
    let mut cluster = Cluster::new();
    let alice = SampleNode {
        key: IdentityKey::from_pem(&cluster.alice.key.to_pem()).unwrap(),
        id: cluster.alice.id.clone(),
        number: 1,
    };

    let peers = restarted(&mut cluster, &alice);

    assert_eq!(peers.refused().count(), 0);
}

#[test]
fn an_older_envelope_of_this_node_under_another_key_is_told() {
    let mut cluster = Cluster::new();
    let mut twin = SampleNode::new("alice", 1);
    twin.id = cluster.alice.id.clone();

    let peers = restarted(&mut cluster, &twin);

    assert!(reason(&peers, "alice").contains("superseded"));
}

#[test]
fn entries_that_cannot_be_read_are_told_by_name_and_the_rest_goes_on() {
    let mut cluster = Cluster::new();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let mut peers = cluster.peers();
    let mut published = cluster.authority.published(&[&bob]);
    published.refused.push(RefusedEntry {
        name: "envelopes/x.json".to_owned(),
        reason: Refusal::Malformed,
    });
    published.nodes.insert(
        0,
        cluster_store::PublishedNode {
            envelopes: vec![vec![0x30, 0x80]],
            ..cluster_store::PublishedNode::empty(cluster.carol.id.uid)
        },
    );

    peers.absorb(&published, NOW);

    assert_eq!(names(&mut peers), ["bob"]);
    assert!(reason(&peers, "envelopes/x.json").contains("malformed"));
    assert!(reason(&peers, &cluster.carol.id.uid.to_string()).contains("read envelope"));
}

#[test]
fn a_flood_of_refusals_is_told_by_name_only_at_first() {
    let cluster = Cluster::new();
    let mut peers = cluster.peers();
    let flood = |start: usize, severity| -> BTreeMap<String, Refused> {
        let name = |number| format!("envelopes/{number:06}.json");
        let fault = Refused {
            reason: "malformed".to_owned(),
            severity,
        };
        (start..start + 50_000)
            .map(|number| (name(number), fault.clone()))
            .collect()
    };
    let mut count = |refused: &_, seconds| {
        let now = NOW.plus(Duration::from_secs(seconds));
        let named = peers.unsaid(refused, now).len();
        (named, peers.rest(now))
    };

    let others = flood(50_000, Severity::Warning);

    assert_eq!(count(&flood(0, Severity::Warning), 0), (100, Some(49_900)));
    assert_eq!(count(&others, 1), (0, None), "other names at once");
    assert_eq!(count(&others, 61), (100, Some(99_900)));
    assert_eq!(count(&flood(0, Severity::Alarm), 62), (50_000, None));
}
