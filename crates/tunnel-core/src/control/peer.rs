//! One node among the peers: its generations, the pairs with ours, and what is sent under.

mod choice;
mod generations;
mod status;

use std::time::Duration;

use node_identity::{NodeName, NodeUid, VerifiedPeer};

use super::gate::PeerGate;
use super::generations::GenerationRank;
use super::outbox::ControlEvent;
use super::pair::{Env, Outcome, Pair, PairPeer, PairRank, Route};
use crate::agreement::{Ends, PairIs};
use crate::counters::Traffic;
use crate::hints::{HintBudget, LastSigns, PeerHints};
use crate::liveness::Liveness;
use crate::moment::Moment;
use crate::plane::{LaneCommand, LaneIndex, PeerIndex, TransportId};
use crate::session::DatagramRefusal;
use choice::Choice;
use generations::PeerGeneration;
pub use status::{PeerStatus, TransportStatus};

/// Wants of many peers at once are spread over this time.
const JITTER: Duration = Duration::from_secs(10);

/// A wish for a newer generation is looked at again after an agreement has had its time.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(90);

/// And after this time if an unconfirmed accept stood in its way, which then rests.
const ASK_AGAIN_SOON: Duration = Duration::from_secs(10);

/// What a want is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Something to send under: a packet, silence or a hint asks for it.
    Transport,
    /// The newest pair, for a peer that is being sent to under an older one.
    NewestPair,
}

/// One node.
pub(super) struct Peer {
    index: PeerIndex,
    uid: NodeUid,
    name: NodeName,
    /// Oldest first.
    generations: Vec<PeerGeneration>,
    /// Lowest rank first.
    pairs: Vec<Pair>,
    choice: Option<Choice>,
    liveness: Liveness,
    hints: PeerHints,
    gate: PeerGate,
    last: LastSigns,
    newest_pair_at: Option<Moment>,
    reconnect_at: Option<Moment>,
}

impl Peer {
    pub(super) fn new(index: PeerIndex, verified: &VerifiedPeer) -> Self {
        Self {
            index,
            uid: verified.identity().uid,
            name: verified.identity().name.clone(),
            generations: Vec::new(),
            pairs: Vec::new(),
            choice: None,
            liveness: Liveness::default(),
            hints: PeerHints::default(),
            gate: PeerGate::default(),
            last: LastSigns::default(),
            newest_pair_at: None,
            reconnect_at: None,
        }
    }

    pub(super) fn uid(&self) -> NodeUid {
        self.uid
    }

    pub(super) fn name(&self) -> &NodeName {
        &self.name
    }

    pub(super) fn is_gone(&self) -> bool {
        self.generations.is_empty()
    }

    /// The generations, oldest first.
    pub(super) fn generations(&self) -> impl DoubleEndedIterator<Item = &VerifiedPeer> {
        self.generations.iter().map(|it| &it.verified)
    }

    /// The daemon has restarted and spoke with this peer before.
    pub(super) fn reconnect(&mut self, env: &mut Env<'_>) {
        self.reconnect_at = Some(env.now + jitter(env));
    }

    pub(super) fn has_live(&self, now: Moment) -> bool {
        self.pairs.iter().any(|it| it.has_live(now))
    }

    /// Whether this peer has moved to a later own generation than this one, and nothing is left
    /// before. One that is behind may yet learn of this one, before it learns of its successors.
    pub(super) fn has_passed(&self, own: GenerationRank) -> bool {
        let mut before = self.pairs.iter().filter(|it| it.rank.own <= own);
        before.all(Pair::is_empty)
    }

    /// A transport is wanted.
    pub(super) fn want(&mut self, want: Want, env: &mut Env<'_>) {
        let Some(newest) = self.newest_pair(env) else {
            return;
        };
        let live = self.pairs.iter().filter(|it| it.has_live(env.now));
        let highest_live = live.map(|it| it.rank).max();
        let newest_lives = highest_live == Some(newest);
        for rank in self.allowed_pairs(env) {
            let wanted = match want {
                Want::Transport => rank == newest || !newest_lives,
                Want::NewestPair => highest_live.is_none_or(|live| rank > live),
            };
            if wanted {
                self.with_pair(rank, env, |pair, env| pair.want(env));
            }
        }
    }

    /// A lane has a packet for this peer and nothing to send under.
    pub(super) fn handle_lane_want(&mut self, env: &mut Env<'_>) {
        // Said before the lane had the newest choice.
        if self.choice.is_none_or(|it| it.is_old(env.now)) {
            self.want(Want::Transport, env);
        }
    }

    /// The transport in use has reached its limit: its own pair agrees on the next.
    pub(super) fn handle_rekey_due(&mut self, id: TransportId, env: &mut Env<'_>) {
        let Some(choice) = self.choice.filter(|it| it.id == id) else {
            return;
        };
        if self.pair_is(choice.pair, env) == PairIs::Allowed {
            self.with_pair(choice.pair, env, |pair, env| pair.want(env));
        }
    }

    pub(super) fn handle_first_opened(&mut self, rank: PairRank, id: TransportId, now: Moment) {
        self.last.opened = Some(now);
        if let Some(pair) = self.pairs.iter_mut().find(|it| it.rank == rank) {
            pair.handle_first_opened(id);
        }
    }

    pub(super) fn handle_unknown_index(&mut self, budget: &mut HintBudget, env: &mut Env<'_>) {
        if self.hints.unknown_index(self.last, budget, env.now) {
            self.want(Want::Transport, env);
        }
    }

    /// Takes in the lanes' counters.
    pub(super) fn handle_traffic(&mut self, traffic: Traffic, env: &mut Env<'_>) {
        let signs = self.liveness.sample(traffic, env.now);
        if signs.received {
            self.last.opened = Some(env.now);
        }
        if signs.show_life && self.choice.is_some() {
            let command = LaneCommand::SendEmpty(self.index);
            env.out.commands.push_back((LaneIndex(0), command));
        }
        if signs.want {
            self.want(Want::Transport, env);
        }
    }

    /// Takes in a datagram of a session of this peer, or one of its initiations.
    pub(super) fn handle_datagram(
        &mut self,
        rank: PairRank,
        datagram: &[u8],
        env: &mut Env<'_>,
    ) -> Result<(), DatagramRefusal> {
        let pair = self.pair_is(rank, env);
        let outcome = self.with_pair(rank, env, |it, env| it.handle_datagram(datagram, pair, env));
        outcome.refused.map_or(Ok(()), Err)
    }

    /// Takes in an initiation from one of this peer's generations to one of ours.
    pub(super) fn handle_initiation(
        &mut self,
        rank: PairRank,
        datagram: &[u8],
        env: &mut Env<'_>,
    ) -> Result<(), DatagramRefusal> {
        if !self.answers(rank.peer, env.now) {
            return Err(DatagramRefusal::Superseded);
        }
        if !self.gate.is_open(env.now) {
            return Err(DatagramRefusal::OverBudget);
        }
        self.handle_datagram(rank, datagram, env)
    }

    /// Lets time pass.
    pub(super) fn handle_timeout(&mut self, budget: &mut HintBudget, env: &mut Env<'_>) {
        let mut outcome = Outcome::default();
        for pair in &mut self.pairs {
            outcome.add(pair.handle_timeout(env));
        }
        outcome.rechoose |= self.choice.is_some_and(|it| it.is_over(env.now));
        self.settle(outcome, env);
        if self.hints.handle_timeout(self.last, budget, env.now) {
            self.want(Want::Transport, env);
        }
        if self.reconnect_at.take_if(|at| *at <= env.now).is_some() {
            self.want(Want::Transport, env);
        }
        if self.newest_pair_at.take_if(|at| *at <= env.now).is_some() {
            self.ask_for_newest_pair(env);
        }
        self.drop_drained(env);
    }

    pub(super) fn poll_timeout(&self) -> Option<(Moment, &'static str)> {
        let drain = self.generations.iter().filter_map(|it| it.drain_at).min();
        let own = [
            self.choice.map(|it| (it.until(), "stop sending")),
            self.hints.deadline().map(|it| (it, "believe a hint")),
            self.reconnect_at.map(|it| (it, "reconnect")),
            self.newest_pair_at
                .map(|it| (it, "move to the newest pair")),
            drain.map(|it| (it, "drain a superseded generation")),
        ];
        let pairs = self.pairs.iter().filter_map(Pair::poll_timeout);
        own.into_iter().flatten().chain(pairs).min_by_key(|it| it.0)
    }

    fn ask_for_newest_pair(&mut self, env: &mut Env<'_>) {
        let Some(newest) = self.newest_pair(env) else {
            return;
        };
        let find = |pairs: &[Pair]| pairs.iter().position(|it| it.rank == newest);
        let confirmed = find(&self.pairs)
            .and_then(|at| self.pairs.get(at))
            .is_some_and(|it| it.has_live(env.now));
        if confirmed || !self.has_live(env.now) {
            return;
        }
        self.want(Want::NewestPair, env);
        let agreeing = find(&self.pairs)
            .and_then(|at| self.pairs.get(at))
            .is_some_and(Pair::is_agreeing);
        let after = if agreeing {
            ASK_AGAIN_AFTER
        } else {
            ASK_AGAIN_SOON
        };
        self.newest_pair_at = Some(env.now + after + jitter(env));
    }

    fn newest_pair(&self, env: &Env<'_>) -> Option<PairRank> {
        // If the newest has ended, the one before it does not come back by itself.
        let newest = self.generations.last();
        Some(PairRank {
            peer: newest.filter(|it| it.superseded.is_none())?.rank,
            own: env.own.newest()?.rank,
        })
    }

    fn pair_is(&self, rank: PairRank, env: &Env<'_>) -> PairIs {
        let higher_lives = self
            .pairs
            .iter()
            .any(|it| it.rank > rank && it.has_live(env.now));
        let newest = self.newest_pair(env) == Some(rank);
        if newest || (!higher_lives && self.answers(rank.peer, env.now)) {
            PairIs::Allowed
        } else {
            PairIs::Superseded
        }
    }

    /// The pairs that a transport may be agreed under, highest first.
    fn allowed_pairs(&self, env: &Env<'_>) -> Vec<PairRank> {
        let own: Vec<_> = env.own.iter().map(|it| it.rank).collect();
        let peer = self.generations.iter().rev();
        peer.flat_map(|it| own.iter().map(|own| (it.rank, *own)))
            .map(|(peer, own)| PairRank { peer, own })
            .filter(|rank| self.pair_is(*rank, env) == PairIs::Allowed)
            .collect()
    }

    /// Lets a pair act, making it if need be, and settles what came of it.
    fn with_pair(
        &mut self,
        rank: PairRank,
        env: &mut Env<'_>,
        act: impl FnOnce(&mut Pair, &mut Env<'_>) -> Outcome,
    ) -> Outcome {
        let position = match self.pairs.binary_search_by_key(&rank, |it| it.rank) {
            Ok(position) => position,
            Err(position) => {
                let Some(pair) = self.new_pair(rank, env) else {
                    return Outcome::default();
                };
                self.pairs.insert(position, pair);
                position
            }
        };
        let Some(pair) = self.pairs.get_mut(position) else {
            return Outcome::default();
        };
        let outcome = act(pair, env);
        self.settle(outcome, env);
        outcome
    }

    fn new_pair(&self, rank: PairRank, env: &Env<'_>) -> Option<Pair> {
        let own = env.own.get(rank.own)?;
        let peer = self.generations.iter().find(|it| it.rank == rank.peer)?;
        let pair_peer = PairPeer {
            index: self.index,
            key: peer.verified.x25519(),
            route: route(&peer.verified, env),
        };
        let ends = Ends {
            own_statement: own.statement_hash,
            peer_statement: peer.verified.statement_hash(),
            own_key: own.key.public(),
            peer_key: peer.verified.x25519(),
            own_lanes: own.verified.statement().lanes,
            peer_lanes: peer.verified.statement().lanes,
            suites: env.settings.suites(),
        };
        Some(Pair::new(rank, pair_peer, ends))
    }

    fn settle(&mut self, outcome: Outcome, env: &mut Env<'_>) {
        if outcome.opened {
            self.last.opened = Some(env.now);
        }
        if outcome.confirmed {
            self.last.confirmed = Some(env.now);
        }
        if outcome.responded {
            self.gate.charge(env.now);
        }
        if outcome.refused == Some(DatagramRefusal::StaleTimestamp) {
            self.hints.stale_timestamp(self.last, env.now);
        }
        if outcome.gave_up {
            env.out.event(ControlEvent::AgreementGivenUp {
                peer: self.index,
                name: self.name.clone(),
            });
        }
        if outcome.rechoose {
            self.choose(env);
        }
    }
}

/// The first endpoint of the peer, in its order of preference, whose family we have too.
fn route(peer: &VerifiedPeer, env: &Env<'_>) -> Option<Route> {
    let statement = peer.statement();
    statement.endpoints.iter().find_map(|destination| {
        Some(Route {
            source: env.own.source_for(*destination)?,
            destination: *destination,
            base_port: statement.base_port,
            lanes: statement.lanes,
        })
    })
}

fn jitter(env: &mut Env<'_>) -> Duration {
    JITTER.mul_f64(f64::from(env.rng.next_u32()) / f64::from(u32::MAX))
}
