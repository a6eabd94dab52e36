//! A node's envelopes in one file, so that they are replaced as a whole.

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use crate::MAX_ENVELOPES;
use crate::request::{DecodeError, from_base64, from_json, known_version, to_json};

/// Two envelopes of a certificate, a statement with eight endpoints and two signatures have some
/// 3 KiB in Base64; the rest is room for many pod ranges.
pub(super) const MAX_BYTES: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEnvelopes {
    version: u32,
    envelopes: Vec<String>,
}

pub(super) fn encode(envelopes: &[Vec<u8>]) -> Vec<u8> {
    to_json(&WireEnvelopes {
        version: 1,
        envelopes: envelopes
            .iter()
            .map(|bytes| Base64::encode_string(bytes))
            .collect(),
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Vec<u8>>, DecodeError> {
    let wire: WireEnvelopes = from_json(bytes, MAX_BYTES)?;
    known_version(wire.version)?;
    if wire.envelopes.len() > MAX_ENVELOPES {
        return Err(DecodeError::Malformed(format!(
            "{} envelopes",
            wire.envelopes.len()
        )));
    }
    wire.envelopes
        .iter()
        .map(|text| from_base64(text))
        .collect()
}
