//! One own and one peer generation: their session, their agreement, and the wire between the two.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand_core::CryptoRng;

use super::clock::{Stamps, WallClock};
use super::generations::{GenerationRank, OwnGenerations};
use super::indexes::Indexes;
use super::outbox::{ControlEvent, Outbox, Transmit};
use super::settings::Settings;
use crate::agreement::{
    Agreement, Context, Ends, Held, Initiation, Installed, LaneKeys, PairIs, Step, TransportNames,
};
use crate::message::{Collected, Collector, MessageError, Part, split};
use crate::moment::Moment;
use crate::plane::{
    LaneCommand, LaneIndex, PeerIndex, ReceivingTransport, SendingTransport, TransportId,
};
use crate::session::{DatagramRefusal, PeerKeyError, Received, Session};

/// The place of a pair among those of two nodes. The peer's generation counts first; both ends need
/// not agree, as each chooses only what it sends under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PairRank {
    pub(super) peer: GenerationRank,
    pub(super) own: GenerationRank,
}

/// What every event of a peer needs from the control side around it.
pub(super) struct Env<'a> {
    pub(super) now: Moment,
    pub(super) settings: &'a Settings,
    pub(super) clock: WallClock,
    pub(super) own: &'a OwnGenerations,
    pub(super) rng: &'a mut (dyn CryptoRng + Send),
    pub(super) names: &'a mut TransportNames,
    pub(super) indexes: &'a mut Indexes,
    pub(super) stamps: &'a mut Stamps,
    pub(super) out: &'a mut Outbox,
}

/// Where the peer's generation is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) base_port: u16,
    pub(super) lanes: u8,
}

impl Route {
    /// The socket of the peer's lane that receives from our lane.
    fn of_lane(self, lane: LaneIndex) -> SocketAddr {
        let receiver = lane.receiver(self.lanes);
        let port = self.base_port.saturating_add(u16::from(receiver.0));
        SocketAddr::new(self.destination, port)
    }
}

/// Who a pair is, as its peer knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairPeer {
    pub(super) index: PeerIndex,
    pub(super) key: [u8; 32],
    pub(super) route: Option<Route>,
}

/// What came of driving a pair.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Transports were confirmed or are gone: the choice has to be made anew.
    pub(super) rechoose: bool,
    /// A message was opened.
    pub(super) opened: bool,
    /// A session was confirmed.
    pub(super) confirmed: bool,
    /// An initiation was authenticated.
    pub(super) responded: bool,
    /// The datagram is refused.
    pub(super) refused: Option<DatagramRefusal>,
    /// The wish was given up.
    pub(super) gave_up: bool,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Self) {
        self.rechoose |= other.rechoose;
        self.opened |= other.opened;
        self.confirmed |= other.confirmed;
        self.responded |= other.responded;
        self.refused = self.refused.or(other.refused);
        self.gave_up |= other.gave_up;
    }
}

/// One pair.
pub(super) struct Pair {
    pub(super) rank: PairRank,
    peer: PairPeer,
    session: Option<Anchored>,
    agreement: Agreement,
    collector: Collector,
}

/// A session, with the wall clock that its timestamps started from.
struct Anchored {
    session: Session,
    wall: Duration,
    since: Moment,
}

impl Pair {
    pub(super) fn new(rank: PairRank, peer: PairPeer, ends: Ends) -> Self {
        Self {
            rank,
            peer,
            session: None,
            agreement: Agreement::new(ends),
            collector: Collector::default(),
        }
    }

    pub(super) fn set_route(&mut self, route: Option<Route>) {
        self.peer.route = route;
    }

    pub(super) fn held(&self) -> &[Held] {
        self.agreement.held()
    }

    pub(super) fn is_agreeing(&self) -> bool {
        !self.agreement.is_idle()
    }

    pub(super) fn has_live(&self, now: Moment) -> bool {
        self.held().iter().any(|it| it.is_live(now))
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_empty(&self) -> bool {
        self.agreement.is_idle() && self.held().is_empty()
    }

    pub(super) fn last_completed(&self) -> Option<Moment> {
        self.session.as_ref()?.session.completed()
    }

    /// The youngest live transport that can be sent under: the one in use, or one whose keys were
    /// never given out.
    pub(super) fn best(&self, in_use: Option<TransportId>, now: Moment) -> Option<&Held> {
        let usable = |it: &&Held| Some(it.id) == in_use || self.agreement.has_send_keys(it.id);
        let live = self.held().iter().filter(|it| it.is_live(now));
        live.filter(usable).max_by_key(|it| it.id)
    }

    pub(super) fn want(&mut self, env: &mut Env<'_>) -> Outcome {
        self.agreement.handle_want(env.now);
        self.drive(env)
    }

    /// Gives the lanes the sending keys of a transport.
    pub(super) fn send_under(&mut self, id: TransportId, env: &mut Env<'_>) {
        let (Some(keys), Some(route)) = (self.agreement.take_send_keys(id), self.peer.route) else {
            return;
        };
        let Some(held) = self.held().iter().find(|it| it.id == id) else {
            return;
        };
        for (lane, key) in keys {
            let transport = SendingTransport {
                id,
                peer: self.peer.index,
                suite: held.suite,
                role: held.role(),
                base: held.peer_base,
                key,
                destination: route.of_lane(lane),
                source: Some(route.source),
                born: held.born,
            };
            let command = LaneCommand::Send(transport);
            env.out.commands.push_back((lane, command));
        }
        env.out.event(ControlEvent::TransportChosen {
            peer: self.peer.index,
            transport: id,
        });
    }

    pub(super) fn handle_first_opened(&mut self, id: TransportId) {
        self.agreement.handle_first_opened(id);
    }

    /// Takes in a datagram for this pair's session, or an initiation between its two ends.
    pub(super) fn handle_datagram(
        &mut self,
        datagram: &[u8],
        pair: PairIs,
        env: &mut Env<'_>,
    ) -> Outcome {
        if self.ensure_session(env).is_err() {
            return Outcome {
                refused: Some(DatagramRefusal::WeakKey),
                ..Outcome::default()
            };
        }
        let Some(anchored) = &mut self.session else {
            return Outcome::default();
        };
        let mut outcome = Outcome::default();
        match anchored.session.handle(datagram, env.now) {
            Received::Responded(response) => {
                outcome.responded = true;
                self.transmit(response, env);
            }
            Received::Completed(confirmation) => {
                outcome.confirmed = true;
                self.transmit(confirmation, env);
                env.out.event(ControlEvent::SessionCompleted {
                    peer: self.peer.index,
                });
                self.agreement.handle_session_complete(&mut context(env));
            }
            Received::Opened { message, confirmed } => {
                outcome.opened = true;
                outcome.confirmed = confirmed;
                if let Some(message) = message
                    && self.handle_part(&message, pair, env).is_err()
                {
                    outcome.refused = Some(DatagramRefusal::BadMessage);
                }
            }
            Received::Erased => self.agreement.handle_initiation_erased(env.now),
            Received::Cookie => {}
            Received::Refused(reason) => outcome.refused = Some(reason),
        }
        outcome.add(self.drive(env));
        outcome
    }

    pub(super) fn handle_timeout(&mut self, env: &mut Env<'_>) -> Outcome {
        if let Some(anchored) = &mut self.session
            && let Some(initiation) = anchored.session.handle_timeout(env.now)
        {
            self.send_initiation(initiation, env);
        }
        if let Some(idle) = self.session.take_if(|it| it.session.is_idle(env.now)) {
            env.indexes.release(idle.session.index());
        }
        let initiation = self.initiation();
        self.agreement.handle_timeout(initiation, &mut context(env));
        self.drive(env)
    }

    pub(super) fn poll_timeout(&self) -> Option<(Moment, &'static str)> {
        let session = self
            .session
            .as_ref()
            .and_then(|it| it.session.poll_timeout());
        let agreement = self.agreement.poll_timeout();
        session.into_iter().chain(agreement).min_by_key(|it| it.0)
    }

    /// Ends it: transports are erased, the session dropped.
    pub(super) fn end(&mut self, env: &mut Env<'_>) -> Outcome {
        self.agreement.end(env.names);
        let outcome = self.drive(env);
        if let Some(anchored) = self.session.take() {
            env.indexes.release(anchored.session.index());
        }
        outcome
    }

    fn handle_part(
        &mut self,
        message: &[u8],
        pair: PairIs,
        env: &mut Env<'_>,
    ) -> Result<(), MessageError> {
        let part = Part::decode(message)?;
        if let Some(message) = self.collector.collect(&part) {
            self.agreement
                .handle_message(&message, pair, &mut context(env));
        }
        Ok(())
    }

    /// Carries out what the agreement wants done.
    fn drive(&mut self, env: &mut Env<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(step) = self.agreement.poll_step() {
            match step {
                Step::Initiate => self.initiate(Session::initiate, env),
                Step::InitiateOnce => self.initiate(Session::initiate_once, env),
                Step::Abandon => {
                    if let Some(anchored) = &mut self.session {
                        anchored.session.abandon();
                    }
                }
                Step::Send(message) => self.send(&message, env),
                Step::Install(installed) => self.install(&installed, env),
                Step::Confirmed => outcome.rechoose = true,
                Step::Forget(transport) => {
                    outcome.rechoose = true;
                    self.forget(transport, env);
                }
                Step::GaveUp => outcome.gave_up = true,
            }
        }
        outcome
    }

    fn initiate(&mut self, how: fn(&mut Session, Moment) -> Option<Vec<u8>>, env: &mut Env<'_>) {
        if self.ensure_session(env).is_ok()
            && let Some(anchored) = &mut self.session
            && let Some(initiation) = how(&mut anchored.session, env.now)
        {
            self.send_initiation(initiation, env);
        }
    }

    fn send_initiation(&mut self, initiation: Vec<u8>, env: &mut Env<'_>) {
        if let Some(anchored) = &self.session {
            let stamp = anchored.wall + env.now.duration_since(anchored.since);
            env.stamps.issued(self.rank.own, stamp, env.out);
        }
        self.transmit(initiation, env);
    }

    fn send(&mut self, message: &Collected, env: &mut Env<'_>) {
        for part in split(message.kind, message.id, &message.body) {
            let sealed = self
                .session
                .as_mut()
                .and_then(|it| it.session.seal(&part, env.now));
            let Some(sealed) = sealed else {
                let initiation = self.initiation();
                self.agreement.handle_unsent(message.kind, initiation);
                return;
            };
            self.transmit(sealed, env);
        }
    }

    fn install(&mut self, installed: &Installed, env: &mut Env<'_>) {
        let lanes = env.settings.lanes;
        for lane in (0..lanes).map(LaneIndex) {
            let of_lane = |(sender, _): &&(LaneIndex, _)| sender.receiver(lanes) == lane;
            let keys: LaneKeys = installed.keys.iter().filter(of_lane).cloned().collect();
            let transport = ReceivingTransport {
                id: installed.id,
                peer: self.peer.index,
                suite: installed.suite,
                role: installed.role,
                base: installed.base,
                keys,
                born: installed.born,
            };
            let command = LaneCommand::Receive(transport);
            env.out.commands.push_back((lane, command));
        }
        env.indexes
            .add_transport(installed.id, self.peer.index, self.rank);
        env.out.event(ControlEvent::TransportInstalled {
            peer: self.peer.index,
            transport: installed.id,
            role: installed.role,
            suite: installed.suite,
        });
    }

    fn forget(&mut self, transport: TransportId, env: &mut Env<'_>) {
        env.indexes.remove_transport(transport);
        let command = LaneCommand::Forget(transport);
        env.out.broadcast(env.settings.lanes, &command);
        env.out.event(ControlEvent::TransportForgotten {
            peer: self.peer.index,
            transport,
        });
    }

    fn initiation(&self) -> Initiation {
        match &self.session {
            Some(it) if it.session.is_initiating() => Initiation::Outstanding,
            Some(_) | None => Initiation::None,
        }
    }

    fn transmit(&self, payload: Vec<u8>, env: &mut Env<'_>) {
        if let Some(route) = self.peer.route {
            env.out.transmits.push_back(Transmit {
                source: Some(route.source),
                destination: route.of_lane(LaneIndex(0)),
                payload,
            });
        }
    }

    fn ensure_session(&mut self, env: &mut Env<'_>) -> Result<(), PeerKeyError> {
        let Some(own) = env
            .own
            .get(self.rank.own)
            .filter(|_| self.session.is_none())
        else {
            return Ok(());
        };
        let index = env.indexes.take(self.peer.index, self.rank, env.rng);
        let around = env.settings.around_tunn;
        match Session::new(&Arc::clone(&own.key), self.peer.key, index, around, env.now) {
            Ok(session) => {
                let wall = env.clock.at(env.now);
                // Beside a newer one, an older generation needs no help.
                if env.own.newest().is_some_and(|it| it.rank == self.rank.own) {
                    env.stamps.anchored(self.rank.own, wall, env.out);
                }
                self.session = Some(Anchored {
                    session,
                    wall,
                    since: env.now,
                });
                Ok(())
            }
            Err(error) => {
                env.indexes.release(index);
                Err(error)
            }
        }
    }
}

/// What an agreement needs of the surroundings.
fn context<'a>(env: &'a mut Env<'_>) -> Context<'a> {
    Context {
        now: env.now,
        rng: &mut *env.rng,
        names: &mut *env.names,
    }
}
