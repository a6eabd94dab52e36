//! The keys of a node: the identity key (IK), which the root certifies, and the tunnel key (T)
//! of one generation.
//!
//! Both are Ed25519. WireGuard's static key is T's Montgomery form, so a signature by T proves
//! possession of the WireGuard key to everybody. Private halves are wiped on drop and print as
//! `<redacted>`. Every public key here is canonical, torsion-free and of full order.

mod tunnel;

use std::fmt;

use ed25519_dalek::{
    Signature, Signer, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding},
};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

pub use tunnel::{TunnelKey, TunnelPublic};

use crate::encoding::{sha256, sha256_type};

/// The DER of an Ed25519 SubjectPublicKeyInfo (RFC 8410 section 4) up to the key.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a key is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not an Ed25519 private key in PKCS#8 PEM.
    #[error("read private key: an Ed25519 key in PKCS#8 PEM (PRIVATE KEY) is expected")]
    Pem,
    /// The bytes are no point of the curve.
    #[error("read public key: the bytes are no Ed25519 point")]
    NotAPoint,
    /// The bytes are a second spelling of a point.
    #[error("read public key: the encoding is not canonical")]
    NotCanonical,
    /// Anybody can sign for a point of small order.
    #[error("read public key: the point has small order")]
    SmallOrder,
    /// The point has a component of small order, which would give one key several spellings.
    #[error("read public key: the point has torsion")]
    Torsion,
}

sha256_type! {
    /// SHA-256 of an identity key's SubjectPublicKeyInfo.
    IkHash, KeyHashError, KeyHashError
}

/// Text that is not `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("read key hash {0:?}: sha256:<64 lower-case hexadecimal digits> is expected")]
pub struct KeyHashError(String);

/// A node's private identity key.
pub struct IdentityKey(SigningKey);

/// A node's public identity key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdentityPublic(VerifyingKey);

impl IdentityKey {
    /// Makes a new key.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SigningKey::generate(rng))
    }

    /// The private key as PKCS#8 PEM (version 1, which OpenSSL reads too).
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        private_to_pem(&self.0)
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote.
    ///
    /// # Errors
    /// The text is not such a key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        private_from_pem(pem).map(Self)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> IdentityPublic {
        IdentityPublic(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }

    pub(crate) const fn signing_key(&self) -> &SigningKey {
        &self.0
    }
}

impl IdentityPublic {
    /// Takes a public key.
    ///
    /// # Errors
    /// The bytes are not the canonical encoding of a point of full, prime order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        strict_public(bytes).map(Self)
    }

    /// The Ed25519 encoding.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn hash(&self) -> IkHash {
        IkHash(spki_hash(&self.0))
    }

    /// Wraps a key that [`strict_public`] let through.
    pub(crate) const fn from_strict(key: VerifyingKey) -> Self {
        Self(key)
    }

    pub(crate) const fn verifying_key(&self) -> &VerifyingKey {
        &self.0
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        self.0.verify_strict(message, signature).is_ok()
    }

    /// The Montgomery form, to compare with tunnel keys whatever their sign.
    pub(crate) fn montgomery(&self) -> [u8; 32] {
        self.0.to_montgomery().to_bytes()
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(<redacted>)")
    }
}

impl fmt::Debug for IdentityPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityPublic({})", self.hash())
    }
}

#[expect(clippy::expect_used, reason = "32 bytes always fit into PKCS#8")]
pub(crate) fn private_to_pem(key: &SigningKey) -> Zeroizing<String> {
    let pair = KeypairBytes {
        secret_key: key.to_bytes(),
        // With the public key inside it is PKCS#8 version 2, which OpenSSL 3.0 refuses.
        public_key: None,
    };
    pair.to_pkcs8_pem(LineEnding::LF)
        .expect("PKCS#8 of 32 bytes is short")
}

pub(crate) fn private_from_pem(pem: &str) -> Result<SigningKey, KeyError> {
    SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Pem)
}

/// Takes only the canonical encoding of a point of prime order, so that one key has one
/// spelling, and no signature holds for two keys.
pub(crate) fn strict_public(bytes: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
    let point = key.to_edwards();
    if point.compress().to_bytes() != *bytes {
        return Err(KeyError::NotCanonical);
    }
    if point.is_small_order() {
        return Err(KeyError::SmallOrder);
    }
    if !point.is_torsion_free() {
        return Err(KeyError::Torsion);
    }
    Ok(key)
}

/// The DER of the key's SubjectPublicKeyInfo.
pub(crate) fn spki(key: &VerifyingKey) -> [u8; 44] {
    let mut der = [0; 44];
    let (prefix, point) = der.split_at_mut(SPKI_PREFIX.len());
    prefix.copy_from_slice(&SPKI_PREFIX);
    point.copy_from_slice(key.as_bytes());
    der
}

pub(crate) fn spki_hash(key: &VerifyingKey) -> [u8; 32] {
    sha256(&spki(key))
}

#[cfg(test)]
mod tests;
