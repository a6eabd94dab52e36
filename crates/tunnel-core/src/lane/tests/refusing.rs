use super::*;
use crate::transport::OVERHEAD;

#[test]
fn p03_a_datagram_copied_to_every_lane_s_port_is_delivered_once() {
    for lanes in 1..=3 {
        for sending in 0..3 {
            let mut bob = Node::with_lane(1, sending, 3);
            let transport = Transport::new(1, 1, 0);
            bob.command(transport.send(sending));
            let run = bob.send(&[small(1, 0)], START).remove(0);

            let delivered: usize = (0..lanes)
                .map(|index| {
                    let mut alice = Node::with_lane(0, index, lanes);
                    alice.command(transport.receive());
                    alice.receive(&run, START).len() + alice.receive(&run, START).len()
                })
                .sum();

            assert_eq!(delivered, 1, "{lanes} lanes, sent by {sending}");
        }
    }
}

#[test]
fn hp01_a_replayed_run_is_dropped_also_after_its_transport_was_given_again() {
    let (mut bob, mut alice) = bob_to_alice();
    let run = bob.send(&[small(1, 0), small(1, 0)], START).remove(0);
    assert_eq!(alice.receive(&run, START).len(), 1);

    alice.command(Transport::new(1, 1, 0).receive());

    assert!(alice.receive(&run, START).is_empty());
    assert_eq!(alice.all_drops(), [(DropReason::Replayed, 2)]);
}

#[test]
fn p02_a_transport_given_again_goes_on_counting() {
    let (mut bob, mut alice) = bob_to_alice();
    let (first, second) = (Transport::new(1, 1, 0), Transport::new(2, 1, 0));
    alice.command(second.receive());

    let mut runs = bob.send(&[small(1, 0)], START);
    for transport in [first, second, first, first, second] {
        bob.command(transport.send(0));
        runs.extend(bob.send(&[small(1, 0), small(1, 0)], START));
    }

    let written: usize = runs.iter().map(|run| alice.receive(run, START).len()).sum();
    assert_eq!(written, 6);
    assert_eq!(
        alice.all_drops(),
        [],
        "a counter used twice would be a replay"
    );
    assert_eq!(alice.traffic(PeerIndex(1)).data_received, 11);
}

#[test]
fn hp04_a_flipped_bit_anywhere_delivers_nothing() {
    let (mut bob, mut alice) = bob_to_alice();
    let run = bob.send(&[small(1, 0)], START).remove(0);
    for at in 0..run.datagrams.len() {
        for bit in 0..8 {
            let mut flipped = run.clone();
            flipped.datagrams[at] ^= 1 << bit;

            assert!(
                alice.receive(&flipped, START).is_empty(),
                "byte {at} bit {bit}"
            );
        }
    }
    assert_eq!(
        alice.receive(&run, START).len(),
        1,
        "and the true one still arrives"
    );
}

#[test]
fn hp05_a_cut_or_longer_datagram_delivers_nothing() {
    let (mut bob, mut alice) = bob_to_alice();
    let run = bob.send(&[small(1, 0)], START).remove(0);
    let right = run.datagrams.len();
    for length in (0..=right + 40)
        .chain([1500, 9000, 65_507])
        .filter(|length| *length != right)
    {
        let mut changed = run.datagrams.clone();
        changed.resize(length, 0);

        let written = alice.receive_from(address(1, 0), &changed, length, START);

        assert!(written.is_empty(), "{length}");
    }
    assert_eq!(alice.receive(&run, START).len(), 1);
}

#[test]
fn hp14_odd_datagrams_are_dropped_and_counted() {
    let (_, mut alice) = bob_to_alice();
    for datagram in [
        vec![0; 148],
        vec![5; 148],
        vec![4],
        vec![1, 0, 1],
        vec![4, 0, 0, 1, 9, 9],
    ] {
        assert!(
            alice
                .receive_from(address(1, 0), &datagram, datagram.len(), START)
                .is_empty()
        );
    }

    assert_eq!(alice.all_drops(), [(DropReason::UnknownMessage, 5)]);
    assert_eq!(alice.events(), []);
}

#[test]
fn nd06_a_peer_that_speaks_for_others_is_dropped_and_counted() {
    let (mut mallory, mut alice) = (Node::new(2), Node::new(0));
    let transport = Transport::new(1, 2, 0);
    alice.command(transport.receive());
    mallory.command(transport.send(0));
    // Mallory's own node lets her send under Bob's address.
    mallory.command(LaneCommand::Owners(Arc::new(mallorys_owners())));

    let run = mallory.send(&[small(1, 0), small(2, 0)], START).remove(0);
    let written = alice.receive(&run, START);

    assert_eq!(written, [small(2, 0)]);
    assert_eq!(alice.all_drops(), [(DropReason::SourceNotPeers, 1)]);
    assert_eq!(alice.traffic(PeerIndex(2)).refused, 1);
}

/// A table in which everything but Alice's range is Mallory's.
fn mallorys_owners() -> OwnerTable {
    let range = |first: [u8; 4], last: [u8; 4]| IpAddr::from(first)..=IpAddr::from(last);
    OwnerTable::new([
        (Owner::Own, range([10, 244, 1, 0], [10, 244, 2, 255])),
        (
            Owner::Peer(PeerIndex(0)),
            range([10, 244, 0, 0], [10, 244, 0, 255]),
        ),
        (
            Owner::Peer(PeerIndex(0)),
            range([10, 244, 3, 0], [10, 244, 3, 255]),
        ),
    ])
    .unwrap()
}

#[test]
fn nd07_a_peer_that_sends_through_us_is_dropped() {
    let (mut mallory, mut alice) = (Node::new(2), Node::new(0));
    let transport = Transport::new(1, 2, 0);
    alice.command(transport.receive());
    mallory.command(transport.send(0));
    mallory.command(LaneCommand::Owners(Arc::new(mallorys_owners())));

    let run = mallory.send(&[small(2, 3)], START).remove(0);

    assert!(alice.receive(&run, START).is_empty());
    assert_eq!(alice.all_drops(), [(DropReason::DestinationNotOwn, 1)]);
}

#[test]
fn nd09_an_opened_packet_that_lies_about_its_length_is_not_written() {
    let lies: [fn(&mut Vec<u8>); 5] = [
        |packet| packet[2..4].copy_from_slice(&[0, 0]),
        |packet| packet[2..4].copy_from_slice(&[0, 19]),
        |packet| packet[2..4].copy_from_slice(&[0xff, 0xff]),
        |packet| packet.extend([7; 16]),
        |packet| packet.truncate(11),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let (_, mut alice) = bob_to_alice();
        let mut packet = small(1, 0)[10..].to_vec();
        lie(&mut packet);
        let datagram = seal(Transport::new(1, 1, 0), &packet);

        let written = alice.receive_from(address(1, 0), &datagram, datagram.len(), START);

        assert!(written.is_empty(), "lie {number}");
        assert_eq!(alice.traffic(PeerIndex(1)).refused, 1, "lie {number}");
    }
}

/// What a peer sends that does not keep to the rules for what is inside.
fn seal(transport: Transport, packet: &[u8]) -> Vec<u8> {
    let index = transport.base().wire(LaneIndex(0));
    let key = transport.key(0);
    let mut key =
        crate::transport::SealingKey::new(transport.suite, &key, index, Role::Offerer, START);
    let mut message = vec![0; packet.len() + OVERHEAD];
    message[16..16 + packet.len()].copy_from_slice(packet);
    let length = message.len();
    key.seal_run(&mut message, length, START).unwrap();
    message
}

#[test]
fn pd14_a_pod_s_crafted_packet_is_not_sent() {
    let (mut bob, _) = bob_to_alice();
    let good = small(1, 0);
    let crafted: [fn(&mut Vec<u8>); 7] = [
        |frame| frame[12..14].copy_from_slice(&[0, 0]),
        |frame| frame[12..14].copy_from_slice(&[0, 19]),
        |frame| frame[12..14].copy_from_slice(&[0xff, 0xff]),
        |frame| frame[10] = 0x05,
        |frame| frame[10] = 0xf5,
        |frame| frame[18] = 0,
        |frame| frame.truncate(10),
    ];
    for craft in crafted {
        let mut frame = good.clone();
        craft(&mut frame);
        assert!(bob.send(&[frame], START).is_empty());
    }
    assert_eq!(
        bob.all_drops().iter().map(|(_, count)| count).sum::<u64>(),
        7
    );
    assert_eq!(bob.send(&[good], START).len(), 1, "the control");
}

#[test]
fn a_packet_for_a_service_or_for_nobody_is_not_sent() {
    let (mut bob, _) = bob_to_alice();
    let mut service = small(1, 0);
    service[26..30].copy_from_slice(&[10, 96, 0, 10]);

    bob.send(&[service, small(1, 9), small(1, 1), small(2, 0)], START);

    assert!(bob.sent().is_empty());
    assert_eq!(
        bob.all_drops(),
        [
            (DropReason::NoOwner, 1),
            (DropReason::DestinationOwn, 1),
            (DropReason::UntranslatedService, 1),
            (DropReason::SourceNotOwn, 1),
        ]
    );
}

#[test]
fn a_lane_that_was_told_nothing_sends_and_delivers_nothing() {
    let settings = LaneSettings {
        index: LaneIndex(0),
        lanes: 1,
        mtu: MTU,
        udp: UdpJoining::Accepted,
    };
    let mut lane = Lane::new(settings, Arc::default());
    let mut wire = Recorder::default();

    lane.outbound(&small(1, 0), START, &mut wire);
    lane.flush(START, &mut wire);
    let mut handshake = vec![1, 0, 0, 0];
    handshake.resize(148, 0);
    assert_eq!(
        lane.inbound(address(1, 0), &mut handshake, 148, START)
            .count(),
        0
    );

    assert!(wire.runs.is_empty());
    assert_eq!(lane.poll_event(), None);
}

#[test]
fn control_messages_pass_from_certified_endpoints_to_the_first_lane_only() {
    let mut initiation = vec![1, 0, 0, 0];
    initiation.resize(148, 7);
    let stranger: SocketAddr = "198.51.100.66:51820".parse().unwrap();
    let (mut first, mut second) = (Node::with_lane(0, 0, 2), Node::with_lane(0, 1, 2));

    first.receive_from(stranger, &initiation, 148, START);
    second.receive_from(address(1, 0), &initiation, 148, START);
    assert_eq!(first.all_drops(), [(DropReason::UncertifiedSource, 1)]);
    assert_eq!(second.all_drops(), [(DropReason::ControlOnWrongLane, 1)]);
    assert_eq!((first.events(), second.events()), (vec![], vec![]));

    first.receive_from(address(1, 0), &initiation, 148, START);
    let source = address(1, 0);
    assert_eq!(
        first.events(),
        [LaneEvent::ControlDatagram {
            source,
            datagram: initiation
        }]
    );
}

#[test]
fn unknown_indexes_are_hinted_at_for_certified_endpoints_and_not_without_end() {
    let mut alice = Node::new(0);
    let mut datagram = vec![4, 0, 0, 0, 0, 0, 0, 0x80];
    datagram.resize(64, 0);

    alice.receive_from("203.0.113.9:51820".parse().unwrap(), &datagram, 64, START);
    assert_eq!(alice.events(), []);
    for _ in 0..1_000 {
        alice.receive_from(address(1, 0), &datagram, 64, START);
    }

    assert_eq!(
        alice.events(),
        vec![LaneEvent::UnknownIndex(address(1, 0).ip()); 50]
    );
    alice.receive_from(address(1, 0), &datagram, 64, later(1_000));
    assert_eq!(alice.events().len(), 1);
}

#[test]
fn a_forgotten_transport_opens_and_sends_nothing() {
    let (mut bob, mut alice) = bob_to_alice();
    let run = bob.send(&[small(1, 0)], START).remove(0);

    alice.command(LaneCommand::Forget(TransportId(1)));
    bob.command(LaneCommand::Forget(TransportId(1)));

    assert!(alice.receive(&run, START).is_empty());
    assert_eq!(alice.all_drops(), [(DropReason::UnknownIndex, 1)]);
    assert!(bob.send(&[small(1, 0)], START).is_empty());
    assert_eq!(bob.events(), [LaneEvent::Want(PeerIndex(0))]);
}

#[test]
fn an_event_without_room_is_kept_unless_it_is_a_datagram() {
    let (mut bob, mut alice) = bob_to_alice();
    let run = bob.send(&[small(1, 0)], START).remove(0);
    alice.receive(&run, START);
    let event = alice.lane.poll_event().unwrap();

    alice.lane.return_event(event.clone());
    let datagram = LaneEvent::ControlDatagram {
        source: address(1, 0),
        datagram: vec![1],
    };
    alice.lane.return_event(datagram);

    assert_eq!(alice.events(), [event]);
    assert_eq!(alice.all_drops(), [(DropReason::ControlQueueFull, 1)]);
}
