//! Puts the parts of control messages together again, in bounded memory.
//!
//! Parts are collected by (identifier, kind) across repeats: if a repeat of the message loses
//! another part than the first copy did, the two make one whole.

use std::collections::VecDeque;
use std::fmt;

use super::{MAX_PARTS, MessageKind, OfferId, Part};

/// Messages under collection at a time: an offer, an accept and a confirmation of one agreement,
/// and one more. The oldest goes first.
const MAX_MESSAGES: usize = 4;

/// A message whose parts are all there. Its body holds randomness that keys hang on.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Collected {
    pub(crate) kind: MessageKind,
    pub(crate) id: OfferId,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(<redacted>)", self.kind)
    }
}

/// The messages of one pair of generations that lack a part.
#[derive(Default)]
pub(crate) struct Collector {
    partial: VecDeque<Partial>,
}

struct Partial {
    kind: MessageKind,
    id: OfferId,
    parts: usize,
    bodies: [Option<Vec<u8>>; MAX_PARTS],
}

impl Collector {
    /// Adds a part; returns the message that it completes.
    pub(crate) fn collect(&mut self, part: &Part<'_>) -> Option<Collected> {
        let position = self
            .partial
            .iter()
            .position(|it| it.kind == part.kind && it.id == part.id && it.parts == part.parts);
        let mut partial = match position {
            Some(position) => self.partial.remove(position)?,
            None => Partial::new(part),
        };
        if let Some(slot) = partial.bodies.get_mut(part.part) {
            *slot = Some(part.body.to_vec());
        }
        if partial.is_whole() {
            return Some(Collected {
                kind: part.kind,
                id: part.id,
                body: partial.bodies.into_iter().flatten().flatten().collect(),
            });
        }
        while self.partial.len() >= MAX_MESSAGES {
            self.partial.pop_front();
        }
        self.partial.push_back(partial);
        None
    }
}

impl Partial {
    fn new(part: &Part<'_>) -> Self {
        Self {
            kind: part.kind,
            id: part.id,
            parts: part.parts,
            bodies: Default::default(),
        }
    }

    fn is_whole(&self) -> bool {
        self.bodies.iter().take(self.parts).all(Option::is_some)
    }
}
