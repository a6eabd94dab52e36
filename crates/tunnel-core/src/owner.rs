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
