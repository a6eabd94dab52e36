//! The tunnel key T of one generation and its WireGuard form.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{KeyError, strict_public};

/// The private tunnel key of one generation.
pub struct TunnelKey(SigningKey);

/// The public tunnel key of one generation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TunnelPublic(VerifyingKey);

impl TunnelKey {
    /// Makes a new key.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SigningKey::generate(rng))
    }

    /// The private key's 32 bytes, for the file on tmpfs.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Takes what [`to_bytes`](Self::to_bytes) gave.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> TunnelPublic {
        TunnelPublic(self.0.verifying_key())
    }

    /// WireGuard's private key.
    #[must_use]
    pub fn x25519_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_scalar_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }
}

impl TunnelPublic {
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

    /// WireGuard's public key: the Montgomery form, which a key and its negative share.
    #[must_use]
    pub fn x25519(&self) -> [u8; 32] {
        self.0.to_montgomery().to_bytes()
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        self.0.verify_strict(message, signature).is_ok()
    }
}

impl fmt::Debug for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TunnelKey(<redacted>)")
    }
}

impl fmt::Debug for TunnelPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TunnelPublic({})",
            crate::encoding::hex(&self.to_bytes())
        )
    }
}
