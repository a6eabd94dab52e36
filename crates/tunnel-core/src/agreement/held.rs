//! The transports that one pair of generations has agreed on and not yet outlived.
//!
//! Each remembers the messages it came from, so that a repeated offer gets the stored accept and a
//! repeated accept the stored confirmation: a transcript is installed once, and a repeat touches no
//! key. The send keys leave exactly once, when the transport is first chosen, because a lane that
//! got them twice would start their counter anew.

use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::LaneKeys;
use crate::message::{CONFIRMATION_SIZE, OfferId};
use crate::moment::Moment;
use crate::plane::{IndexBase, Role, Suite, TransportId};

/// Nothing is sent under a transport older than this (WireGuard's Reject-After-Time).
pub(crate) const SEND_UNTIL: Duration = Duration::from_secs(180);

/// Nothing is received under a transport older than this: half as long again, for packets and
/// clocks that are late.
pub(crate) const RECEIVE_UNTIL: Duration = Duration::from_secs(270);

/// How often an unconfirmed accept is repeated.
const REPEAT_EVERY: Duration = Duration::from_secs(1);

/// How long it is repeated before it rests.
const REPEAT_FOR: Duration = Duration::from_secs(10);

/// How long after its last wake it is forgotten: as long as an offerer tries.
const FORGET_AFTER: Duration = Duration::from_secs(90);

/// One transport.
pub(crate) struct Held {
    pub(crate) id: TransportId,
    pub(crate) suite: Suite,
    pub(crate) own_base: IndexBase,
    pub(crate) peer_base: IndexBase,
    pub(crate) born: Moment,
    pub(super) offer: OfferId,
    pub(super) origin: Origin,
    pub(super) opened: bool,
    pub(super) send: Option<LaneKeys>,
}

/// How the transport came about, with what is needed to repeat our last word.
pub(super) enum Origin {
    /// Our offer; confirmed since the peer's accept was good.
    Offered {
        accept_hash: [u8; 32],
        confirm: [u8; CONFIRMATION_SIZE],
    },
    /// The peer's offer.
    Accepted(Acceptance),
}

/// How far the peer has confirmed our accept.
pub(super) enum Acceptance {
    /// The accept is repeated each second.
    Unconfirmed {
        accept: StoredAccept,
        repeat_at: Moment,
        rest_at: Moment,
        forget_at: Moment,
    },
    /// The accept is sent when the offer is repeated.
    Resting {
        accept: StoredAccept,
        forget_at: Moment,
    },
    /// Never confirmed: receives to its limits, is never sent under.
    Forgotten,
    /// The peer has the keys.
    Confirmed,
}

/// The accept that we sent, and the confirmation that would answer it.
pub(super) struct StoredAccept {
    pub(super) body: Vec<u8>,
    pub(super) expected: Zeroizing<[u8; CONFIRMATION_SIZE]>,
}

impl Drop for StoredAccept {
    fn drop(&mut self) {
        self.body.zeroize();
    }
}

impl Acceptance {
    /// Repeats begin, or begin anew.
    pub(super) fn woken(accept: StoredAccept, now: Moment) -> Self {
        Self::Unconfirmed {
            accept,
            repeat_at: now + REPEAT_EVERY,
            rest_at: now + REPEAT_FOR,
            forget_at: now + FORGET_AFTER,
        }
    }

    fn stored(&self) -> Option<&StoredAccept> {
        match self {
            Self::Unconfirmed { accept, .. } | Self::Resting { accept, .. } => Some(accept),
            Self::Forgotten | Self::Confirmed => None,
        }
    }

    fn deadline(&self) -> Option<Moment> {
        match self {
            Self::Unconfirmed { repeat_at, .. } => Some(*repeat_at),
            Self::Resting { forget_at, .. } => Some(*forget_at),
            Self::Forgotten | Self::Confirmed => None,
        }
    }

    /// Steps to what it is at `now`; returns the body of an accept that is due.
    fn advance(self, now: Moment) -> (Self, Option<Vec<u8>>) {
        match self {
            Self::Unconfirmed {
                accept,
                rest_at,
                forget_at,
                ..
            } if now >= rest_at => Self::Resting { accept, forget_at }.advance(now),
            Self::Unconfirmed {
                accept,
                repeat_at,
                rest_at,
                forget_at,
            } if now >= repeat_at => {
                let body = accept.body.clone();
                let repeat_at = now + REPEAT_EVERY;
                let state = Self::Unconfirmed {
                    accept,
                    repeat_at,
                    rest_at,
                    forget_at,
                };
                (state, Some(body))
            }
            Self::Resting { forget_at, .. } if now >= forget_at => (Self::Forgotten, None),
            Self::Unconfirmed { .. } | Self::Resting { .. } | Self::Forgotten | Self::Confirmed => {
                (self, None)
            }
        }
    }
}

impl Held {
    /// Our role in the agreement.
    pub(crate) fn role(&self) -> Role {
        match self.origin {
            Origin::Offered { .. } => Role::Offerer,
            Origin::Accepted(_) => Role::Accepter,
        }
    }

    /// Whether both ends are known to have the keys.
    pub(crate) fn is_confirmed(&self) -> bool {
        match &self.origin {
            Origin::Offered { .. } | Origin::Accepted(Acceptance::Confirmed) => true,
            Origin::Accepted(
                Acceptance::Unconfirmed { .. } | Acceptance::Resting { .. } | Acceptance::Forgotten,
            ) => false,
        }
    }

    /// Whether it is confirmed and young enough to send under.
    pub(crate) fn is_live(&self, now: Moment) -> bool {
        self.is_confirmed() && now.duration_since(self.born) < SEND_UNTIL
    }

    /// Whether it has to go.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        now.duration_since(self.born) >= RECEIVE_UNTIL
    }

    /// Whether its accept is being repeated.
    pub(super) fn is_unconfirmed(&self) -> bool {
        matches!(
            self.origin,
            Origin::Accepted(Acceptance::Unconfirmed { .. })
        )
    }

    /// Whether this is the accept of that offer, still remembered.
    pub(super) fn answers(&self, id: OfferId) -> bool {
        self.offer == id && !matches!(self.origin, Origin::Accepted(Acceptance::Forgotten))
    }

    /// The offer came again: the stored accept, same bytes, unless it needs none any more.
    pub(super) fn wake(&mut self, now: Moment) -> Option<Vec<u8>> {
        let Origin::Accepted(acceptance) = &mut self.origin else {
            return None;
        };
        match std::mem::replace(acceptance, Acceptance::Forgotten) {
            Acceptance::Unconfirmed { accept, .. } | Acceptance::Resting { accept, .. } => {
                let body = accept.body.clone();
                *acceptance = Acceptance::woken(accept, now);
                Some(body)
            }
            other @ (Acceptance::Forgotten | Acceptance::Confirmed) => {
                *acceptance = other;
                None
            }
        }
    }

    /// The peer's confirmation came; returns whether it is good and news.
    pub(super) fn confirm(&mut self, confirmation: &[u8; CONFIRMATION_SIZE]) -> bool {
        let Origin::Accepted(acceptance) = &mut self.origin else {
            return false;
        };
        let good = acceptance
            .stored()
            .is_some_and(|it| it.expected.ct_eq(confirmation).into());
        if good {
            *acceptance = Acceptance::Confirmed;
        }
        good
    }

    /// Lets time pass; returns the body of an accept that is due again.
    pub(super) fn advance(&mut self, now: Moment) -> Option<Vec<u8>> {
        let Origin::Accepted(acceptance) = &mut self.origin else {
            return None;
        };
        let state = std::mem::replace(acceptance, Acceptance::Forgotten);
        let (state, due) = state.advance(now);
        *acceptance = state;
        due
    }

    /// When something about it changes by itself.
    pub(super) fn deadline(&self) -> Moment {
        let end = self.born + RECEIVE_UNTIL;
        match &self.origin {
            Origin::Offered { .. } => end,
            Origin::Accepted(acceptance) => acceptance.deadline().map_or(end, |it| it.min(end)),
        }
    }
}
