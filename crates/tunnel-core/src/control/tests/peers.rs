//! Who is a peer, and how one stops being it.

use node_identity::RevokedSubject;

use super::cluster::{Identity, Root, START};
use super::*;
use crate::owner::Owner;

fn nothing_left(net: &Net, node: usize) -> bool {
    let lanes = &net.nodes[node].lanes;
    lanes.sending.is_empty() && lanes.receiving.is_empty()
}

fn has_event(net: &Net, node: usize, is: impl Fn(&ControlEvent) -> bool) -> bool {
    net.nodes[node].events.iter().any(is)
}

#[test]
fn a_peer_that_is_no_longer_admitted_is_out_at_once() {
    let mut net = Net::connected(1, [2, 2]);
    let now = net.now;

    net.nodes[ALICE].control.handle_peers(&[], now);
    net.collect(ALICE);

    assert!(nothing_left(&net, ALICE));
    let lanes = &net.nodes[ALICE].lanes;
    assert_eq!(lanes.owners.owner("10.244.2.9".parse().unwrap()), None);
    assert!(!lanes.endpoints.contains(net.address(BOB).ip()));
    assert!(has_event(&net, ALICE, |it| matches!(
        it,
        ControlEvent::PeerRemoved { .. }
    )));
    net.advance(Duration::from_secs(2));
    net.want(BOB);
    net.advance(Duration::from_secs(3));
    assert!(nothing_left(&net, ALICE));
    assert!(net.refused(ALICE, DatagramRefusal::UnknownSource) > 0);
}

#[test]
fn a_revoked_peer_is_out_at_once_whatever_generation_it_has() {
    let subjects: [fn(&VerifiedPeer) -> RevokedSubject; 2] = [
        |bob| RevokedSubject::Node(bob.identity().uid),
        |bob| RevokedSubject::IdentityKey(bob.statement().identity_key_hash),
    ];
    for subject in subjects {
        let mut net = Net::connected(2, [1, 1]);
        net.renew(BOB, 500);
        net.introduce_to(ALICE);
        let revocations = net.root.revocations(subject(&net.verified(BOB)));
        let now = net.now;

        net.nodes[ALICE]
            .control
            .handle_revocations(&revocations, now);
        net.collect(ALICE);

        assert!(nothing_left(&net, ALICE));
        assert_eq!(net.nodes[ALICE].control.peers().count(), 0);
    }
}

#[test]
fn no_transport_outlives_a_peers_certificate() {
    let mut net = Net::strangers(3, [1, 1]);
    let lifetime = Duration::from_secs(100);
    let end = UnixTime(START.0 + lifetime.as_secs());
    let root = Root::new();
    let generation = net.nodes[BOB].identity.generation_until(&root, 500, end);
    let now = net.now;
    let bob = &mut net.nodes[BOB].control;
    bob.handle_generation(&generation, now).unwrap();
    net.introduce_all();
    net.busy = true;

    net.advance(lifetime - Duration::from_secs(1));
    net.assert_agreed();
    net.advance(Duration::from_secs(3));

    assert!(nothing_left(&net, ALICE), "the peer's end");
    assert!(nothing_left(&net, BOB), "the own end");
    let expired = |it: &ControlEvent| {
        matches!(
            it,
            ControlEvent::PeerGenerationEnded {
                reason: PeerEnd::Expired,
                ..
            }
        )
    };
    assert!(has_event(&net, ALICE, expired));
    net.advance(Duration::from_secs(200));
    assert!(nothing_left(&net, ALICE));
}

#[test]
fn a_superseded_generation_does_not_come_back_when_its_successor_runs_out() {
    let mut net = Net::connected(13, [1, 1]);
    let end = UnixTime(START.0 + 101);
    let root = Root::new();
    let generation = net.nodes[BOB].identity.generation_until(&root, 500, end);
    let now = net.now;
    let bob = &mut net.nodes[BOB].control;
    bob.handle_generation(&generation, now).unwrap();
    net.introduce_to(ALICE);
    net.busy = true;

    net.advance(Duration::from_secs(110));

    assert_eq!(net.choice(ALICE), None);
    assert_eq!(net.choice(BOB), None);
}

#[test]
fn a_returning_node_gets_its_old_number() {
    let mut net = Net::acquainted(4, [1, 1]);
    net.add(4, Identity::new(3, "carol", 1));
    let now = net.now;
    let (bob, carol) = (net.verified(BOB), net.verified(2));
    let control = &mut net.nodes[ALICE].control;
    let numbers = |control: &Control| -> Vec<_> {
        let peers = control.peers();
        peers
            .map(|it| (it.index.0, it.identity.name.to_string()))
            .collect()
    };

    control.handle_peers(&[bob.clone(), carol.clone()], now);
    control.handle_peers(std::slice::from_ref(&carol), now);
    assert_eq!(numbers(control), [(1, "carol".into())]);
    control.handle_peers(&[carol, bob], now);

    assert_eq!(numbers(control), [(0, "bob".into()), (1, "carol".into())]);
}

#[test]
fn lanes_learn_who_owns_what() {
    let net = Net::acquainted(5, [1, 1]);

    let owners = &net.nodes[ALICE].lanes.owners;

    let owner = |address: &str| owners.owner(address.parse().unwrap());
    assert_eq!(owner("10.244.1.1"), Some(Owner::Own));
    assert_eq!(owner("10.244.2.255"), Some(Owner::Peer(PeerIndex(0))));
    assert_eq!(owner("10.244.3.1"), None);
    assert!(
        net.nodes[ALICE]
            .lanes
            .endpoints
            .contains(net.address(BOB).ip())
    );
}

#[test]
fn a_peer_with_our_own_key_is_refused() {
    let mut net = Net::strangers(6, [1, 1]);
    let root = Root::new();
    let mut twin = Identity::new(3, "twin", 1);
    // The seed of Alice's own tunnel key.
    let generation = twin.generation(&root, 6 * 1000 + 1);
    let now = net.now;

    net.nodes[ALICE]
        .control
        .handle_peers(&[generation.verified], now);
    net.collect(ALICE);

    assert_eq!(net.nodes[ALICE].control.peers().count(), 0);
    assert!(has_event(&net, ALICE, |it| matches!(
        it,
        ControlEvent::PeerKeyRefused { .. }
    )));
}

#[test]
fn status_shows_what_a_peer_is_sent_under() {
    let mut net = Net::acquainted(7, [1, 1]);
    let status = |net: &Net| net.nodes[ALICE].control.peers().next().unwrap();
    assert_eq!(status(&net).sending, None);

    net.want(ALICE);
    net.advance(Duration::from_secs(1));

    let bob = status(&net);
    assert_eq!(bob.sending.unwrap().id, net.choice(ALICE).unwrap());
    assert_eq!(bob.endpoint, Some(net.address(BOB)));
    assert_eq!(bob.receiving, 1);
    assert!(bob.last_handshake.is_some());
    let control = &net.nodes[ALICE].control;
    let lately: Vec<_> = control.lately_spoken_with(net.now).collect();
    assert_eq!(lately, [net.nodes[BOB].identity.uid()]);
}

#[test]
fn a_peer_with_this_nodes_range_stops_no_table() {
    let mut net = Net::connected(9, [1, 1]);
    let mut carol = Identity::new(3, "carol", 1);
    carol.number = net.nodes[ALICE].identity.number;
    let root = Root::new();
    let carol = carol.generation(&root, 700).verified;
    let now = net.now;

    net.nodes[ALICE].control.handle_peers(&[carol], now);
    net.collect(ALICE);

    let owner = |address: &str| {
        let owners = &net.nodes[ALICE].lanes.owners;
        owners.owner(address.parse().unwrap())
    };
    assert!(matches!(owner("10.244.1.9"), Some(Owner::Peer(_))));
    assert_eq!(owner("10.244.2.9"), None, "Bob is gone");
    assert!(has_event(&net, ALICE, |it| matches!(
        it,
        ControlEvent::OwnersOverlap(_)
    )));
}
