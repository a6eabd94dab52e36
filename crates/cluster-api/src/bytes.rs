//! Bytes inside objects: standard base64, as Kubernetes writes `format: byte`.

use base64ct::{Base64, Encoding};

/// A text that is no padded standard base64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("decode base64: padded standard base64 in one line expected")]
pub struct NotBase64;

/// Writes bytes as text.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Reads what [`encode`] writes.
///
/// # Errors
/// [`NotBase64`].
pub fn decode(text: &str) -> Result<Vec<u8>, NotBase64> {
    Base64::decode_vec(text).map_err(|_| NotBase64)
}
