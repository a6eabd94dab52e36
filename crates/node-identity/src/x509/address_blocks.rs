//! The IP address block extension (RFC 3779 section 2): which ranges a certificate may speak for.
//!
//! Only its canonical form is read: families in order, no SAFI, no `inherit`, blocks sorted and
//! joined, and a range only where no single prefix says the same (section 2.2.3.7).

use der::{
    Any, Choice, Decode, Sequence, Tag, Tagged,
    asn1::{BitString, ObjectIdentifier, OctetString},
};
use thiserror::Error;
use x509_cert::ext::Extension;

use crate::{
    PodRanges,
    encoding::{EncodingError, encode, octets},
    ranges::{Family, Interval, join},
};

const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.7");

/// Blocks of addresses: sorted, disjoint, joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressBlocks(Vec<Interval>);

/// Why an address block extension is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressBlocksError {
    /// There is none, or more than one.
    #[error("read address blocks: one critical extension (RFC 3779) is expected")]
    Missing,
    /// It is not the canonical encoding.
    #[error("read address blocks")]
    Encoding(#[from] EncodingError),
    /// An address family other than IPv4 and IPv6, or one with a SAFI.
    #[error("read address blocks: only IPv4 and IPv6 without SAFI are accepted")]
    Family,
    /// `inherit` instead of blocks.
    #[error("read address blocks: inherit is not accepted")]
    Inherit,
    /// More bits than an address has, or a range that ends before it begins.
    #[error("read address blocks: a block has impossible bounds")]
    Bounds,
}

#[derive(Sequence)]
struct AddressFamily {
    family: OctetString,
    choice: Any,
}

#[derive(Choice)]
enum AddressOrRange {
    Prefix(BitString),
    Range(AddressRange),
}

#[derive(Sequence)]
struct AddressRange {
    min: BitString,
    max: BitString,
}

impl AddressBlocks {
    /// 0.0.0.0/0 and ::/0.
    pub(crate) fn everything() -> Self {
        let whole = |family: Family| Interval {
            family,
            first: 0,
            last: Family::low_bits(family.width()),
        };
        Self(vec![whole(Family::V4), whole(Family::V6)])
    }

    pub(crate) fn of_ranges(ranges: &PodRanges) -> Self {
        Self(ranges.intervals())
    }

    pub(crate) fn intervals(&self) -> &[Interval] {
        &self.0
    }

    pub(crate) fn covers(&self, ranges: &PodRanges) -> bool {
        ranges
            .intervals()
            .iter()
            .all(|inner| self.0.iter().any(|outer| outer.covers(inner)))
    }

    /// The extension, critical as RFC 3779 section 2.2.1 has it.
    pub(crate) fn to_extension(&self) -> Extension {
        let families: Vec<AddressFamily> = [Family::V4, Family::V6]
            .into_iter()
            .filter_map(|family| self.family(family))
            .collect();
        Extension {
            extn_id: OID,
            critical: true,
            extn_value: octets(&encode(&families)),
        }
    }

    #[expect(clippy::expect_used, reason = "what was just encoded is DER")]
    fn family(&self, family: Family) -> Option<AddressFamily> {
        let blocks: Vec<AddressOrRange> = self
            .0
            .iter()
            .filter(|block| block.family == family)
            .map(write_block)
            .collect();
        let choice = Any::from_der(&encode(&blocks)).expect("an encoded sequence is DER");
        (!blocks.is_empty()).then(|| AddressFamily {
            family: octets(&family_number(family)),
            choice,
        })
    }

    /// Reads the extension out of all of a certificate's.
    ///
    /// # Errors
    /// It is missing, doubled, or not canonical.
    pub(crate) fn from_extensions(extensions: &[Extension]) -> Result<Self, AddressBlocksError> {
        let mut found = extensions.iter().filter(|one| one.extn_id == OID);
        let (Some(extension), None) = (found.next(), found.next()) else {
            return Err(AddressBlocksError::Missing);
        };
        let blocks = Self::read(extension.extn_value.as_bytes())?;
        if blocks.to_extension() == *extension {
            Ok(blocks)
        } else {
            Err(EncodingError::NotCanonical.into())
        }
    }

    fn read(der: &[u8]) -> Result<Self, AddressBlocksError> {
        let families = Vec::<AddressFamily>::from_der(der).map_err(EncodingError::Damaged)?;
        let mut intervals = Vec::new();
        for entry in &families {
            let family = [Family::V4, Family::V6]
                .into_iter()
                .find(|family| family_number(*family) == entry.family.as_bytes())
                .ok_or(AddressBlocksError::Family)?;
            if entry.choice.tag() == Tag::Null {
                return Err(AddressBlocksError::Inherit);
            }
            let blocks: Vec<AddressOrRange> =
                entry.choice.decode_as().map_err(EncodingError::Damaged)?;
            for block in &blocks {
                intervals.push(read_block(family, block)?);
            }
        }
        let joined = join(intervals).map_err(|_| AddressBlocksError::Bounds)?;
        Ok(Self(joined))
    }
}

/// RFC 3779 section 2.2.3.3: the address family numbers of IANA, two bytes.
fn family_number(family: Family) -> [u8; 2] {
    match family {
        Family::V4 => [0, 1],
        Family::V6 => [0, 2],
    }
}

fn write_block(block: &Interval) -> AddressOrRange {
    let width = block.family.width();
    let significant =
        |host_bits: u32| width.saturating_sub(u8::try_from(host_bits).unwrap_or(width));
    if let Some(prefix) = block.prefix_len() {
        return AddressOrRange::Prefix(write_bits(block.family, block.first, prefix));
    }
    // Section 2.2.3.9: trailing zeros of the lower bound and trailing ones of the upper are cut.
    AddressOrRange::Range(AddressRange {
        min: write_bits(
            block.family,
            block.first,
            significant(block.first.trailing_zeros()),
        ),
        max: write_bits(
            block.family,
            block.last,
            significant(block.last.trailing_ones()),
        ),
    })
}

#[expect(
    clippy::expect_used,
    reason = "at most 7 unused bits in at most 16 bytes"
)]
fn write_bits(family: Family, number: u128, length: u8) -> BitString {
    let host = family.width().saturating_sub(length);
    let aligned = (number & !Family::low_bits(host)) << (128 - u32::from(family.width()));
    let bytes = usize::from(length.div_ceil(8));
    let unused = (8 - length % 8) % 8;
    let content: Vec<u8> = aligned.to_be_bytes().into_iter().take(bytes).collect();
    BitString::new(unused, content).expect("a prefix fits a bit string")
}

fn read_block(family: Family, block: &AddressOrRange) -> Result<Interval, AddressBlocksError> {
    let (first, last) = match block {
        AddressOrRange::Prefix(bits) => read_bits(family, bits)?,
        AddressOrRange::Range(AddressRange { min, max }) => {
            (read_bits(family, min)?.0, read_bits(family, max)?.1)
        }
    };
    if first > last {
        return Err(AddressBlocksError::Bounds);
    }
    Ok(Interval {
        family,
        first,
        last,
    })
}

/// The lowest and the highest address that begin with these bits.
fn read_bits(family: Family, bits: &BitString) -> Result<(u128, u128), AddressBlocksError> {
    let length = u8::try_from(bits.bit_len()).map_err(|_| AddressBlocksError::Bounds)?;
    let host = family
        .width()
        .checked_sub(length)
        .ok_or(AddressBlocksError::Bounds)?;
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(bits.raw_bytes()) {
        *to = *from;
    }
    let number = u128::from_be_bytes(bytes) >> (128 - u32::from(family.width()));
    let low = Family::low_bits(host);
    Ok((number & !low, number | low))
}

#[cfg(test)]
mod tests;
