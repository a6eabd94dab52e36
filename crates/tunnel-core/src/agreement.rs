//! How two generations agree on transports: the state machine of one pair, pure.
//!
//! One end offers (KeyOffer), the other accepts (KeyAccept) and receives under the new keys at once;
//! the offerer sends under them when the accept is good and says so (KeyConfirm); only that switches
//! the accepter, because switching on first data would leave an end mute after one lost packet.
//! Lost messages are repeated with the same bytes, and one transcript installs once. The machine
//! carries nothing out: what is to be done comes out of [`Agreement::poll_step`]. Sessions and the
//! choice between pairs: `control`.

mod exchange;
mod held;
mod names;
mod step;

use std::collections::VecDeque;
use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::message::{Collected, MessageKind, OfferId, decode_confirm};
use crate::moment::Moment;
use crate::plane::{IndexBase, LaneIndex, TransportId};
use exchange::{Agreed, OwnOffer};
use held::{Acceptance, Origin, StoredAccept};
pub(crate) use held::{Held, SEND_UNTIL};
pub(crate) use names::TransportNames;
pub(crate) use step::{Context, Ends, Initiation, Installed, PairIs, Step};

/// Keys of one direction by sending lane.
pub(crate) type LaneKeys = Vec<(LaneIndex, Zeroizing<[u8; 32]>)>;

/// How long a handshake, and then an offer, is tried before the wish is given up (WireGuard's
/// Rekey-Attempt-Time).
const TRY_FOR: Duration = Duration::from_secs(90);

/// How often an offer is repeated.
const REPEAT_OFFER_EVERY: Duration = Duration::from_secs(1);

/// How long a session may leave an offer unanswered before another is made (WireGuard's
/// Rekey-Timeout): the peer may have lost the session in a restart.
const DOUBT_SESSION_AFTER: Duration = Duration::from_secs(5);

/// An erased initiation is made again at most this often: replayed initiations, which erase it,
/// cost an attacker nothing.
const REPLACE_INITIATION_EVERY: Duration = Duration::from_millis(100);

/// Transports of one pair at most: the one in use, its predecessor, and two crossing successors.
const MAX_HELD: usize = 4;

enum Phase {
    Idle,
    Shaking {
        until: Moment,
    },
    Offering {
        offer: Box<OwnOffer>,
        until: Moment,
        repeat_at: Moment,
        completed: Moment,
    },
}

/// The agreement of one pair of generations.
pub(crate) struct Agreement {
    ends: Ends,
    phase: Phase,
    held: Vec<Held>,
    replace_at: Moment,
    steps: VecDeque<Step>,
}

impl Agreement {
    /// Begins idle.
    pub(crate) fn new(ends: Ends) -> Self {
        Self {
            ends,
            phase: Phase::Idle,
            held: Vec::new(),
            replace_at: Moment::default(),
            steps: VecDeque::new(),
        }
    }

    /// The transports, oldest first.
    pub(crate) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Whether nothing is being agreed on.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Hands the send keys out, once.
    pub(crate) fn take_send_keys(&mut self, id: TransportId) -> Option<LaneKeys> {
        self.held.iter_mut().find(|it| it.id == id)?.send.take()
    }

    /// Whether the send keys are still here.
    pub(crate) fn has_send_keys(&self, id: TransportId) -> bool {
        self.held.iter().any(|it| it.id == id && it.send.is_some())
    }

    /// A transport is wanted under this pair. Changes [`Self::poll_step`].
    pub(crate) fn handle_want(&mut self, now: Moment) {
        let unconfirmed = self.held.iter().any(Held::is_unconfirmed);
        if self.is_idle() && !unconfirmed {
            let until = now + TRY_FOR;
            self.phase = Phase::Shaking { until };
            self.steps.push_back(Step::Initiate);
        }
    }

    /// A session that we initiated is complete. Changes [`Self::poll_step`].
    pub(crate) fn handle_session_complete(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        match &mut self.phase {
            Phase::Idle => return,
            Phase::Shaking { .. } => {
                let base = context.names.take_base(context.rng);
                self.phase = Phase::Offering {
                    offer: Box::new(exchange::offer(&self.ends, base, context.rng)),
                    until: now + TRY_FOR,
                    repeat_at: now + REPEAT_OFFER_EVERY,
                    completed: now,
                };
            }
            Phase::Offering {
                repeat_at,
                completed,
                ..
            } => {
                *repeat_at = now + REPEAT_OFFER_EVERY;
                *completed = now;
            }
        }
        self.send_offer();
    }

    /// A response met no initiation: ours was erased by others'. Changes [`Self::poll_step`].
    pub(crate) fn handle_initiation_erased(&mut self, now: Moment) {
        if !self.is_idle() && now >= self.replace_at {
            self.replace_at = now + REPLACE_INITIATION_EVERY;
            self.steps.push_back(Step::Initiate);
        }
    }

    /// A message could not leave for want of a named session. Changes [`Self::poll_step`].
    pub(crate) fn handle_unsent(&mut self, kind: MessageKind, initiation: Initiation) {
        if initiation == Initiation::Outstanding {
            return;
        }
        match kind {
            MessageKind::KeyOffer if !self.is_idle() => self.steps.push_back(Step::Initiate),
            MessageKind::KeyConfirm => self.steps.push_back(Step::InitiateOnce),
            MessageKind::KeyOffer | MessageKind::KeyAccept => {}
        }
    }

    /// A message came out of a session of this pair. Changes [`Self::poll_step`].
    pub(crate) fn handle_message(
        &mut self,
        message: &Collected,
        pair: PairIs,
        context: &mut Context<'_>,
    ) {
        match message.kind {
            MessageKind::KeyOffer => self.handle_offer(message, pair, context),
            MessageKind::KeyAccept => self.handle_accept(message, context),
            MessageKind::KeyConfirm => self.handle_confirm(message),
        }
    }

    /// The lanes opened a packet under this transport for the first time.
    pub(crate) fn handle_first_opened(&mut self, id: TransportId) {
        if let Some(held) = self.held.iter_mut().find(|it| it.id == id) {
            held.opened = true;
        }
    }

    /// Drops a transport, for whatever reason from outside. Changes [`Self::poll_step`].
    pub(crate) fn forget(&mut self, id: TransportId, names: &mut TransportNames) {
        if let Some(position) = self.held.iter().position(|it| it.id == id) {
            let held = self.held.remove(position);
            names.release_base(held.own_base);
            self.steps.push_back(Step::Forget(id));
        }
    }

    /// Ends the agreement: nothing is left of it. Changes [`Self::poll_step`].
    pub(crate) fn end(&mut self, names: &mut TransportNames) {
        self.become_idle(names);
        while let Some(id) = self.held.first().map(|it| it.id) {
            self.forget(id, names);
        }
    }

    /// Lets time pass; harmless when nothing is due. Changes [`Self::poll_step`] and
    /// [`Self::poll_timeout`].
    pub(crate) fn handle_timeout(&mut self, initiation: Initiation, context: &mut Context<'_>) {
        let now = context.now;
        self.handle_phase_timeout(initiation, context);
        for held in &mut self.held {
            if let Some(body) = held.advance(now) {
                self.steps.push_back(Step::Send(Collected {
                    kind: MessageKind::KeyAccept,
                    id: held.offer,
                    body,
                }));
            }
        }
        while let Some(id) = self.held.iter().find(|it| it.is_over(now)).map(|it| it.id) {
            self.forget(id, context.names);
        }
    }

    /// What is to be done next; changes after every `handle_*`.
    pub(crate) fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do; changes after every `handle_*`.
    pub(crate) fn poll_timeout(&self) -> Option<(Moment, &'static str)> {
        let phase = match &self.phase {
            Phase::Idle => None,
            Phase::Shaking { until } => Some((*until, "give a handshake up")),
            Phase::Offering {
                until, repeat_at, ..
            } => Some(((*repeat_at).min(*until), "repeat an offer")),
        };
        let held = self.held.iter().map(Held::deadline).min();
        let held = held.map(|deadline| (deadline, "repeat an accept or erase a transport"));
        phase.into_iter().chain(held).min_by_key(|it| it.0)
    }

    fn handle_phase_timeout(&mut self, initiation: Initiation, context: &mut Context<'_>) {
        let now = context.now;
        let due = match &mut self.phase {
            Phase::Idle => return,
            Phase::Shaking { until } if now >= *until => Due::GiveUp,
            Phase::Offering { until, .. } if now >= *until => Due::GiveUp,
            Phase::Shaking { .. } => return,
            Phase::Offering {
                repeat_at,
                completed,
                ..
            } => {
                if now < *repeat_at {
                    return;
                }
                *repeat_at = now + REPEAT_OFFER_EVERY;
                let doubtful = now.duration_since(*completed) >= DOUBT_SESSION_AFTER;
                if doubtful && initiation == Initiation::None {
                    Due::RepeatAndInitiate
                } else {
                    Due::Repeat
                }
            }
        };
        match due {
            Due::GiveUp => {
                self.become_idle(context.names);
                self.steps.push_back(Step::GaveUp);
            }
            Due::Repeat => self.send_offer(),
            Due::RepeatAndInitiate => {
                self.steps.push_back(Step::Initiate);
                self.send_offer();
            }
        }
    }

    fn handle_offer(&mut self, message: &Collected, pair: PairIs, context: &mut Context<'_>) {
        if OfferId::of(&message.body) != message.id {
            return;
        }
        if let Some(known) = self.held.iter_mut().find(|it| it.answers(message.id)) {
            if let Some(body) = known.wake(context.now) {
                self.send(MessageKind::KeyAccept, message.id, body);
            }
            return;
        }
        if let Phase::Offering { offer, .. } = &self.phase
            && (offer.id == message.id || self.ends.own_key <= self.ends.peer_key)
        {
            return;
        }
        if pair == PairIs::Superseded {
            return;
        }
        let base = context.names.take_base(context.rng);
        let answer = exchange::answer(&self.ends, &message.body, base, context.rng);
        let Some((accept, mut agreed)) = answer else {
            context.names.release_base(base);
            return;
        };
        self.become_idle(context.names);
        let stored = StoredAccept {
            body: accept.clone(),
            expected: Zeroizing::new(std::mem::take(&mut agreed.confirm)),
        };
        let origin = Origin::Accepted(Acceptance::woken(stored, context.now));
        self.install(message.id, base, origin, agreed, context);
        self.send(MessageKind::KeyAccept, message.id, accept);
    }

    fn handle_accept(&mut self, message: &Collected, context: &mut Context<'_>) {
        let accept_hash: [u8; 32] = Sha256::digest(&message.body).into();
        if let Some(confirm) = self.stored_confirm(message.id, &accept_hash) {
            self.send(MessageKind::KeyConfirm, message.id, confirm.to_vec());
            return;
        }
        let Phase::Offering { offer, .. } = &self.phase else {
            return;
        };
        if offer.id != message.id {
            return;
        }
        let Some(agreed) = exchange::conclude(&self.ends, offer, &message.body) else {
            return;
        };
        let base = offer.base;
        let confirm = agreed.confirm;
        // Not through `become_idle`, which would give back the index base that is used from here.
        self.phase = Phase::Idle;
        self.steps.push_back(Step::Abandon);
        let origin = Origin::Offered {
            accept_hash,
            confirm,
        };
        self.install(message.id, base, origin, agreed, context);
        self.steps.push_back(Step::Confirmed);
        self.send(MessageKind::KeyConfirm, message.id, confirm.to_vec());
    }

    fn handle_confirm(&mut self, message: &Collected) {
        let Ok(confirmation) = decode_confirm(&message.body) else {
            return;
        };
        let held = self.held.iter_mut().find(|it| it.answers(message.id));
        if held.is_some_and(|it| it.confirm(&confirmation)) {
            self.steps.push_back(Step::Confirmed);
        }
    }

    fn stored_confirm(&self, id: OfferId, accept: &[u8; 32]) -> Option<[u8; 16]> {
        self.held.iter().find_map(|held| match &held.origin {
            Origin::Offered {
                accept_hash,
                confirm,
            } if held.offer == id && accept_hash == accept => Some(*confirm),
            Origin::Offered { .. } | Origin::Accepted(_) => None,
        })
    }

    fn install(
        &mut self,
        offer: OfferId,
        base: IndexBase,
        origin: Origin,
        agreed: Agreed,
        context: &mut Context<'_>,
    ) {
        while self.held.len() >= MAX_HELD
            && let Some(id) = self.displaced()
        {
            self.forget(id, context.names);
        }
        let held = Held {
            id: context.names.take_id(),
            suite: agreed.suite,
            own_base: base,
            peer_base: agreed.peer_base,
            born: context.now,
            offer,
            origin,
            opened: false,
            send: Some(agreed.send),
        };
        self.steps.push_back(Step::Install(Installed {
            id: held.id,
            suite: held.suite,
            role: held.role(),
            base,
            keys: agreed.receive,
            born: held.born,
        }));
        self.held.push(held);
    }

    /// Which transport makes room: the oldest unconfirmed that never opened anything, else the
    /// oldest confirmed, else the oldest.
    fn displaced(&self) -> Option<TransportId> {
        let unused = |it: &&Held| !it.is_confirmed() && !it.opened;
        let held = self.held.iter();
        held.clone()
            .find(unused)
            .or_else(|| held.clone().find(|it| it.is_confirmed()))
            .or_else(|| self.held.first())
            .map(|it| it.id)
    }

    fn become_idle(&mut self, names: &mut TransportNames) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => return,
            Phase::Shaking { .. } => {}
            Phase::Offering { offer, .. } => names.release_base(offer.base),
        }
        self.steps.push_back(Step::Abandon);
    }

    fn send_offer(&mut self) {
        if let Phase::Offering { offer, .. } = &self.phase {
            let (id, body) = (offer.id, offer.body.clone());
            self.send(MessageKind::KeyOffer, id, body);
        }
    }

    fn send(&mut self, kind: MessageKind, id: OfferId, body: Vec<u8>) {
        self.steps
            .push_back(Step::Send(Collected { kind, id, body }));
    }
}

enum Due {
    GiveUp,
    Repeat,
    RepeatAndInitiate,
}

#[cfg(test)]
mod tests;
