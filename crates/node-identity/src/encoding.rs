//! One canonical form for everything that is signed: DER that is decoded, encoded again and
//! compared. Also the small text forms (hexadecimal, serde through `Display` and `FromStr`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use der::{Decode, Encode, asn1::OctetString};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Why bytes are not the one canonical DER encoding of something.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodingError {
    /// The bytes are not DER of the expected shape.
    #[error("decode DER: damaged, cut short or with something behind it")]
    Damaged(#[source] der::Error),
    /// The same content has another encoding, which is the one accepted.
    #[error("decode DER: this is not the canonical encoding of its content")]
    NotCanonical,
    /// A field of fixed length has another one.
    #[error("decode DER: the field {0} has the wrong length")]
    FieldLength(&'static str),
}

/// Encodes to DER.
#[expect(
    clippy::expect_used,
    reason = "DER encoding fails only past 256 MiB, and every field of ours is bounded far below"
)]
pub(crate) fn encode(object: &impl Encode) -> Vec<u8> {
    object
        .to_der()
        .expect("every field is far shorter than DER's limit")
}

/// Decodes DER and insists that encoding the result gives the same bytes.
pub(crate) fn decode_canonical<'a, T>(bytes: &'a [u8]) -> Result<T, EncodingError>
where
    T: Decode<'a, Error = der::Error> + Encode,
{
    let object = T::from_der(bytes).map_err(EncodingError::Damaged)?;
    if object.to_der().map_err(EncodingError::Damaged)? == bytes {
        Ok(object)
    } else {
        Err(EncodingError::NotCanonical)
    }
}

/// Wraps bytes for DER.
#[expect(clippy::expect_used, reason = "fails only past 256 MiB")]
pub(crate) fn octets(bytes: &[u8]) -> OctetString {
    OctetString::new(bytes).expect("keys, hashes and addresses are short")
}

/// Takes bytes of a fixed length out of DER; `field` names it in the error.
pub(crate) fn fixed<const N: usize>(
    octets: &OctetString,
    field: &'static str,
) -> Result<[u8; N], EncodingError> {
    octets
        .as_bytes()
        .try_into()
        .map_err(|_| EncodingError::FieldLength(field))
}

/// An address as 4 or 16 bytes.
pub(crate) fn address_octets(address: &IpAddr) -> OctetString {
    match address {
        IpAddr::V4(address) => octets(&address.octets()),
        IpAddr::V6(address) => octets(&address.octets()),
    }
}

/// An address out of 4 or 16 bytes.
pub(crate) fn address_from(octets: &OctetString) -> Result<IpAddr, EncodingError> {
    let bytes = octets.as_bytes();
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        Ok(Ipv4Addr::from(bytes).into())
    } else if let Ok(bytes) = <[u8; 16]>::try_from(bytes) {
        Ok(Ipv6Addr::from(bytes).into())
    } else {
        Err(EncodingError::FieldLength("address"))
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads exactly two lower-case hexadecimal digits a byte.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(N);
    for pair in text.as_bytes().chunks(2) {
        let [high, low] = pair else { return None };
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    bytes.try_into().ok()
}

/// Gives a type with `Display` and `FromStr` the serde form of a string.
macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use serde_as_text;

/// A SHA-256 value with the text form `sha256:<64 hexadecimal digits>`.
macro_rules! sha256_type {
    ($(#[$doc:meta])* $type:ident, $error:ty, $refuse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub(crate) [u8; 32]);

        impl $type {
            /// Wraps a hash computed elsewhere.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the hash.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "sha256:{}", $crate::encoding::hex(&self.0))
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        }

        impl std::str::FromStr for $type {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix("sha256:")
                    .and_then($crate::encoding::from_hex)
                    .map(Self)
                    .ok_or_else(|| $refuse(text.to_owned()))
            }
        }

        $crate::encoding::serde_as_text!($type);
    };
}
pub(crate) use sha256_type;

#[cfg(test)]
mod tests {
    use x509_cert::ext::Extension;

    use super::*;

    #[test]
    fn kl09_a_default_value_that_is_written_out_is_not_canonical() {
        let with = |critical: &[u8]| {
            let length = 7 + u8::try_from(critical.len()).unwrap();
            [
                &[0x30, length, 0x06, 3, 0x55, 0x1d, 0x0f],
                critical,
                &[0x04, 0],
            ]
            .concat()
        };

        // critical is BOOLEAN DEFAULT FALSE: DER leaves the default out (X.690 section 11.5).
        let written_out = decode_canonical::<Extension>(&with(&[0x01, 1, 0]));

        assert!(decode_canonical::<Extension>(&with(&[])).is_ok());
        assert_eq!(written_out, Err(EncodingError::NotCanonical));
    }

    #[test]
    fn hexadecimal_has_one_spelling() {
        assert_eq!(from_hex(&hex(&[0, 0xaf])), Some([0, 0xaf]));
        for text in ["00AF", "00a", "00aff", "00ag", "+0af", "0x00"] {
            assert_eq!(from_hex::<2>(text), None, "{text}");
        }
    }
}
