use proptest::prelude::*;

use super::*;
use crate::offload::samples::{ALL_KINDS, Sample};
use crate::offload::split::Segments;

/// What the tun is given when these packets come in one batch.
fn coalesce(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    coalesce_with(UdpJoining::Accepted, packets)
}

fn coalesce_with(udp: UdpJoining, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut batch = Vec::new();
    let mut ranges = Vec::new();
    for packet in packets {
        batch.extend([0xee; 16]);
        ranges.push(batch.len()..batch.len() + packet.len());
        batch.extend(packet);
    }
    let mut coalescer = Coalescer::new(udp);
    for range in ranges {
        coalescer.push(&batch, range);
    }
    coalescer.finish(&mut batch);
    coalescer
        .writes(&batch)
        .map(|pieces| pieces.flatten().copied().collect())
        .collect()
}

fn split(frame: &[u8]) -> Vec<Vec<u8>> {
    let (offload, packet) = Offload::decode(frame).unwrap();
    let mut segments = Segments::new(offload, packet).unwrap();
    let mut packets = Vec::new();
    while let Some(length) = segments.next_length() {
        let mut packet = vec![0; length];
        assert!(segments.write_next(&mut packet));
        packets.push(packet);
    }
    packets
}

fn alone(packet: &[u8]) -> Vec<u8> {
    [[0; VNET_HEADER].as_slice(), packet].concat()
}

/// Segments of a flow, the second one changed.
fn changed(kind: SegmentKind, change: impl FnOnce(&mut Sample)) -> Vec<Vec<u8>> {
    let sample = |at: u32| {
        let mut sample = Sample::new(kind, vec![at as u8; 100]);
        sample.flags = tcp_flag::ACK;
        sample.sequence = 5_000 + at * 100;
        sample
    };
    let mut second = sample(1);
    change(&mut second);
    vec![sample(0).packet(), second.packet()]
}

#[test]
fn split_segments_become_the_super_packet_again() {
    for kind in ALL_KINDS {
        let sample = Sample::new(kind, vec![0x5a; 50_000]);
        let frame = sample.super_frame(1200);

        assert_eq!(coalesce(&split(&frame)), vec![frame], "{kind:?}");
    }
}

#[test]
fn flows_that_alternate_are_joined_each() {
    let mut other = Sample::new(SegmentKind::Tcp4, vec![1; 3_000]);
    other.port = 4002;
    let frames = [
        Sample::new(SegmentKind::Tcp4, vec![2; 3_000]).super_frame(1000),
        other.super_frame(1000),
    ];
    let (a, b) = (split(&frames[0]), split(&frames[1]));
    let mixed: Vec<_> = a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect();

    assert_eq!(coalesce(&mixed), frames);
}

#[test]
fn what_differs_in_any_header_field_is_not_joined() {
    let tcp = SegmentKind::Tcp4;
    assert_eq!(coalesce(&changed(tcp, |_| {})).len(), 1, "the control");
    assert_eq!(
        coalesce(&changed(tcp, |second| second.sequence += 1)).len(),
        2
    );
    assert_eq!(coalesce(&changed(tcp, |second| second.port = 1)).len(), 2);
    assert_eq!(
        coalesce(&changed(tcp, |second| second.options[11] = 9)).len(),
        2
    );
    assert_eq!(
        coalesce(&changed(tcp, |second| second.options.truncate(4))).len(),
        2
    );
    assert_eq!(
        coalesce(&changed(tcp, |second| second.payload.push(0))).len(),
        2
    );
    for flags in [0x11, 0x12, 0x14, 0x30, 0x50, 0x90, 0x00] {
        let packets = changed(tcp, |second| second.flags = flags);
        assert_eq!(coalesce(&packets).len(), 2, "{flags:x}");
    }
    // Service, flags, time to live, acknowledgement, window, urgent pointer.
    for at in [1, 6, 8, 28, 34, 38] {
        let mut packets = changed(tcp, |_| {});
        let packet = &mut packets[1];
        packet[at] ^= 0x80;
        checksum::write_ipv4_header(packet, 20).unwrap();
        checksum::write_transport(packet, tcp, 20).unwrap();
        assert_eq!(coalesce(&packets).len(), 2, "byte {at}");
    }
    // Class, flow label, hop limit.
    for at in [1, 3, 7] {
        let mut packets = changed(SegmentKind::Udp6, |_| {});
        packets[1][at] ^= 0x80;
        assert_eq!(coalesce(&packets).len(), 2, "byte {at}");
    }
}

#[test]
fn ids_have_to_follow_only_where_a_packet_may_be_fragmented() {
    let with = |flags: u8, id: u8| {
        let mut packets = changed(SegmentKind::Udp4, |_| {});
        for (packet, id) in packets.iter_mut().zip([1, id]) {
            packet[5] = id;
            packet[4] = 0;
            packet[6] = flags;
            checksum::write_ipv4_header(packet, 20).unwrap();
        }
        coalesce(&packets).len()
    };

    assert_eq!(with(0, 2), 1);
    assert_eq!(with(0, 1), 2);
    assert_eq!(with(0x40, 1), 1);
}

#[test]
fn a_wrong_checksum_passes_alone_and_untouched() {
    for kind in ALL_KINDS {
        for broken in 0..3 {
            let sample = Sample::new(kind, vec![3; 3_000]);
            let mut packets = split(&sample.super_frame(1000));
            let last = packets[broken].len() - 1;
            packets[broken][last] ^= 1;

            let writes = coalesce(&packets);

            assert!(
                writes.contains(&alone(&packets[broken])),
                "{kind:?} {broken}"
            );
        }
    }
}

#[test]
fn a_wrong_ipv4_header_checksum_is_not_repaired() {
    let mut packets = split(&Sample::new(SegmentKind::Tcp4, vec![3; 3_000]).super_frame(1000));
    packets[1][10] ^= 1;

    let writes = coalesce(&packets);

    assert!(writes.contains(&alone(&packets[1])));
}

#[test]
fn a_pushed_or_shorter_segment_ends_its_group() {
    let first = Sample::new(SegmentKind::Tcp6, vec![1; 2_500]);
    let mut second = Sample::new(SegmentKind::Tcp6, vec![2; 2_000]);
    second.sequence = first.sequence.wrapping_add(2_500);
    let frames = [first.super_frame(1000), second.super_frame(1000)];

    let packets = [split(&frames[0]), split(&frames[1])].concat();

    assert_eq!(coalesce(&packets), frames);
}

#[test]
fn a_flow_keeps_its_order_around_a_packet_that_stands_alone() {
    let mut packets = split(&Sample::new(SegmentKind::Tcp4, vec![3; 4_000]).super_frame(1000));
    packets[1][33] |= tcp_flag::FIN;

    let writes = coalesce(&packets);

    assert_eq!(writes[0], alone(&packets[0]));
    assert_eq!(writes[1], alone(&packets[1]));
    assert_eq!(writes.len(), 3);
}

#[test]
fn fragments_other_protocols_and_empty_acknowledgements_pass_untouched() {
    let mut fragment = Sample::new(SegmentKind::Udp4, vec![3; 64]).packet();
    fragment[6] = 0x20;
    let mut icmp = Sample::new(SegmentKind::Udp4, vec![3; 64]).packet();
    icmp[9] = 1;
    let mut acknowledgement = Sample::new(SegmentKind::Tcp4, vec![]);
    acknowledgement.flags = tcp_flag::ACK;
    let mut options = Sample::new(SegmentKind::Udp4, vec![3; 64]).packet();
    options[0] = 0x46;
    for packet in [fragment, icmp, acknowledgement.packet(), options] {
        let twice = [packet.clone(), packet.clone()];
        assert_eq!(coalesce(&twice), [alone(&packet), alone(&packet)]);
    }
}

#[test]
fn udp_is_not_joined_where_the_tun_refuses_it() {
    let frame = Sample::new(SegmentKind::Udp6, vec![7; 3_000]).super_frame(1000);

    assert_eq!(coalesce_with(UdpJoining::Refused, &split(&frame)).len(), 3);
}

#[test]
fn a_group_stays_below_what_one_write_and_one_length_field_hold() {
    let many = split(&Sample::new(SegmentKind::Tcp4, vec![7; 30_000]).super_frame(10));
    assert_eq!(coalesce(&many).len(), 30_000 / 10 / TCP_SEGMENTS + 1);
    let many = split(&Sample::new(SegmentKind::Udp4, vec![7; 1_280]).super_frame(10));
    assert_eq!(coalesce(&many).len(), 2);
    let long: Vec<_> = (0..2)
        .map(|_| Sample::new(SegmentKind::Udp4, vec![7; 40_000]).packet())
        .collect();
    assert_eq!(coalesce(&long).len(), 2);
}

proptest! {
    #[test]
    fn split_then_coalesce_gives_the_same_bytes(
        kind in prop::sample::select(ALL_KINDS.to_vec()),
        payload in prop::collection::vec(any::<u8>(), 201..6_000),
        size in 100_u16..1400,
        flags in prop::sample::select(vec![0x10_u8, 0x18]),
        sequence in any::<u32>(),
    ) {
        let mut sample = Sample::new(kind, payload);
        (sample.flags, sample.sequence) = (flags, sequence);
        prop_assume!(sample.payload.len() > usize::from(size));
        let frame = sample.super_frame(size);
        prop_assert_eq!(coalesce(&split(&frame)), vec![frame]);
    }

    /// Whatever comes, cutting what was written gives the packets that came.
    #[test]
    fn coalesce_then_split_gives_the_same_packets(
        choices in prop::collection::vec((0_usize..4, 1_usize..300, 0_u8..20, 0_u16..3), 1..30),
    ) {
        let mut sequence = [100_u32; 3];
        let packets: Vec<_> = choices.into_iter().map(|(kind, length, flags, port)| {
            let mut sample = Sample::new(ALL_KINDS[kind], vec![port as u8; length / 100 * 100 + 1]);
            sample.port = port;
            sample.flags = if flags > 17 { flags } else { 0x10 };
            sample.sequence = sequence[usize::from(port)];
            sequence[usize::from(port)] += sample.payload.len() as u32;
            sample.packet()
        }).collect();

        let mut expected = packets.clone();
        let mut cut: Vec<_> = coalesce(&packets).iter().flat_map(|frame| split(frame)).collect();

        for packet in expected.iter_mut().chain(&mut cut) {
            if packet[0] == 0x45 {
                // The kernel counts on from the first packet's number.
                packet[4..6].fill(0);
                checksum::write_ipv4_header(packet, 20).unwrap();
            }
        }
        expected.sort();
        cut.sort();
        prop_assert_eq!(cut, expected);
    }

    #[test]
    fn any_bytes_pass_unchanged_or_joined(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..10),
    ) {
        let writes = coalesce(&packets);
        prop_assert!(writes.len() <= packets.len());
    }
}
