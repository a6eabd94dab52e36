use proptest::prelude::*;

use super::*;
use crate::{PodCidr, ranges::Interval};

fn blocks(texts: &[&str]) -> AddressBlocks {
    let ranges = texts.iter().map(|text| text.parse().unwrap()).collect();
    AddressBlocks::of_ranges(&PodRanges::try_new(ranges).unwrap())
}

fn read(value: &[u8]) -> Result<AddressBlocks, AddressBlocksError> {
    AddressBlocks::from_extensions(&[Extension {
        extn_id: OID,
        critical: true,
        extn_value: octets(value),
    }])
}

/// One IPv4 family around an encoded choice.
fn ipv4_family(choice: &[u8]) -> Vec<u8> {
    let choice_len = u8::try_from(choice.len()).unwrap();
    let mut der = vec![0x30, choice_len + 6, 0x30, choice_len + 4, 0x04, 2, 0, 1];
    der.extend(choice);
    der
}

#[test]
fn prefixes_are_bit_strings_without_their_host_bits() {
    let der = blocks(&["10.0.32.0/20", "10.64.0.0/16", "10.66.0.0/15"]).to_extension();

    // The first is the first prefix of RFC 3779 appendix B: 4 unused bits, then 0a 00 20.
    let prefixes = [
        0x30, 16, 0x03, 4, 4, 0x0a, 0x00, 0x20, 0x03, 3, 0, 0x0a, 0x40, 0x03, 3, 1, 0x0a, 0x42,
    ];
    assert_eq!(der.extn_value.as_bytes(), ipv4_family(&prefixes));
}

#[test]
fn neighbours_that_make_no_prefix_are_one_range() {
    let der = blocks(&["10.244.1.0/24", "10.244.2.0/24"]).to_extension();

    // min 10.244.1.0 without its zeros: 24 bits; max 10.244.2.255 without its ones: 24 bits
    let range = [0x30, 12, 0x03, 4, 0, 10, 244, 1, 0x03, 4, 0, 10, 244, 2];
    assert_eq!(
        der.extn_value.as_bytes(),
        ipv4_family(&[&[0x30, 14], &range[..]].concat())
    );
}

#[test]
fn other_forms_than_the_canonical_one_are_refused() {
    let prefix = |bits: &[u8]| {
        let length = u8::try_from(bits.len()).unwrap();
        ipv4_family(&[&[0x30, length + 2, 0x03, length], bits].concat())
    };
    let with_safi = [
        0x30, 0x0d, 0x30, 0x0b, 0x04, 3, 0, 1, 1, 0x30, 4, 0x03, 2, 0, 10,
    ];
    // 10.0.0.0-10.255.255.255 is the prefix 10.0.0.0/8
    let range_of_a_prefix = [0x30, 10, 0x30, 8, 0x03, 2, 1, 10, 0x03, 2, 0, 10];
    let unsorted = [0x30, 8, 0x03, 2, 0, 11, 0x03, 2, 0, 9];
    let touching = [0x30, 8, 0x03, 2, 0, 10, 0x03, 2, 0, 11];
    let overlapping = [0x30, 9, 0x03, 2, 0, 10, 0x03, 3, 0, 10, 1];
    let not_canonical = Err(EncodingError::NotCanonical.into());

    assert!(read(&prefix(&[0, 10])).is_ok(), "10.0.0.0/8");
    assert_eq!(
        read(&ipv4_family(&[5, 0])),
        Err(AddressBlocksError::Inherit)
    );
    assert_eq!(read(&with_safi), Err(AddressBlocksError::Family));
    assert_eq!(
        read(&prefix(&[0, 10, 1, 2, 3, 4])),
        Err(AddressBlocksError::Bounds)
    );
    assert!(
        read(&prefix(&[4, 0x1f])).is_err(),
        "unused bits are not zero"
    );
    assert_eq!(read(&ipv4_family(&range_of_a_prefix)), not_canonical);
    assert_eq!(read(&ipv4_family(&unsorted)), not_canonical);
    assert_eq!(read(&ipv4_family(&touching)), not_canonical);
    assert_eq!(
        read(&ipv4_family(&overlapping)),
        Err(AddressBlocksError::Bounds)
    );
}

proptest! {
    #[test]
    fn any_set_of_ranges_reads_back(seeds in proptest::collection::vec((any::<u128>(), 8u8..=128, any::<bool>()), 0..12)) {
        let mut ranges: Vec<PodCidr> = Vec::new();
        for (number, prefix, ipv4) in seeds {
            let address = if ipv4 {
                Family::V4.address(number & 0xffff_ffff)
            } else {
                Family::V6.address(number)
            };
            let prefix = if ipv4 { prefix.min(32) } else { prefix };
            let first = Interval::of_prefix(address, prefix);
            let text = format!("{}/{prefix}", first.family.address(first.first));
            let Ok(cidr) = text.parse::<PodCidr>() else { continue };
            if !ranges.iter().any(|other| other.overlaps(&cidr)) {
                ranges.push(cidr);
            }
        }
        let set = PodRanges::try_new(ranges).unwrap();

        let blocks = AddressBlocks::of_ranges(&set);
        let again = AddressBlocks::from_extensions(&[blocks.to_extension()]).unwrap();

        prop_assert_eq!(&again, &blocks);
        prop_assert_eq!(PodRanges::from_intervals(again.intervals()).unwrap(), set);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&bytes);
    }
}
