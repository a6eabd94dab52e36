//! A set of pod ranges in its one canonical form: sorted, disjoint, as few prefixes as possible.

use std::{fmt, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Interval, PodCidr, PodCidrError, union};

/// Disjoint pod ranges, IPv4 before IPv6, neighbours joined where they make one prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<PodCidr>", into = "Vec<PodCidr>")]
pub struct PodRanges(Vec<PodCidr>);

/// Why ranges do not make a set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PodRangesError {
    /// Two of the ranges share addresses.
    #[error("collect pod ranges: {0} and {1} overlap")]
    Overlap(PodCidr, PodCidr),
    /// The ranges joined are no pod range.
    #[error("collect pod ranges: they join to something that pods cannot have")]
    Joined(#[source] PodCidrError),
}

impl PodRanges {
    /// Makes a set of ranges: sorts them and joins neighbours.
    ///
    /// # Errors
    /// Two ranges overlap.
    pub fn try_new(mut ranges: Vec<PodCidr>) -> Result<Self, PodRangesError> {
        ranges.sort_unstable();
        // Prefixes are nested or disjoint, and a sorted list has the outer before the inner.
        for (one, other) in ranges.iter().zip(ranges.iter().skip(1)) {
            if one.overlaps(other) {
                return Err(PodRangesError::Overlap(*one, *other));
            }
        }
        let intervals = ranges.iter().map(PodCidr::interval).collect();
        Self::from_intervals(&union(intervals)).map_err(PodRangesError::Joined)
    }

    /// The prefixes of joined, sorted intervals.
    pub(crate) fn from_intervals(intervals: &[Interval]) -> Result<Self, PodCidrError> {
        intervals
            .iter()
            .flat_map(Interval::prefixes)
            .map(|(address, prefix)| {
                IpNetwork::new(address, prefix)
                    .map_err(|_| PodCidrError::Malformed(format!("{address}/{prefix}")))?
                    .try_into()
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The set as joined intervals, in order.
    pub(crate) fn intervals(&self) -> Vec<Interval> {
        union(self.0.iter().map(PodCidr::interval).collect())
    }

    /// The ranges, IPv4 first, by address.
    pub fn iter(&self) -> impl Iterator<Item = &PodCidr> {
        self.0.iter()
    }

    /// The IPv4 ranges.
    pub fn ipv4(&self) -> impl Iterator<Item = &PodCidr> {
        self.0.iter().filter(|range| range.is_ipv4())
    }

    /// The IPv6 ranges.
    pub fn ipv6(&self) -> impl Iterator<Item = &PodCidr> {
        self.0.iter().filter(|range| !range.is_ipv4())
    }

    /// Whether there is no range at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of prefixes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the address lies in one of the ranges.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }

    /// Whether the two sets share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0
            .iter()
            .any(|one| other.0.iter().any(|two| one.overlaps(two)))
    }

    /// Whether every address of `other` is in this set.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let own = self.intervals();
        other
            .intervals()
            .iter()
            .all(|inner| own.iter().any(|outer| outer.covers(inner)))
    }
}

impl PodCidr {
    pub(crate) fn interval(&self) -> Interval {
        Interval::of_prefix(self.first(), self.prefix_len())
    }
}

impl TryFrom<Vec<PodCidr>> for PodRanges {
    type Error = PodRangesError;

    fn try_from(ranges: Vec<PodCidr>) -> Result<Self, PodRangesError> {
        Self::try_new(ranges)
    }
}

impl From<PodRanges> for Vec<PodCidr> {
    fn from(ranges: PodRanges) -> Self {
        ranges.0
    }
}

impl<'a> IntoIterator for &'a PodRanges {
    type Item = &'a PodCidr;
    type IntoIter = std::slice::Iter<'a, PodCidr>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for PodRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, range) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Result<PodRanges, PodRangesError> {
        PodRanges::try_new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn a_set_is_sorted_and_its_neighbours_are_joined() {
        let set = ranges(&[
            "fd00::/64",
            "10.244.1.0/24",
            "10.244.0.0/24",
            "10.244.2.0/24",
        ]);

        assert_eq!(
            set.unwrap().to_string(),
            "10.244.0.0/23, 10.244.2.0/24, fd00::/64"
        );
    }

    #[test]
    fn neighbours_that_make_no_prefix_stay_apart() {
        let set = ranges(&["10.244.1.0/24", "10.244.2.0/24"]).unwrap();

        assert_eq!(set.len(), 2);
        assert_eq!(set.intervals().len(), 1);
    }

    #[test]
    fn overlapping_ranges_are_refused() {
        let error = ranges(&["10.244.0.0/16", "10.243.0.0/16", "10.244.7.0/24"]).unwrap_err();

        assert_eq!(
            error.to_string(),
            "collect pod ranges: 10.244.0.0/16 and 10.244.7.0/24 overlap"
        );
        assert!(ranges(&["10.244.0.0/16", "10.244.0.0/16"]).is_err());
    }

    #[test]
    fn a_set_covers_what_lies_inside_it() {
        let cluster = ranges(&["10.244.0.0/16", "fd00:10:244::/56"]).unwrap();

        assert!(cluster.covers(&ranges(&["10.244.9.0/24", "fd00:10:244:1::/64"]).unwrap()));
        assert!(!cluster.covers(&ranges(&["10.245.0.0/24"]).unwrap()));
        assert!(!cluster.covers(&ranges(&["10.244.0.0/15"]).unwrap()));
        assert!(cluster.contains("10.244.3.4".parse().unwrap()));
        assert!(!cluster.contains("10.243.3.4".parse().unwrap()));
    }
}
