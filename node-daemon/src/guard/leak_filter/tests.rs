use super::*;

/// What the kernel does with such a program, as far as these filters go.
fn run(filter: &[Instruction], outgoing: bool, packet: &[u8]) -> u32 {
    let mut accumulator = 0_u32;
    let mut at = 0_usize;
    loop {
        let step = filter[at];
        at += 1;
        let offset = step.operand as usize;
        match step.code {
            LOAD_WORD if step.operand == PACKET_TYPE => accumulator = if outgoing { 4 } else { 0 },
            LOAD_WORD => match packet.get(offset..offset + 4) {
                Some(word) => accumulator = u32::from_be_bytes(word.try_into().unwrap()),
                None => return 0,
            },
            LOAD_BYTE => match packet.get(offset) {
                Some(byte) => accumulator = u32::from(*byte),
                None => return 0,
            },
            AND => accumulator &= step.operand,
            JUMP => at += offset,
            JUMP_EQUAL => {
                let equal = accumulator == step.operand;
                at += usize::from(if equal { step.if_true } else { step.if_false });
            }
            RETURN => return step.operand,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn packet(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    let mut packet = vec![0; 60];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet[0] = 0x45;
            packet[12..16].copy_from_slice(&source.octets());
            packet[16..20].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet[0] = 0x60;
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&destination.octets());
        }
        mixed => panic!("{mixed:?}"),
    }
    packet
}

fn filter(ranges: &[&str]) -> Vec<Instruction> {
    let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
    leak_filter(&PodRanges::try_new(ranges).unwrap())
}

#[test]
fn an_outgoing_packet_with_a_pod_address_at_either_end_is_kept() {
    let filter = filter(&["10.244.0.0/16", "10.250.7.0/25", "fd00:10:244::/56"]);

    for (source, destination) in [
        ("10.244.1.5", "203.0.113.9"),
        ("203.0.113.9", "10.244.255.255"),
        ("10.250.7.127", "203.0.113.9"),
        ("fd00:10:244::5", "2001:db8::9"),
        ("2001:db8::9", "fd00:10:244:ff:ffff::1"),
    ] {
        let kept = run(&filter, true, &packet(source, destination));
        assert_eq!(kept, KEPT, "{source} to {destination}");
    }
}

#[test]
fn a_packet_without_a_pod_address_is_not_kept() {
    let filter = filter(&["10.244.0.0/16", "10.250.7.0/25", "fd00:10:244::/56"]);

    for (source, destination) in [
        ("198.51.100.1", "198.51.100.2"),
        ("10.243.255.255", "10.245.0.0"),
        ("10.250.7.128", "10.250.6.255"),
        ("2001:db8::1", "fd00:10:244:100::1"),
        ("fd00:10:243:ffff::1", "fd00:10:245::"),
    ] {
        assert_eq!(
            run(&filter, true, &packet(source, destination)),
            0,
            "{source} to {destination}"
        );
    }
}

#[test]
fn an_incoming_packet_is_none_of_its_business() {
    let filter = filter(&["10.244.0.0/16"]);

    assert_eq!(run(&filter, false, &packet("10.244.1.5", "10.244.2.5")), 0);
}

#[test]
fn a_packet_of_another_protocol_or_too_short_is_not_kept() {
    let filter = filter(&["10.244.0.0/16", "fd00:10:244::/56"]);
    let mut arp = packet("10.244.1.5", "10.244.2.5");
    arp[0] = 0;

    assert_eq!(run(&filter, true, &arp), 0);
    assert_eq!(run(&filter, true, &[0x45, 0, 0]), 0);
    assert_eq!(run(&filter, true, &[]), 0);
}

#[test]
fn without_ranges_of_a_family_none_of_its_packets_is_kept() {
    assert_eq!(
        run(
            &filter(&["10.244.0.0/16"]),
            true,
            &packet("fd00::1", "fd00::2")
        ),
        0
    );
    assert_eq!(
        run(
            &filter(&["fd00:10:244::/56"]),
            true,
            &packet("10.244.0.1", "10.244.0.2")
        ),
        0
    );
}

#[test]
fn a_range_of_every_length_is_matched_exactly() {
    for length in 8..=32_u32 {
        let mask = u32::MAX << (32 - length);
        let network = 0x0ad5_5a5a & mask;
        let range = format!("{}/{length}", std::net::Ipv4Addr::from(network));
        let filter = filter(&[&range]);
        let verdict = |address: u32| {
            run(
                &filter,
                true,
                &packet(
                    &std::net::Ipv4Addr::from(address).to_string(),
                    "203.0.113.9",
                ),
            )
        };

        assert_eq!(verdict(network), KEPT, "{range}");
        assert_eq!(verdict(network | !mask), KEPT, "{range}");
        assert_eq!(verdict(network.wrapping_sub(1)), 0, "{range}");
        assert_eq!(verdict((network | !mask).wrapping_add(1)), 0, "{range}");
    }
}
