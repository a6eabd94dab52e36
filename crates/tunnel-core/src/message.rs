//! Control messages: what two control sides say to each other inside a session.
//!
//! A message is cut into parts of at most 640 bytes of body, because a whole offer needs 1 356 bytes
//! on IPv6 and many networks drop fragments. Each part carries a header of 12 bytes: version, kind,
//! part, parts, and the identifier of the offer that the message belongs to. One encoding per
//! message: whatever does not re-encode to itself is refused. What the fields mean: `agreement`.

mod collector;

pub(crate) use collector::{Collected, Collector};

use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::plane::IndexBase;

/// Version of the control messages, the first byte of each part.
const VERSION: u8 = 1;

/// Bytes of a part's header.
pub(crate) const HEADER_SIZE: usize = 12;

/// Body of one part at most: with all headers 744 bytes on IPv6, well below 1 280.
pub(crate) const PART_SIZE: usize = 640;

/// Parts of one message at most: twice what the longest message needs.
pub(crate) const MAX_PARTS: usize = 4;

/// Bytes of an ML-KEM-768 encapsulation key (FIPS 203, table 3).
pub(crate) const ENCAPSULATION_KEY_SIZE: usize = 1184;

/// Bytes of an ML-KEM-768 ciphertext (FIPS 203, table 3).
pub(crate) const CIPHERTEXT_SIZE: usize = 1088;

/// Bytes of a confirmation: half of an HMAC-SHA256, as many as an AEAD's tag.
pub(crate) const CONFIRMATION_SIZE: usize = 16;

/// Label before the offer whose hash names it.
const OFFER_LABEL: &[u8] = b"sotto offer";

/// What a control message is.
#[expect(clippy::enum_variant_names, reason = "the protocol's names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MessageKind {
    /// The encapsulation key, fresh randomness and the suites of an offer.
    KeyOffer,
    /// The ciphertext that answers an offer.
    KeyAccept,
    /// The offerer's word that it holds the keys.
    KeyConfirm,
}

impl MessageKind {
    fn wire(self) -> u8 {
        match self {
            Self::KeyOffer => 1,
            Self::KeyAccept => 2,
            Self::KeyConfirm => 3,
        }
    }

    fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::KeyOffer),
            2 => Some(Self::KeyAccept),
            3 => Some(Self::KeyConfirm),
            _ => None,
        }
    }
}

/// Name of an offer, and of everything that answers it: the start of the offer's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OfferId([u8; 8]);

impl OfferId {
    /// The identifier of an encoded offer.
    pub(crate) fn of(offer: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(OFFER_LABEL)
            .chain_update(offer)
            .finalize()
            .into();
        let [a, b, c, d, e, f, g, h, ..] = hash;
        Self([a, b, c, d, e, f, g, h])
    }
}

/// Why a control message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum MessageError {
    /// Shorter than a header, or a body of impossible size.
    #[error("read control message: {0} bytes are too short or too long for a part")]
    PartSize(usize),
    /// A version that this build does not speak.
    #[error("read control message: version {0} is not 1")]
    Version(u8),
    /// A kind that this build does not know.
    #[error("read control message: kind {0} is unknown")]
    Kind(u8),
    /// Part numbers that make no sense.
    #[error("read control message: part {part} of {parts}")]
    Part {
        /// Which part.
        part: u8,
        /// Of how many.
        parts: u8,
    },
    /// A body that does not decode as its kind.
    #[error("read control message: the body of {0:?} is malformed")]
    Body(MessageKind),
}

/// One part of a message, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) kind: MessageKind,
    pub(crate) id: OfferId,
    part: usize,
    parts: usize,
    body: &'a [u8],
}

impl<'a> Part<'a> {
    /// Reads one part.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_SIZE>() else {
            return Err(MessageError::PartSize(bytes.len()));
        };
        let [version, kind, part, parts, id @ ..] = *header;
        if version != VERSION {
            return Err(MessageError::Version(version));
        }
        let kind = MessageKind::from_wire(kind).ok_or(MessageError::Kind(kind))?;
        if usize::from(parts) > MAX_PARTS || part >= parts {
            return Err(MessageError::Part { part, parts });
        }
        let last = part + 1 == parts;
        if body.is_empty() || body.len() > PART_SIZE || (!last && body.len() < PART_SIZE) {
            return Err(MessageError::PartSize(bytes.len()));
        }
        Ok(Self {
            kind,
            id: OfferId(id),
            part: part.into(),
            parts: parts.into(),
            body,
        })
    }
}

/// Cuts a message into the parts that travel.
pub(crate) fn split(kind: MessageKind, id: OfferId, body: &[u8]) -> Vec<Vec<u8>> {
    let parts = body.len().div_ceil(PART_SIZE);
    debug_assert!((1..=MAX_PARTS).contains(&parts));
    (0u8..)
        .zip(body.chunks(PART_SIZE))
        .map(|(part, chunk)| {
            let mut bytes = Vec::with_capacity(HEADER_SIZE + chunk.len());
            bytes.extend([VERSION, kind.wire(), part, u8::try_from(parts).unwrap_or(0)]);
            bytes.extend(id.0);
            bytes.extend(chunk);
            bytes
        })
        .collect()
}

/// The first message of an agreement.
#[cfg_attr(test, derive(Clone, Debug, PartialEq, Eq))]
pub(crate) struct KeyOffer {
    pub(crate) random: Zeroizing<[u8; 32]>,
    pub(crate) encapsulation_key: Box<[u8; ENCAPSULATION_KEY_SIZE]>,
    pub(crate) base: IndexBase,
    /// Numbers of suites in order of preference, unknown ones included.
    pub(crate) suites: Vec<u8>,
}

impl KeyOffer {
    /// The body of the message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(32 + ENCAPSULATION_KEY_SIZE + 5 + self.suites.len());
        body.extend(self.random.as_slice());
        body.extend(self.encapsulation_key.as_slice());
        body.extend(self.base.value().to_le_bytes());
        body.push(u8::try_from(self.suites.len()).unwrap_or(0));
        body.extend(&self.suites);
        body
    }

    /// Reads the body of the message.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, MessageError> {
        Self::parse(body).ok_or(MessageError::Body(MessageKind::KeyOffer))
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let (random, rest) = body.split_first_chunk::<32>()?;
        let (encapsulation_key, rest) = rest.split_first_chunk::<ENCAPSULATION_KEY_SIZE>()?;
        let (base, rest) = rest.split_first_chunk::<4>()?;
        let (count, suites) = rest.split_first()?;
        if suites.is_empty() || suites.len() != usize::from(*count) {
            return None;
        }
        Some(Self {
            random: Zeroizing::new(*random),
            encapsulation_key: Box::new(*encapsulation_key),
            base: IndexBase::new(u32::from_le_bytes(*base))?,
            suites: suites.to_vec(),
        })
    }
}

/// The answer to an offer.
#[cfg_attr(test, derive(Clone, Debug, PartialEq, Eq))]
pub(crate) struct KeyAccept {
    pub(crate) random: Zeroizing<[u8; 32]>,
    pub(crate) ciphertext: Box<[u8; CIPHERTEXT_SIZE]>,
    pub(crate) base: IndexBase,
    pub(crate) suite: u8,
    pub(crate) confirmation: [u8; CONFIRMATION_SIZE],
}

impl KeyAccept {
    /// The body without its confirmation: the part that the confirmation is about.
    pub(crate) fn encode_unconfirmed(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(32 + CIPHERTEXT_SIZE + 5 + CONFIRMATION_SIZE);
        body.extend(self.random.as_slice());
        body.extend(self.ciphertext.as_slice());
        body.extend(self.base.value().to_le_bytes());
        body.push(self.suite);
        body
    }

    /// The body of the message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = self.encode_unconfirmed();
        body.extend(self.confirmation);
        body
    }

    /// Reads the body of the message.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, MessageError> {
        Self::parse(body).ok_or(MessageError::Body(MessageKind::KeyAccept))
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let (random, rest) = body.split_first_chunk::<32>()?;
        let (ciphertext, rest) = rest.split_first_chunk::<CIPHERTEXT_SIZE>()?;
        let (base, rest) = rest.split_first_chunk::<4>()?;
        let (suite, confirmation) = rest.split_first()?;
        Some(Self {
            random: Zeroizing::new(*random),
            ciphertext: Box::new(*ciphertext),
            base: IndexBase::new(u32::from_le_bytes(*base))?,
            suite: *suite,
            confirmation: confirmation.try_into().ok()?,
        })
    }
}

/// Reads the body of a KeyConfirm, which is a confirmation and nothing else.
pub(crate) fn decode_confirm(body: &[u8]) -> Result<[u8; CONFIRMATION_SIZE], MessageError> {
    body.try_into()
        .map_err(|_| MessageError::Body(MessageKind::KeyConfirm))
}

#[cfg(test)]
mod tests;
