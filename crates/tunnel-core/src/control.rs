//! The control side of a node: who the peers are, and which keys the lanes move packets with.
//!
//! Pure: verified peers, own generations, datagrams, lane events and counters come in by `handle_*`;
//! datagrams, lane commands and events go out by `poll_*`. Carry out lane commands before datagrams:
//! a peer that is told of a transport may use it at once. It never sees a pod packet. Per peer:
//! `control::peer`; per pair of generations: `control::pair`, `crate::agreement`, `crate::session`.

mod clock;
mod deadlines;
mod gate;
mod generations;
mod indexes;
mod outbox;
mod pair;
mod peer;
mod settings;
mod tables;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use node_identity::{NodeUid, Revocations, UnixTime, VerifiedPeer};
use rand_core::CryptoRng;

use crate::agreement::TransportNames;
use crate::counters::Traffic;
use crate::hints::HintBudget;
use crate::moment::Moment;
use crate::plane::{LaneCommand, LaneEvent, LaneIndex, PeerIndex};
use crate::session::{Addressee, addressee};
pub use crate::session::{AroundTunn, DatagramRefusal};
use clock::{Stamps, WallClock};
use deadlines::Deadlines;
use gate::{Entry, Gate};
pub use generations::{GenerationRank, OwnGeneration, OwnGenerationError};
use generations::{KEEP_OLD_FOR, MAX_OWN, Own, OwnGenerations};
use indexes::Indexes;
use outbox::Outbox;
pub use outbox::{ControlEvent, NewGenerationReason, PeerEnd, Refusals, Transmit};
use pair::{Env, PairRank};
use peer::Peer;
pub use peer::{PeerStatus, TransportStatus};
pub use settings::{AesInstructions, Settings};

/// How often certificates' ends and own generations are looked at.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

/// The control side of one node.
pub struct Control {
    settings: Settings,
    rng: Box<dyn CryptoRng + Send>,
    clock: WallClock,
    own: OwnGenerations,
    peers: BTreeMap<PeerIndex, Peer>,
    /// Never forgets a node, so that its number stays its own.
    numbers: HashMap<NodeUid, PeerIndex>,
    by_key: HashMap<[u8; 32], (PeerIndex, GenerationRank)>,
    by_endpoint: HashMap<IpAddr, PeerIndex>,
    names: TransportNames,
    indexes: Indexes,
    stamps: Stamps,
    gate: Gate,
    hints: HintBudget,
    deadlines: Deadlines,
    housekeeping_at: Moment,
    out: Outbox,
}

impl Control {
    /// Begins with no peers and no generation of its own.
    #[must_use]
    pub fn new(settings: Settings, rng: Box<dyn CryptoRng + Send>, now: Moment) -> Self {
        Self {
            settings,
            rng,
            clock: WallClock::default(),
            own: OwnGenerations::default(),
            peers: BTreeMap::new(),
            numbers: HashMap::new(),
            by_key: HashMap::new(),
            by_endpoint: HashMap::new(),
            names: TransportNames::default(),
            indexes: Indexes::default(),
            stamps: Stamps::default(),
            gate: Gate::default(),
            hints: HintBudget::default(),
            deadlines: Deadlines::default(),
            housekeeping_at: now + HOUSEKEEPING_EVERY,
            out: Outbox::default(),
        }
    }

    /// Tells the time: the wall clock since 1970, and the second by which certificates are judged.
    /// To be told before anything else and once a second.
    pub fn handle_clock(&mut self, wall: Duration, judged: UnixTime, now: Moment) {
        self.clock = WallClock::new(wall, judged, now);
    }

    /// Takes the admitted peers: all of them, as they stand. A node that is missing is out at once.
    /// Changes [`Self::poll_lane_command`] and [`Self::poll_event`].
    pub fn handle_peers(&mut self, admitted: &[VerifiedPeer], now: Moment) {
        let mut by_node: BTreeMap<NodeUid, Vec<VerifiedPeer>> = BTreeMap::new();
        let own = self.own.newest().map(|it| it.verified.identity().uid);
        let others = admitted.iter().filter(|it| Some(it.identity().uid) != own);
        for verified in others {
            let node = by_node.entry(verified.identity().uid).or_default();
            node.push(verified.clone());
        }
        for (uid, generations) in &by_node {
            let index = self.number(*uid);
            if let Some(first) = generations.first() {
                let peer = self.peers.entry(index);
                peer.or_insert_with(|| Peer::new(index, first));
            }
        }
        self.for_each_peer(now, |peer, env| {
            let generations = by_node.get(&peer.uid()).map_or(&[][..], Vec::as_slice);
            peer.handle_admitted(generations, env);
        });
        self.publish_tables();
    }

    /// Ends what is revoked. Changes [`Self::poll_lane_command`] and [`Self::poll_event`].
    pub fn handle_revocations(&mut self, revocations: &Revocations, now: Moment) {
        self.for_each_peer(now, |peer, env| peer.end_revoked(revocations, env));
        self.publish_tables();
    }

    /// Begins to use a newer own generation; older ones are drained.
    ///
    /// # Errors
    /// Key and statement do not belong together, or it is not newer.
    pub fn handle_generation(
        &mut self,
        generation: &OwnGeneration,
        now: Moment,
    ) -> Result<(), OwnGenerationError> {
        let rank = self.own.add(generation, self.settings.lanes, now)?;
        if let Some(highest) = generation.highest_stamp {
            self.stamps.remember(rank, highest);
        }
        while self.own.len() > MAX_OWN
            && let Some(oldest) = self.own.oldest()
        {
            self.retire(oldest, now);
        }
        self.for_each_peer(now, |peer, env| peer.newer_generation(env));
        self.publish_tables();
        Ok(())
    }

    /// Takes a datagram for the control side. Changes every `poll_*`.
    pub fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8], now: Moment) {
        let handled = match addressee(datagram) {
            Ok(Addressee::Initiation) => self.handle_initiation(source, datagram, now),
            Ok(Addressee::Session(index)) => self
                .peer_at(source)
                .and_then(|peer| match self.indexes.session(index) {
                    Some((owner, pair)) if owner == peer => Ok((peer, pair)),
                    Some(_) | None => Err(DatagramRefusal::UnknownIndex),
                })
                .and_then(|(peer, pair)| {
                    self.with_peer(peer, now, |peer, env| {
                        peer.handle_datagram(pair, datagram, env)
                    })
                    .unwrap_or(Ok(()))
                }),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = handled {
            let peer = self.by_endpoint.get(&source.ip()).copied();
            self.out.refuse(source, peer, reason);
        }
    }

    /// Takes what a lane says. Changes every `poll_*`.
    pub fn handle_lane_event(&mut self, event: LaneEvent, now: Moment) {
        match event {
            LaneEvent::Want(peer) => {
                self.with_peer(peer, now, Peer::handle_lane_want);
            }
            LaneEvent::RekeyDue(id) => {
                if let Some((peer, _)) = self.indexes.transport(id) {
                    self.with_peer(peer, now, |peer, env| peer.handle_rekey_due(id, env));
                }
            }
            LaneEvent::FirstOpened(id) => {
                if let Some((peer, pair)) = self.indexes.transport(id) {
                    self.with_peer(peer, now, |peer, env| {
                        peer.handle_first_opened(pair, id, env.now);
                    });
                }
            }
            LaneEvent::ControlDatagram { source, datagram } => {
                self.handle_datagram(source, &datagram, now);
            }
            LaneEvent::UnknownIndex(source) => {
                if let Some(peer) = self.by_endpoint.get(&source).copied() {
                    self.with_peer_and_hints(peer, now, |peer, hints, env| {
                        peer.handle_unknown_index(hints, env);
                    });
                }
            }
        }
    }

    /// Takes the lanes' counters, added up per peer; once a second. Changes every `poll_*`.
    pub fn handle_traffic(&mut self, traffic: &[(PeerIndex, Traffic)], now: Moment) {
        for (peer, traffic) in traffic {
            self.with_peer(*peer, now, |peer, env| peer.handle_traffic(*traffic, env));
        }
    }

    /// The daemon has restarted and spoke with these nodes before: it initiates to each, spread
    /// over some seconds. Changes [`Self::poll_timeout`].
    pub fn handle_restart(&mut self, lately: &[NodeUid], now: Moment) {
        for uid in lately {
            if let Some(peer) = self.numbers.get(uid).copied() {
                self.with_peer(peer, now, Peer::reconnect);
            }
        }
    }

    /// The machine's memory was copied (a snapshot, a clone, hibernation): every key is erased, and
    /// nothing is sent before there is a new own generation. Changes every `poll_*`.
    pub fn handle_memory_copied(&mut self, now: Moment) {
        self.for_each_peer(now, |peer, env| peer.end_all_pairs(env));
        while let Some(own) = self.own.oldest() {
            self.retire(own, now);
        }
        self.out.transmits.clear();
        let reason = NewGenerationReason::MemoryCopied;
        self.out.event(ControlEvent::NewGenerationWanted(reason));
    }

    /// Lets time pass; harmless when nothing is due. Changes every `poll_*`.
    pub fn handle_timeout(&mut self, now: Moment) {
        for peer in self.deadlines.due(now) {
            self.with_peer_and_hints(peer, now, Peer::handle_timeout);
        }
        if now >= self.housekeeping_at {
            self.housekeeping_at = now + HOUSEKEEPING_EVERY;
            self.keep_house(now);
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.transmits.pop_front()
    }

    /// The next command to a lane; to be carried out before datagrams are sent.
    pub fn poll_lane_command(&mut self) -> Option<(LaneIndex, LaneCommand)> {
        self.out.commands.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<ControlEvent> {
        self.out.poll_event()
    }

    /// When [`Self::handle_timeout`] has something to do, and what; any `handle_*` may change it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Moment, &'static str)> {
        let housekeeping = (self.housekeeping_at, "look at certificates' ends");
        let peers = self.deadlines.first();
        peers
            .into_iter()
            .chain([housekeeping])
            .min_by_key(|it| it.0)
    }

    /// The peers as they stand.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> {
        self.peers.values().filter_map(Peer::status)
    }

    /// The nodes that something was exchanged with and that are still there: what
    /// [`Self::handle_restart`] wants after a restart.
    pub fn lately_spoken_with(&self, now: Moment) -> impl Iterator<Item = NodeUid> {
        let spoken = move |it: &&Peer| it.has_live(now);
        self.peers.values().filter(spoken).map(Peer::uid)
    }

    /// Datagrams refused so far, by reason.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.out.refusals
    }

    fn handle_initiation(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        now: Moment,
    ) -> Result<(), DatagramRefusal> {
        let peer = self.peer_at(source)?;
        let addressed = |it: &&Own| it.key.is_addressed_by(datagram);
        let own = self.own.iter().find(addressed);
        let own = own.ok_or(DatagramRefusal::NotForUs)?;
        if self.gate.count(now) == Entry::Proven {
            if let Err(cookie) = own.key.proves(source.ip(), datagram) {
                self.out.transmits.extend(cookie.map(|payload| Transmit {
                    source: self.own.source_for(source.ip()),
                    destination: source,
                    payload,
                }));
                return Err(DatagramRefusal::CookieWanted);
            }
            if !self.gate.charge(source.ip(), now) {
                return Err(DatagramRefusal::OverBudget);
            }
        }
        let own_rank = own.rank;
        let claimed = own.key.claimed_initiator(datagram);
        let claimed = claimed.ok_or(DatagramRefusal::NotAuthentic)?;
        let known = self.by_key.get(&claimed).copied();
        let (_, peer_rank) = known
            .filter(|it| it.0 == peer)
            .ok_or(DatagramRefusal::UnknownInitiator)?;
        let pair = PairRank {
            peer: peer_rank,
            own: own_rank,
        };
        self.with_peer(peer, now, |peer, env| {
            peer.handle_initiation(pair, datagram, env)
        })
        .unwrap_or(Ok(()))
    }

    fn peer_at(&self, source: SocketAddr) -> Result<PeerIndex, DatagramRefusal> {
        let known = self.by_endpoint.get(&source.ip()).copied();
        known.ok_or(DatagramRefusal::UnknownSource)
    }

    fn number(&mut self, uid: NodeUid) -> PeerIndex {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(uid).or_insert(PeerIndex(next))
    }

    fn keep_house(&mut self, now: Moment) {
        self.gate.tidy(now);
        let judged = self.clock.judged_at(now);
        let expired = |peer: &Peer| peer.generations().any(|it| it.is_expired(judged));
        let expired = self.peers.iter().filter(|it| expired(it.1));
        for peer in expired.map(|it| *it.0).collect::<Vec<_>>() {
            self.with_peer(peer, now, |peer, env| peer.end_expired(judged, env));
        }
        let known = self.by_key.len();
        let own: Vec<_> = self
            .own
            .iter()
            .filter(|own| {
                let old = own.superseded;
                let drained = old.is_some_and(|old| now.duration_since(old) >= KEEP_OLD_FOR);
                let mut peers = self.peers.values();
                own.verified.is_expired(judged)
                    || (drained && peers.all(|it| it.has_passed(own.rank)))
            })
            .map(|it| it.rank)
            .collect();
        for rank in &own {
            self.retire(*rank, now);
        }
        let generations = self.peers.values().map(|it| it.generations().count());
        if !own.is_empty() || generations.sum::<usize>() != known {
            self.publish_tables();
        }
    }

    fn retire(&mut self, own: GenerationRank, now: Moment) {
        self.for_each_peer(now, |peer, env| peer.end_own(own, env));
        self.own.remove(own);
        self.stamps.forget(own);
        self.out.event(ControlEvent::OwnGenerationRetired(own));
    }

    fn for_each_peer(&mut self, now: Moment, mut act: impl FnMut(&mut Peer, &mut Env<'_>)) {
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for peer in peers {
            self.with_peer(peer, now, &mut act);
        }
    }

    fn with_peer<T>(
        &mut self,
        index: PeerIndex,
        now: Moment,
        act: impl FnOnce(&mut Peer, &mut Env<'_>) -> T,
    ) -> Option<T> {
        self.with_peer_and_hints(index, now, |peer, _, env| act(peer, env))
    }

    fn with_peer_and_hints<T>(
        &mut self,
        index: PeerIndex,
        now: Moment,
        act: impl FnOnce(&mut Peer, &mut HintBudget, &mut Env<'_>) -> T,
    ) -> Option<T> {
        let peer = self.peers.get_mut(&index)?;
        let mut env = Env {
            now,
            settings: &self.settings,
            clock: self.clock,
            own: &self.own,
            rng: self.rng.as_mut(),
            names: &mut self.names,
            indexes: &mut self.indexes,
            stamps: &mut self.stamps,
            out: &mut self.out,
        };
        let done = act(peer, &mut self.hints, &mut env);
        self.deadlines.set(index, peer.poll_timeout());
        Some(done)
    }
}

#[cfg(test)]
mod tests;
