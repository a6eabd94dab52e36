//! From one agreement's messages to the keys of its transport.
//!
//! The keys hang on everything that was said: both key statements, the whole offer, the accept up
//! to its confirmation (the transcript), on ML-KEM's shared secret and on both sides' randomness.
//! Whoever breaks X25519 lacks ML-KEM's secret; whoever breaks ML-KEM lacks the randoms, which only
//! travelled inside the session. HKDF is RFC 5869 with SHA-256. Committed test vectors, computed by
//! a script of another language, are in `tests/vectors`.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::message::CONFIRMATION_SIZE;
use crate::plane::{LaneIndex, Suite};

/// Label at the start of the transcript.
const TRANSCRIPT_LABEL: &[u8] = b"sotto transport v1";

/// Which way a key protects packets, or a confirmation travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the offerer to the accepter.
    ToAccepter,
    /// From the accepter to the offerer.
    ToOfferer,
}

impl Direction {
    fn wire(self) -> u8 {
        match self {
            Self::ToAccepter => 0,
            Self::ToOfferer => 1,
        }
    }
}

/// Everything that both ends must have seen alike.
#[derive(Clone, Copy, Debug)]
pub struct Transcript<'a> {
    /// Hash of the offerer's key statement.
    pub offerer_statement: &'a [u8; 32],
    /// Hash of the accepter's key statement.
    pub accepter_statement: &'a [u8; 32],
    /// The encoded KeyOffer.
    pub offer: &'a [u8],
    /// The encoded KeyAccept without its confirmation.
    pub accept: &'a [u8],
}

impl Transcript<'_> {
    fn hash(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(TRANSCRIPT_LABEL)
            .chain_update(self.offerer_statement)
            .chain_update(self.accepter_statement)
            .chain_update(Sha256::digest(self.offer))
            .chain_update(Sha256::digest(self.accept))
            .finalize()
            .into()
    }
}

/// What only the two ends know.
pub struct Secrets<'a> {
    /// ML-KEM's shared secret.
    pub shared: &'a [u8; 32],
    /// The offer's randomness.
    pub offer_random: &'a [u8; 32],
    /// The accept's randomness.
    pub accept_random: &'a [u8; 32],
}

/// The source of one transport's keys, erased when dropped.
pub struct KeySchedule {
    transcript: [u8; 32],
    pseudorandom_key: Zeroizing<[u8; 32]>,
}

impl KeySchedule {
    /// Extracts the pseudorandom key.
    #[must_use]
    pub fn new(transcript: &Transcript<'_>, secrets: &Secrets<'_>) -> Self {
        let transcript = transcript.hash();
        let mut input = Zeroizing::new([0; 96]);
        let sources = [secrets.shared, secrets.offer_random, secrets.accept_random];
        for (chunk, source) in input.chunks_exact_mut(32).zip(sources) {
            chunk.copy_from_slice(source);
        }
        let (key, _) = Hkdf::<Sha256>::extract(Some(&transcript), input.as_slice());
        Self {
            transcript,
            pseudorandom_key: Zeroizing::new(key.into()),
        }
    }

    /// The key under which one lane of the sender seals.
    #[must_use]
    pub fn key(&self, suite: Suite, direction: Direction, lane: LaneIndex) -> Zeroizing<[u8; 32]> {
        self.expand(&[b"key", &[suite.wire(), direction.wire(), lane.0]])
    }

    /// The sender's proof, for this direction, that it holds the keys of this very transcript.
    #[must_use]
    pub fn confirmation(&self, direction: Direction) -> [u8; CONFIRMATION_SIZE] {
        let key = self.expand(&[b"confirm", &[direction.wire()]]);
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("HMAC takes any key");
        mac.update(&self.transcript);
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut half = [0; CONFIRMATION_SIZE];
        half.copy_from_slice(whole.split_at(CONFIRMATION_SIZE).0);
        half
    }

    /// Whether a confirmation is the right one, in constant time.
    #[must_use]
    pub fn confirms(&self, direction: Direction, confirmation: &[u8; CONFIRMATION_SIZE]) -> bool {
        self.confirmation(direction).ct_eq(confirmation).into()
    }

    fn expand(&self, label: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut output = Zeroizing::new([0; 32]);
        #[expect(clippy::expect_used, reason = "both lengths are constants")]
        Hkdf::<Sha256>::from_prk(self.pseudorandom_key.as_slice())
            .expect("32 bytes are a pseudorandom key")
            .expand_multi_info(label, output.as_mut_slice())
            .expect("32 bytes are one block of output");
        output
    }
}

impl std::fmt::Debug for KeySchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySchedule(<redacted>)")
    }
}
