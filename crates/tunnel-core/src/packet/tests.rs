use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;

fn range(first: &str, last: &str) -> RangeInclusive<IpAddr> {
    first.parse().unwrap()..=last.parse().unwrap()
}

/// Alice owns 10.244.0.0/24 and fd00:10:244::/64, Bob (peer 1) the next ones, Mallory (2) those
/// after.
fn owners() -> OwnerTable {
    let bob = Owner::Peer(PeerIndex(1));
    let mallory = Owner::Peer(PeerIndex(2));
    OwnerTable::new([
        (mallory, range("10.244.2.0", "10.244.2.255")),
        (Owner::Own, range("10.244.0.0", "10.244.0.255")),
        (bob, range("10.244.1.0", "10.244.1.255")),
        (Owner::Service, range("10.96.0.0", "10.96.255.255")),
        (
            Owner::Own,
            range("fd00:10:244::", "fd00:10:244::ffff:ffff:ffff:ffff"),
        ),
        (
            bob,
            range("fd00:10:244:1::", "fd00:10:244:1:ffff:ffff:ffff:ffff"),
        ),
    ])
    .unwrap()
}

fn ipv4(source: &str, destination: &str) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(source.parse::<Ipv4Addr>().unwrap().octets());
    packet.extend(destination.parse::<Ipv4Addr>().unwrap().octets());
    packet.extend([7; 8]);
    packet
}

fn ipv6(source: &str, destination: &str) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
    packet.extend(source.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend([7; 8]);
    packet
}

#[test]
fn a_packet_goes_to_the_owner_of_its_destination() {
    let owners = owners();
    let bob = Verdict::ToPeer(PeerIndex(1));

    let packet = InnerPacket::parse(&ipv4("10.244.0.2", "10.244.1.255")).unwrap();
    assert_eq!(packet.route_outbound(&owners), bob);
    let packet = InnerPacket::parse(&ipv6("fd00:10:244::2", "fd00:10:244:1::7")).unwrap();
    assert_eq!(packet.route_outbound(&owners), bob);
}

#[test]
fn a_packet_that_may_not_leave_is_dropped_with_its_reason() {
    let owners = owners();
    let cases = [
        ("10.244.0.2", "10.96.0.10", DropReason::UntranslatedService),
        ("10.244.0.2", "10.244.0.9", DropReason::DestinationOwn),
        ("10.244.0.2", "10.244.3.1", DropReason::NoOwner),
        ("10.244.0.2", "224.0.0.1", DropReason::NoOwner),
        ("10.244.2.2", "10.244.1.1", DropReason::SourceNotOwn),
        ("198.51.100.1", "10.244.1.1", DropReason::SourceNotOwn),
    ];
    for (source, destination, reason) in cases {
        let packet = InnerPacket::parse(&ipv4(source, destination)).unwrap();
        assert_eq!(
            packet.route_outbound(&owners),
            Verdict::Drop(reason),
            "{destination}"
        );
    }
}

#[test]
fn nd06_a_peer_speaks_only_for_its_own_addresses() {
    let owners = owners();
    let bob = PeerIndex(1);

    for source in [
        "10.244.2.1",
        "10.244.0.3",
        "198.51.100.1",
        "10.96.0.1",
        "10.244.9.9",
        "127.0.0.1",
    ] {
        let packet = InnerPacket::parse(&ipv4(source, "10.244.0.2")).unwrap();
        let verdict = packet.route_inbound(&owners, bob);
        assert_eq!(
            verdict,
            Verdict::Drop(DropReason::SourceNotPeers),
            "{source}"
        );
    }
    for source in ["ff02::1", "::1", "fd00:10:244::1", "::ffff:10.244.1.1"] {
        let packet = InnerPacket::parse(&ipv6(source, "fd00:10:244::2")).unwrap();
        let verdict = packet.route_inbound(&owners, bob);
        assert_eq!(
            verdict,
            Verdict::Drop(DropReason::SourceNotPeers),
            "{source}"
        );
    }
    let honest = InnerPacket::parse(&ipv4("10.244.1.1", "10.244.0.2")).unwrap();
    assert_eq!(honest.route_inbound(&owners, bob), Verdict::ToLocal);
}

#[test]
fn nd07_a_peer_cannot_use_this_node_as_a_router() {
    let owners = owners();

    for destination in [
        "10.244.2.1",
        "127.0.0.1",
        "169.254.169.254",
        "198.51.100.1",
        "10.96.0.1",
    ] {
        let packet = InnerPacket::parse(&ipv4("10.244.1.1", destination)).unwrap();
        let verdict = packet.route_inbound(&owners, PeerIndex(1));
        assert_eq!(
            verdict,
            Verdict::Drop(DropReason::DestinationNotOwn),
            "{destination}"
        );
    }
}

#[test]
fn pd14_a_crafted_header_is_dropped_before_it_has_an_owner() {
    let good = ipv4("10.244.0.2", "10.244.1.1");
    let drop = |at: usize, value: &[u8]| {
        let mut packet = good.clone();
        packet[at..at + value.len()].copy_from_slice(value);
        InnerPacket::parse(&packet).unwrap_err()
    };

    for length in (0_u16..20).chain([27, 29, 65_535]) {
        assert_eq!(
            drop(2, &length.to_be_bytes()),
            DropReason::LengthMismatch,
            "{length}"
        );
    }
    for version in [0x05, 0x15, 0x55, 0xf5] {
        assert_eq!(
            drop(0, &[version]),
            DropReason::MalformedPacket,
            "{version:x}"
        );
    }
    for header in [0x40, 0x44, 0x4f] {
        assert_eq!(
            drop(0, &[header]),
            DropReason::MalformedPacket,
            "{header:x}"
        );
    }
    assert_eq!(drop(8, &[0]), DropReason::ZeroHopLimit);
    for cut in 0..good.len() {
        assert!(InnerPacket::parse(&good[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn pd14_a_jumbo_claim_is_dropped() {
    let mut packet = ipv6("fd00:10:244::2", "fd00:10:244:1::7");
    packet[4..6].copy_from_slice(&[0, 0]);

    assert_eq!(InnerPacket::parse(&packet), Err(DropReason::LengthMismatch));
}

#[test]
fn nd09_only_zeros_and_fewer_than_sixteen_may_follow_an_opened_packet() {
    let packet = ipv4("10.244.1.1", "10.244.0.2");
    let padded = |padding: &[u8]| {
        InnerPacket::parse_padded(&[packet.as_slice(), padding].concat()).map(|inner| inner.length)
    };

    assert_eq!(padded(&[]), Ok(28));
    assert_eq!(padded(&[0; 15]), Ok(28));
    assert_eq!(padded(&[0; 16]), Err(DropReason::LengthMismatch));
    assert_eq!(padded(&[0, 0, 1]), Err(DropReason::LengthMismatch));
    assert_eq!(
        InnerPacket::parse_padded(&[]),
        Err(DropReason::MalformedPacket)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_of_at_most_their_length_or_a_drop(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        if let Ok(packet) = InnerPacket::parse(&bytes) {
            prop_assert_eq!(packet.length, bytes.len());
        }
        if let Ok(packet) = InnerPacket::parse_padded(&bytes) {
            prop_assert!(packet.length <= bytes.len());
        }
    }
}
