//! The AEADs behind one interface: nonce = four zero bytes, then the counter, little-endian; no
//! additional data (the header's index chooses the key and its counter is the nonce).

use ring::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use zeroize::Zeroizing;

use super::TAG;
use crate::plane::Suite;

/// A key that seals and opens in place.
pub(super) enum Cipher {
    /// Boxed, so that a dropped key's memory goes back through the allocator, which wipes it;
    /// moved out of a map it would leave a copy behind.
    Ring(Box<LessSafeKey>),
    #[cfg(feature = "plaintext-control")]
    Plaintext,
}

impl Cipher {
    pub(super) fn new(suite: Suite, key: &Zeroizing<[u8; 32]>) -> Cipher {
        match suite {
            Suite::Aes256Gcm => Cipher::ring(&AES_256_GCM, key),
            Suite::ChaCha20Poly1305 => Cipher::ring(&CHACHA20_POLY1305, key),
            #[cfg(feature = "plaintext-control")]
            Suite::Plaintext => Cipher::Plaintext,
        }
    }

    fn ring(algorithm: &'static Algorithm, key: &Zeroizing<[u8; 32]>) -> Cipher {
        #[expect(clippy::expect_used)]
        let key = UnboundKey::new(algorithm, key.as_slice()).expect("both take keys of 32 bytes");
        Cipher::Ring(Box::new(LessSafeKey::new(key)))
    }

    /// Seals in place and returns the tag.
    pub(super) fn seal(&self, counter: u64, packet: &mut [u8]) -> Option<[u8; TAG]> {
        match self {
            Cipher::Ring(key) => {
                let tag = key.seal_in_place_separate_tag(nonce(counter), Aad::empty(), packet);
                tag.ok()?.as_ref().try_into().ok()
            }
            #[cfg(feature = "plaintext-control")]
            Cipher::Plaintext => Some([0; TAG]),
        }
    }

    /// Opens a packet and its tag in place; afterwards the packet stands where it was.
    pub(super) fn open(&self, counter: u64, body: &mut [u8]) -> Option<()> {
        match self {
            Cipher::Ring(key) => {
                key.open_in_place(nonce(counter), Aad::empty(), body).ok()?;
                Some(())
            }
            #[cfg(feature = "plaintext-control")]
            Cipher::Plaintext => Some(()),
        }
    }
}

fn nonce(counter: u64) -> Nonce {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    let nonce: [u8; NONCE_LEN] = [0, 0, 0, 0, a, b, c, d, e, f, g, h];
    Nonce::assume_unique_for_key(nonce)
}
