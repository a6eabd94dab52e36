//! Addresses as numbers, so that sets of prefixes can be merged, compared and cut up again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

/// All addresses from `first` to `last`, as big-endian numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interval {
    pub(crate) family: Family,
    pub(crate) first: u128,
    pub(crate) last: u128,
}

impl Family {
    /// The number of bits in an address.
    pub(crate) const fn width(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The number with the lowest `bits` bits set.
    pub(crate) const fn low_bits(bits: u8) -> u128 {
        match 1u128.checked_shl(bits as u32) {
            Some(power) => power - 1,
            None => u128::MAX,
        }
    }

    /// The address that a number stands for.
    pub(crate) fn address(self, number: u128) -> IpAddr {
        match self {
            #[expect(clippy::cast_possible_truncation, reason = "IPv4 numbers have 32 bits")]
            Self::V4 => Ipv4Addr::from(number as u32).into(),
            Self::V6 => Ipv6Addr::from(number).into(),
        }
    }
}

impl Interval {
    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self::of_prefix(address, u8::MAX)
    }

    /// The addresses that share the first `prefix` bits with `address`.
    pub(crate) fn of_prefix(address: IpAddr, prefix: u8) -> Self {
        let (family, number) = match address {
            IpAddr::V4(address) => (Family::V4, u128::from(u32::from(address))),
            IpAddr::V6(address) => (Family::V6, u128::from(address)),
        };
        let host = Family::low_bits(family.width().saturating_sub(prefix));
        Self {
            family,
            first: number & !host,
            last: number | host,
        }
    }

    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.family == other.family && self.first <= other.first && other.last <= self.last
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
    }

    /// Whether `next` begins right behind `self`.
    fn touches(&self, next: &Self) -> bool {
        self.family == next.family && self.last.checked_add(1) == Some(next.first)
    }

    /// The prefix length, if the interval is exactly one prefix.
    pub(crate) fn prefix_len(&self) -> Option<u8> {
        let (_, bits) = self.largest_prefix();
        (Family::low_bits(bits) == self.last - self.first)
            .then(|| self.family.width().saturating_sub(bits))
    }

    /// The fewest prefixes that make up the interval, in order.
    pub(crate) fn prefixes(&self) -> Vec<(IpAddr, u8)> {
        let mut rest = *self;
        let mut prefixes = Vec::new();
        loop {
            let (first, bits) = rest.largest_prefix();
            let prefix = self.family.width().saturating_sub(bits);
            prefixes.push((self.family.address(first), prefix));
            let last = first | Family::low_bits(bits);
            if last >= self.last {
                return prefixes;
            }
            rest.first = last + 1;
        }
    }

    /// The largest prefix that begins at `first` and fits, with its number of host bits.
    fn largest_prefix(&self) -> (u128, u8) {
        let span = self.last - self.first;
        let aligned = (0..=self.family.width())
            .take_while(|bits| {
                self.first & Family::low_bits(*bits) == 0 && Family::low_bits(*bits) <= span
            })
            .last();
        (self.first, aligned.unwrap_or(0))
    }
}

/// Joins what touches, in order. `Err` holds two that overlap.
pub(crate) fn join(mut intervals: Vec<Interval>) -> Result<Vec<Interval>, (Interval, Interval)> {
    intervals.sort_unstable();
    for (before, next) in intervals.iter().zip(intervals.iter().skip(1)) {
        if before.overlaps(next) {
            return Err((*before, *next));
        }
    }
    Ok(union(intervals))
}

/// The same addresses in the fewest intervals, in order.
pub(crate) fn union(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_unstable();
    let mut joined: Vec<Interval> = Vec::with_capacity(intervals.len());
    for next in intervals {
        match joined.last_mut() {
            Some(before) if before.overlaps(&next) || before.touches(&next) => {
                before.last = before.last.max(next.last);
            }
            Some(_) | None => joined.push(next),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_loses_no_address() {
        let of = |text: &str, prefix| Interval::of_prefix(text.parse().unwrap(), prefix);
        let (outer, inner, next) = (
            of("10.244.0.0", 16),
            of("10.244.3.0", 24),
            of("10.245.0.0", 16),
        );

        let joined = union(vec![inner, next, outer, of("fd00::", 64)]);

        assert_eq!(joined, [of("10.244.0.0", 15), of("fd00::", 64)]);
        assert_eq!(join(vec![inner, next, outer]), Err((outer, inner)));
    }
}
