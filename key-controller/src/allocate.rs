//! Cuts a node's pod ranges out of the cluster's: the first free block of each family, from where
//! the search begins. Pure; what is taken comes from the ledger and from nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use node_identity::PodCidr;

use crate::config::NodePrefixLengths;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// 32-bit addresses.
    Ipv4,
    /// 128-bit addresses.
    Ipv6,
}

/// The family of a range.
pub(crate) fn family(range: &PodCidr) -> Family {
    if range.is_ipv4() {
        Family::Ipv4
    } else {
        Family::Ipv6
    }
}

/// Finds one free range for each family that the cluster has. The search begins at that block of a
/// pool, counted round and round, and ends there. `None` when a family has none left.
pub(crate) fn allocate(
    cluster: &[PodCidr],
    lengths: NodePrefixLengths,
    taken: &[PodCidr],
    begin: u128,
) -> Option<Vec<PodCidr>> {
    let mut found = Vec::new();
    for wanted in [Family::Ipv4, Family::Ipv6] {
        let of_family = |range: &&PodCidr| family(range) == wanted;
        let mut pools = cluster.iter().filter(of_family).peekable();
        if pools.peek().is_none() {
            continue;
        }
        let mut taken: Vec<(u128, u128)> = taken.iter().filter(of_family).map(span).collect();
        taken.sort_unstable();
        found.push(pools.find_map(|pool| free(pool, lengths.of(wanted), &taken, begin))?);
    }
    Some(found)
}

/// The first free block behind that one, or else from the start of the pool.
fn free(pool: &PodCidr, length: u8, taken: &[(u128, u128)], begin: u128) -> Option<PodCidr> {
    let width: u8 = if pool.is_ipv4() { 32 } else { 128 };
    let size = 1u128.checked_shl(u32::from(width.checked_sub(length)?))?;
    let (start, end) = span(pool);
    let blocks = ((end - start) / size).checked_add(1)?;
    let from = start.checked_add((begin % blocks).checked_mul(size)?)?;
    let first = |start| first_free(pool, length, size - 1, taken, start);
    first(from).or_else(|| first(start))
}

/// Walks the pool block by block, past whatever overlaps. `taken` is sorted.
fn first_free(
    pool: &PodCidr,
    length: u8,
    last_offset: u128,
    taken: &[(u128, u128)],
    mut start: u128,
) -> Option<PodCidr> {
    let (_, pool_end) = span(pool);
    for (taken_start, taken_end) in taken {
        if *taken_end < start {
            continue;
        }
        if *taken_start > start.checked_add(last_offset)? {
            break;
        }
        // The next block boundary behind what is taken.
        start = (taken_end | last_offset).checked_add(1)?;
    }
    if start.checked_add(last_offset)? > pool_end {
        return None;
    }
    let address = match family(pool) {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(start).ok()?)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(start)),
    };
    IpNetwork::new(address, length).ok()?.try_into().ok()
}

fn span(range: &PodCidr) -> (u128, u128) {
    (number(range.first()), number(range.last()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTHS: NodePrefixLengths = NodePrefixLengths { ipv4: 24, ipv6: 64 };

    fn ranges(texts: &[&str]) -> Vec<PodCidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn allocated(cluster: &[&str], taken: &[&str]) -> Option<Vec<String>> {
        let found = allocate(&ranges(cluster), LENGTHS, &ranges(taken), 0)?;
        Some(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_first_node_gets_the_first_block_of_both_families() {
        assert_eq!(
            allocated(&["10.244.0.0/16", "fd00:10:244::/56"], &[]),
            Some(vec![
                "10.244.0.0/24".to_owned(),
                "fd00:10:244::/64".to_owned()
            ])
        );
    }

    #[test]
    fn a_gap_is_filled_and_ranges_of_another_size_are_stepped_over() {
        let taken = ["10.244.0.0/24", "10.244.2.0/23", "10.244.1.128/30"];

        assert_eq!(
            allocated(&["10.244.0.0/16"], &taken),
            Some(vec!["10.244.4.0/24".to_owned()])
        );
        assert_eq!(
            allocated(&["10.244.0.0/16"], &taken[..2]),
            Some(vec!["10.244.1.0/24".to_owned()])
        );
    }

    #[test]
    fn a_second_pool_is_used_when_the_first_is_full() {
        let taken = ["10.244.0.0/24", "10.244.1.0/24"];

        assert_eq!(
            allocated(&["10.244.0.0/23", "10.245.0.0/16"], &taken),
            Some(vec!["10.245.0.0/24".to_owned()])
        );
    }

    #[test]
    fn a_family_that_is_used_up_leaves_the_node_without_any() {
        let cluster = ["10.244.0.0/24", "fd00:10:244::/56"];

        assert_eq!(allocated(&cluster, &["10.244.0.0/24"]), None);
        assert_eq!(allocated(&["10.244.0.0/24"], &["10.0.0.0/8"]), None);
    }

    #[test]
    fn the_end_of_the_address_space_is_no_wrap_around() {
        assert_eq!(
            allocated(&["fdff:ffff:ffff:ffff::/64"], &["fdff:ffff:ffff:ffff::/64"]),
            None
        );
        assert_eq!(
            allocated(&["223.255.255.0/24"], &["223.255.255.0/24"]),
            None
        );
    }

    #[test]
    fn a_search_begins_where_it_is_told_and_comes_round() {
        let from = |begin, taken: &[&str]| {
            let cluster = ranges(&["10.244.0.0/22", "fd00:10:244::/62"]);
            let found = allocate(&cluster, LENGTHS, &ranges(taken), begin)?;
            Some(found.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let third = ["10.244.2.0/24", "fd00:10:244:2::/64"].map(str::to_owned);

        assert_eq!(from(2, &[]), Some(third.to_vec()));
        assert_eq!(from(4_002, &[]), Some(third.to_vec()));
        let round = from(2, &["10.244.2.0/23"]).unwrap();
        assert_eq!(round[0], "10.244.0.0/24");
        assert_eq!(from(2, &["10.244.0.0/22"]), None);
        assert!(from(u128::MAX, &[]).is_some());
    }

    /// Looks at every block there is.
    fn free_block(pool: &str, length: u8, taken: &[PodCidr]) -> Option<PodCidr> {
        let pool: PodCidr = pool.parse().unwrap();
        let (start, end) = span(&pool);
        (start..=end).step_by(1 << (32 - length)).find_map(|at| {
            let address = Ipv4Addr::from(u32::try_from(at).unwrap());
            let block: PodCidr = format!("{address}/{length}").parse().unwrap();
            taken
                .iter()
                .all(|other| !other.overlaps(&block))
                .then_some(block)
        })
    }

    proptest! {
        #[test]
        fn the_first_free_block_is_found_whatever_is_taken(
            sizes in prop::collection::vec(20u8..=28, 1..40),
        ) {
            let cluster = ranges(&["10.244.0.0/18"]);
            let mut taken: Vec<PodCidr> = Vec::new();
            for ipv4 in sizes {
                let lengths = NodePrefixLengths { ipv4, ipv6: 64 };
                let found = allocate(&cluster, lengths, &taken, 0).map(|found| found[0]);
                prop_assert_eq!(found, free_block("10.244.0.0/18", ipv4, &taken));
                taken.extend(found);
            }
        }
    }
}
