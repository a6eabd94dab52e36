use proptest::prelude::*;

use super::*;
use crate::offload::samples::{ALL_KINDS, Sample, checksums_are_right};

fn split(frame: &[u8]) -> Result<Vec<Vec<u8>>, DropReason> {
    let (offload, packet) = Offload::decode(frame)?;
    let mut segments = Segments::new(offload, packet)?;
    let mut packets = Vec::new();
    while let Some(length) = segments.next_length() {
        let mut packet = vec![0; length];
        assert!(segments.write_next(&mut packet));
        assert!(length <= segments.longest());
        packets.push(packet);
    }
    Ok(packets)
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn a_super_packet_becomes_segments_with_right_checksums() {
    for kind in ALL_KINDS {
        let sample = Sample::new(kind, payload(4_000));

        let packets = split(&sample.super_frame(1200)).unwrap();

        let headers = sample.headers();
        let lengths: Vec<_> = packets
            .iter()
            .map(|packet| packet.len() - headers)
            .collect();
        assert_eq!(lengths, [1200, 1200, 1200, 400]);
        let carried: Vec<_> = packets
            .iter()
            .flat_map(|packet| &packet[headers..])
            .collect();
        assert!(carried.into_iter().eq(&sample.payload));
        for packet in &packets {
            assert!(checksums_are_right(packet, kind), "{kind:?}");
        }
    }
}

#[test]
fn segments_are_numbered_and_only_the_last_one_ends_and_only_the_first_one_tells_of_congestion() {
    let mut sample = Sample::new(SegmentKind::Tcp4, payload(3_000));
    sample.flags = tcp_flag::ACK | tcp_flag::PSH | tcp_flag::FIN | tcp_flag::CWR;

    let packets = split(&sample.super_frame(1000)).unwrap();

    let flags: Vec<_> = packets.iter().map(|packet| packet[33]).collect();
    let (ack, cwr) = (tcp_flag::ACK, tcp_flag::CWR);
    assert_eq!(flags, [ack | cwr, ack, ack | tcp_flag::PSH | tcp_flag::FIN]);
    let ids: Vec<_> = packets
        .iter()
        .map(|packet| be16(packet, 4).unwrap())
        .collect();
    assert_eq!(ids, [0xfffe, 0xffff, 0]);
    let sequences: Vec<_> = packets
        .iter()
        .map(|packet| be32(packet, 24).unwrap())
        .collect();
    assert_eq!(sequences, [0xffff_f000, 0xffff_f3e8, 0xffff_f7d0]);
}

#[test]
fn a_super_packet_that_needs_no_cutting_is_one_segment() {
    let sample = Sample::new(SegmentKind::Tcp6, payload(100));

    assert_eq!(split(&sample.super_frame(1360)), Ok(vec![sample.packet()]));
}

#[test]
fn a_missing_checksum_is_completed() {
    for kind in ALL_KINDS {
        let sample = Sample::new(kind, payload(101));
        let offset = kind.checksum_offset() as u16;
        let offload = Offload::Checksum {
            start: sample.start() as u16,
            offset,
        };
        let frame = [offload.encode(0).as_slice(), &sample.partial()].concat();

        assert_eq!(split(&frame), Ok(vec![sample.packet()]), "{kind:?}");
    }
}

#[test]
fn a_udp_checksum_of_zero_is_written_as_ones() {
    let mut sample = Sample::new(SegmentKind::Udp4, vec![0; 2]);
    let zero = u16::from_be_bytes(sample.packet()[26..28].try_into().unwrap());
    sample.payload = zero.to_be_bytes().to_vec();
    let offload = Offload::Checksum {
        start: 20,
        offset: 6,
    };
    let frame = [offload.encode(0).as_slice(), &sample.partial()].concat();

    let packets = split(&frame).unwrap();

    assert_eq!(packets[0][26..28], [0xff, 0xff]);
    assert!(checksums_are_right(&packets[0], SegmentKind::Udp4));
}

#[test]
fn a_checksum_inside_the_ip_header_or_outside_the_packet_is_refused() {
    let packet = Sample::new(SegmentKind::Udp4, payload(10)).partial();
    for (start, offset) in [
        (0, 12),
        (18, 2),
        (20, 17),
        (38, 0),
        (9, 1),
        (65_535, 65_535),
    ] {
        let frame = [
            Offload::Checksum { start, offset }.encode(0).as_slice(),
            &packet,
        ]
        .concat();
        assert_eq!(
            split(&frame),
            Err(DropReason::BadVnetHeader),
            "{start} {offset}"
        );
    }
}

#[test]
fn headers_that_contradict_the_offload_are_refused() {
    let frame = Sample::new(SegmentKind::Tcp4, payload(3_000)).super_frame(1000);
    let changed = |at: usize, value: u8| {
        let mut frame = frame.clone();
        frame[10 + at] = value;
        split(&frame).err()
    };

    assert_eq!(
        changed(32, 0x40),
        Some(DropReason::BadVnetHeader),
        "TCP header of 16 bytes"
    );
    assert_eq!(
        changed(0, 0x46),
        Some(DropReason::BadVnetHeader),
        "IP header of 24 bytes"
    );
    assert_eq!(changed(9, 17), Some(DropReason::BadVnetHeader), "not TCP");
    assert_eq!(
        changed(6, 0x20),
        Some(DropReason::BadVnetHeader),
        "a fragment"
    );
    assert_eq!(
        changed(7, 1),
        Some(DropReason::BadVnetHeader),
        "a later fragment"
    );
}

proptest! {
    #[test]
    fn any_frame_is_cut_or_dropped_and_no_byte_is_invented(
        mut frame in prop::collection::vec(any::<u8>(), 10..200),
        gso in prop::sample::select(vec![0_u8, 1, 4, 5]),
        first in prop::sample::select(vec![0x45_u8, 0x46, 0x60]),
        size in 1_u16..60,
        start in 0_u16..80,
        kind in 0_u8..2,
    ) {
        frame[0] = kind;
        frame[1] = gso;
        frame[4..6].copy_from_slice(&size.to_ne_bytes());
        frame[6..8].copy_from_slice(&start.to_ne_bytes());
        if frame.len() > 10 {
            frame[10] = first;
        }
        if let Ok((offload, packet)) = Offload::decode(&frame)
            && let Ok(mut segments) = Segments::new(offload, packet)
        {
            let mut payload = 0;
            while let Some(length) = segments.next_length() {
                let mut segment = vec![0; length];
                prop_assert!(segments.write_next(&mut segment));
                payload += length - segments.headers;
            }
            prop_assert_eq!(payload, packet.len() - segments.headers);
        }
    }
}
