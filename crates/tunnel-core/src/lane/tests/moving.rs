use super::*;
use crate::offload::samples::ALL_KINDS;
use crate::transport::OVERHEAD;

const BULK: usize = 64_000;

fn bulk(kind: SegmentKind) -> Vec<u8> {
    sample(1, 0, kind, BULK).super_frame(1340)
}

#[test]
fn a_super_packet_arrives_as_the_same_super_packet() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        for kind in [SegmentKind::Tcp4, SegmentKind::Tcp6] {
            let (mut bob, mut alice) = (Node::new(1), Node::new(0));
            let transport = Transport {
                suite,
                ..Transport::new(1, 1, 0)
            };
            alice.command(transport.receive());
            bob.command(transport.send(0));

            let runs = bob.send(&[bulk(kind)], START);
            let written = alice.receive_all(&runs, START);

            // 48 segments: 45 fill the first run, the others follow.
            assert_eq!(runs.len(), 2, "{kind:?}");
            let written: Vec<u8> = written
                .iter()
                .flat_map(|frame| &frame[10 + header_length(kind)..])
                .copied()
                .collect();
            assert_eq!(written, sample(1, 0, kind, BULK).payload);
            assert_eq!(alice.all_drops(), []);
        }
    }
}

fn header_length(kind: SegmentKind) -> usize {
    sample(1, 0, kind, 0).headers()
}

#[test]
fn dp24_no_message_on_the_wire_is_longer_than_the_mtu_allows() {
    for kind in ALL_KINDS {
        let (mut bob, mut alice) = bob_to_alice();
        let size = 1420 - header_length(kind);
        let frame = sample(1, 0, kind, 30_000).super_frame(size as u16);

        let runs = bob.send(&[frame], START);

        assert!(
            runs.iter().all(|run| run.segment == 1420 + OVERHEAD),
            "{kind:?}"
        );
        assert!(!alice.receive_all(&runs, START).is_empty());
        assert_eq!(alice.all_drops(), []);
    }
}

#[test]
fn dp24_a_segment_longer_than_the_mtu_is_not_sent() {
    let (mut bob, _) = bob_to_alice();
    let frame = sample(1, 0, SegmentKind::Tcp4, 30_000).super_frame(1400);

    assert!(bob.send(&[frame], START).is_empty());
    assert_eq!(bob.all_drops(), [(DropReason::TooBig, 1)]);
}

#[test]
fn small_packets_share_a_run_and_a_shorter_one_ends_it() {
    let (mut bob, mut alice) = bob_to_alice();
    let frame = |length| sample(1, 0, SegmentKind::Udp4, length).frame();

    let runs = bob.send(
        &[frame(100), frame(100), frame(97), frame(20), frame(100)],
        START,
    );

    let lengths: Vec<_> = runs.iter().map(|run| run.datagrams.len()).collect();
    assert_eq!(
        lengths,
        [3 * (128 + OVERHEAD) + 48 + OVERHEAD, 128 + OVERHEAD]
    );
    let written = alice.receive_all(&runs, START);
    let payload: usize = written.iter().map(|frame| frame.len() - 10 - 28).sum();
    assert_eq!(payload, 100 + 100 + 97 + 20 + 100);
}

#[test]
fn runs_of_two_peers_are_kept_apart() {
    let (mut bob, _) = bob_to_alice();
    bob.command(Transport::new(2, 1, 2).send(0));

    let runs = bob.send(&[small(1, 0), small(1, 2), small(1, 0)], START);

    let destinations: Vec<_> = runs.iter().map(|run| run.destination).collect();
    assert_eq!(destinations, [address(0, 0), address(2, 0), address(0, 0)]);
}

#[test]
fn packets_are_padded_with_zeros_that_nobody_sees_at_the_other_end() {
    let (mut bob, mut alice) = bob_to_alice();
    // A long one first, whose bytes must not show in the padding of the second.
    bob.send(&[sample(1, 0, SegmentKind::Udp4, 400).frame()], START);
    let frame = sample(1, 0, SegmentKind::Udp4, 13).frame();

    let runs = bob.send(std::slice::from_ref(&frame), START);

    assert_eq!(runs[0].datagrams.len(), 48 + OVERHEAD);
    assert_eq!(alice.receive_all(&runs, START), [frame]);
}

#[test]
fn first_packets_wait_for_a_transport_and_are_then_sent_in_order() {
    let (mut bob, mut alice) = (Node::new(1), Node::new(0));
    let frames: Vec<_> = (1..4)
        .map(|length| sample(1, 0, SegmentKind::Udp4, length * 16).frame())
        .collect();
    assert!(bob.send(&frames, START).is_empty());
    assert_eq!(bob.events(), [LaneEvent::Want(PeerIndex(0))]);

    let transport = Transport::new(1, 1, 0);
    alice.command(transport.receive());
    bob.command_at(transport.send(0), later(700));

    let runs = bob.sent();
    assert_eq!(alice.receive_all(&runs, START), frames);
    assert_eq!(bob.all_drops(), []);
}

#[test]
fn a_waiting_packet_is_asked_for_again_after_a_second() {
    let mut bob = Node::new(1);
    for milliseconds in [0, 500, 999, 1_000, 1_500] {
        bob.send(&[small(1, 0)], later(milliseconds));
    }

    assert_eq!(
        bob.events(),
        [LaneEvent::Want(PeerIndex(0)), LaneEvent::Want(PeerIndex(0))]
    );
}

#[test]
fn what_waits_for_a_peer_that_is_given_up_is_dropped() {
    let mut bob = Node::new(1);
    bob.send(&[small(1, 0), small(1, 0), small(1, 2)], START);

    bob.command(LaneCommand::StopSending(PeerIndex(0)));

    assert_eq!(bob.all_drops(), [(DropReason::NoTransport, 2)]);
}

#[test]
fn a_change_of_transport_in_mid_flow_loses_nothing() {
    let (mut bob, mut alice) = bob_to_alice();
    let next = Transport::new(2, 1, 0);

    let before = bob.send(&[bulk(SegmentKind::Tcp4)], START);
    alice.command(next.receive());
    bob.command(next.send(0));
    let after = bob.send(&[bulk(SegmentKind::Tcp4)], START);

    // The old transport's packets come last.
    let late = alice.receive_all(&after, START).len() + alice.receive_all(&before, START).len();
    assert_eq!(late, 4);
    assert_eq!(alice.all_drops(), []);
    let opened = [
        LaneEvent::FirstOpened(next.id()),
        LaneEvent::FirstOpened(TransportId(1)),
    ];
    assert_eq!(alice.events(), opened);
}

#[test]
fn one_batch_may_hold_two_transports_and_a_handshake() {
    let (mut bob, mut alice) = bob_to_alice();
    let next = Transport::new(2, 1, 0);
    alice.command(next.receive());
    let frame = sample(1, 0, SegmentKind::Udp4, 84).frame();
    let first = bob.send(std::slice::from_ref(&frame), START).remove(0);
    bob.command(next.send(0));
    let second = bob.send(std::slice::from_ref(&frame), START).remove(0);
    assert_eq!(first.segment, 144);
    let mut handshake = vec![0; 144];
    handshake[0] = 4;

    let batch = [first.datagrams.clone(), handshake.clone(), second.datagrams].concat();
    let written = alice.receive_from(address(1, 0), &batch, 144, START);

    assert_eq!(written.len(), 1, "joined, as they are of one flow");
    assert!(alice.events().contains(&LaneEvent::ControlDatagram {
        source: address(1, 0),
        datagram: handshake
    }));
    assert_eq!(alice.all_drops(), []);
}

#[test]
fn an_empty_packet_is_a_sign_of_life_and_no_data() {
    let (mut bob, mut alice) = bob_to_alice();

    bob.command(LaneCommand::SendEmpty(PeerIndex(0)));
    let runs = bob.sent();

    assert_eq!(runs[0].datagrams.len(), OVERHEAD);
    assert!(
        alice.receive_all(&runs, START).is_empty(),
        "nothing is written to the tun"
    );
    assert_eq!(
        bob.traffic(PeerIndex(0)),
        Traffic {
            all_sent: 1,
            ..Traffic::default()
        }
    );
    assert_eq!(
        alice.traffic(PeerIndex(1)),
        Traffic {
            all_received: 1,
            ..Traffic::default()
        }
    );
    assert_eq!(alice.events(), [LaneEvent::FirstOpened(TransportId(1))]);
}

#[test]
fn both_ends_count_the_same_traffic() {
    let (mut bob, mut alice) = bob_to_alice();
    let runs = bob.send(&[bulk(SegmentKind::Tcp4), small(1, 0)], START);
    alice.receive_all(&runs, START);

    let (sent, received) = (bob.traffic(PeerIndex(0)), alice.traffic(PeerIndex(1)));
    assert_eq!(sent.data_sent, 49);
    assert_eq!(
        (sent.data_sent, sent.all_sent),
        (received.data_received, received.all_received)
    );
    assert_eq!(sent.data_sent_bytes, received.data_received_bytes);
    assert_eq!(
        sent.data_sent_bytes,
        (BULK + 48 * header_length(SegmentKind::Tcp4) + 68) as u64
    );
}

#[test]
fn frames_are_written_with_the_header_that_the_tun_reads() {
    let (mut bob, mut alice) = bob_to_alice();
    let frame = sample(1, 0, SegmentKind::Tcp4, 20_000).super_frame(1340);

    let runs = bob.send(std::slice::from_ref(&frame), START);
    let written = alice.receive_all(&runs, START);

    assert_eq!(written, std::slice::from_ref(&frame));
    assert!(vnet::Offload::decode(&written[0]).is_ok());
}
