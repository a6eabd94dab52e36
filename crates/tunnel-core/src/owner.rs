//! Which address belongs to whom: immutable snapshots, built by the control side, read by lanes.
//!
//! Ranges are disjoint, so a sorted array per family and one binary search give the owner; that
//! was measured at half the time of a trie. Never changed in place: a new table replaces it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use thiserror::Error;

use crate::plane::PeerIndex;

/// To whom an address belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// This node: a pod of its own, or the tun device's address.
    Own,
    /// Nobody: an address of a Service, which has to be translated before it gets here.
    Service,
    /// Another node.
    Peer(PeerIndex),
}

/// The ranges cannot make a table.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OwnerTableError {
    /// Two ranges share an address.
    #[error("build owner table: {first} belongs to {owner:?} and to {other:?}")]
    Overlap {
        /// The first address that both claim.
        first: IpAddr,
        /// One owner.
        owner: Owner,
        /// The other owner.
        other: Owner,
    },
    /// A range that ends before it starts, or in another family.
    #[error("build owner table: {first} to {last} is no range")]
    NoRange {
        /// Where it starts.
        first: IpAddr,
        /// Where it ends.
        last: IpAddr,
    },
}

/// Owner of each address, both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerTable {
    ipv4: Box<[OwnedRange<Ipv4Addr>]>,
    ipv6: Box<[OwnedRange<Ipv6Addr>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OwnedRange<A> {
    first: A,
    last: A,
    owner: Owner,
}

impl OwnerTable {
    /// Builds the table of ranges that have to be disjoint, in any order.
    ///
    /// # Errors
    /// Two ranges overlap, or one is no range.
    pub fn new(
        ranges: impl IntoIterator<Item = (Owner, RangeInclusive<IpAddr>)>,
    ) -> Result<OwnerTable, OwnerTableError> {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for (owner, range) in ranges {
            match range.into_inner() {
                (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                    ipv4.push(OwnedRange { first, last, owner });
                }
                (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                    ipv6.push(OwnedRange { first, last, owner });
                }
                (first, last) => return Err(OwnerTableError::NoRange { first, last }),
            }
        }
        Ok(OwnerTable {
            ipv4: sorted(ipv4)?,
            ipv6: sorted(ipv6)?,
        })
    }

    /// The owner of an address.
    pub fn owner(&self, address: IpAddr) -> Option<Owner> {
        match address {
            IpAddr::V4(address) => find(&self.ipv4, address),
            IpAddr::V6(address) => find(&self.ipv6, address),
        }
    }
}

fn sorted<A: Ord + Copy + Into<IpAddr>>(
    mut ranges: Vec<OwnedRange<A>>,
) -> Result<Box<[OwnedRange<A>]>, OwnerTableError> {
    ranges.sort_unstable_by_key(|range| range.first);
    for (range, next) in ranges.iter().zip(ranges.iter().skip(1)) {
        if next.first <= range.last {
            return Err(OwnerTableError::Overlap {
                first: next.first.into(),
                owner: range.owner,
                other: next.owner,
            });
        }
    }
    Ok(ranges.into_boxed_slice())
}

fn find<A: Ord + Copy>(ranges: &[OwnedRange<A>], address: A) -> Option<Owner> {
    let position = ranges.partition_point(|range| range.last < address);
    let range = ranges.get(position)?;
    (range.first <= address).then_some(range.owner)
}

/// The addresses from which the control side may be spoken to: verified peers' endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointTable(Box<[IpAddr]>);

impl EndpointTable {
    /// Whether a peer has this endpoint. IPv4 addresses count in their own form only.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.binary_search(&address).is_ok()
    }
}

impl FromIterator<IpAddr> for EndpointTable {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(endpoints: I) -> EndpointTable {
        let mut endpoints: Vec<IpAddr> = endpoints.into_iter().collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        EndpointTable(endpoints.into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: &str, last: &str) -> RangeInclusive<IpAddr> {
        first.parse().unwrap()..=last.parse().unwrap()
    }

    fn bob() -> Owner {
        Owner::Peer(PeerIndex(1))
    }

    #[test]
    fn an_address_belongs_to_the_range_that_holds_it_and_to_nobody_between() {
        let table = OwnerTable::new([
            (bob(), range("10.244.1.0", "10.244.1.255")),
            (Owner::Own, range("10.244.0.0", "10.244.0.127")),
            (bob(), range("fd00:10:244:1::", "fd00:10:244:1::ff")),
        ])
        .unwrap();
        let owner = |address: &str| table.owner(address.parse().unwrap());

        assert_eq!(owner("10.244.0.0"), Some(Owner::Own));
        assert_eq!(owner("10.244.0.127"), Some(Owner::Own));
        assert_eq!(owner("10.244.0.128"), None);
        assert_eq!(owner("10.244.1.255"), Some(bob()));
        assert_eq!(owner("10.244.2.0"), None);
        assert_eq!(owner("9.255.255.255"), None);
        assert_eq!(owner("fd00:10:244:1::ff"), Some(bob()));
        assert_eq!(
            owner("::ffff:10.244.1.1"),
            None,
            "mapped addresses are nobody's"
        );
    }

    #[test]
    fn ranges_that_share_an_address_make_no_table() {
        let claims = |first: &str, last: &str| {
            OwnerTable::new([
                (Owner::Own, range("10.244.0.0", "10.244.0.255")),
                (bob(), range(first, last)),
            ])
        };

        assert!(claims("10.244.1.0", "10.244.1.255").is_ok());
        let overlap = claims("10.244.0.255", "10.244.1.255").unwrap_err();
        assert!(overlap.to_string().contains("10.244.0.255"), "{overlap}");
        assert!(claims("10.0.0.0", "10.255.255.255").is_err());
    }

    #[test]
    fn a_range_that_is_none_makes_no_table() {
        for (first, last) in [("10.0.0.2", "10.0.0.1"), ("10.0.0.1", "::1")] {
            let table = OwnerTable::new([(Owner::Own, range(first, last))]);
            assert!(
                matches!(table, Err(OwnerTableError::NoRange { .. })),
                "{first} {last}"
            );
        }
    }

    #[test]
    fn endpoints_are_found_in_their_own_form_only() {
        let table: EndpointTable = ["2001:db8::1", "198.51.100.1"]
            .iter()
            .map(|ip| ip.parse().unwrap())
            .collect();
        let contains = |address: &str| table.contains(address.parse().unwrap());

        assert!(contains("198.51.100.1") && contains("2001:db8::1"));
        assert!(!contains("198.51.100.2") && !contains("::ffff:198.51.100.1"));
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_looking_at_each_range(
            starts in prop::collection::btree_set(0_u32..400, 0..40),
            length in 1_u32..8,
            address in 0_u32..420,
        ) {
            let ip = |number: u32| IpAddr::from(Ipv4Addr::from(number));
            let mut next = 0;
            let ranges: Vec<_> = starts
                .into_iter()
                .filter(|start| {
                    let free = *start >= next;
                    next = if free { start + length } else { next };
                    free
                })
                .map(|start| (Owner::Peer(PeerIndex(start)), ip(start)..=ip(start + length - 1)))
                .collect();
            let expected = ranges.iter().find(|(_, range)| range.contains(&ip(address)));

            let table = OwnerTable::new(ranges.iter().rev().cloned()).unwrap();

            prop_assert_eq!(table.owner(ip(address)), expected.map(|(owner, _)| *owner));
        }
    }
}
