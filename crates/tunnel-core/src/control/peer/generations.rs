//! The generations of one node: how they come, supersede each other, and end.

use std::time::Duration;

use node_identity::{Revocations, UnixTime, VerifiedPeer};

use super::{Peer, jitter, route};
use crate::control::generations::GenerationRank;
use crate::control::outbox::{ControlEvent, PeerEnd};
use crate::control::pair::{Env, Outcome, Pair, PairRank};
use crate::moment::Moment;

/// A peer's superseded generation is agreed under for so long: the peer may not have switched yet.
const OVERLAP: Duration = Duration::from_secs(60);

/// A generation of the peer.
pub(super) struct PeerGeneration {
    pub(super) rank: GenerationRank,
    pub(super) verified: VerifiedPeer,
    pub(super) superseded: Option<Moment>,
    /// When it begins to be looked at whether nothing hangs on it any more.
    pub(super) drain_at: Option<Moment>,
}

impl Peer {
    /// Takes in what the admitted set says of this node.
    pub(in crate::control) fn handle_admitted(
        &mut self,
        admitted: &[VerifiedPeer],
        env: &mut Env<'_>,
    ) {
        let newest = admitted.iter().map(GenerationRank::of).max();
        let gone: Vec<_> = self
            .generations
            .iter()
            .filter(|it| !admitted.contains(&it.verified))
            .filter(|it| newest.is_none_or(|newest| it.rank >= newest))
            .map(|it| it.rank)
            .collect();
        for rank in gone {
            self.end_generation(rank, PeerEnd::NotAdmitted, env);
        }
        for verified in admitted {
            self.add_generation(verified, env);
        }
        let newest = self.generations.last().map(|it| it.rank);
        for generation in &mut self.generations {
            if Some(generation.rank) == newest {
                generation.superseded = None;
                generation.drain_at = None;
            } else if generation.superseded.is_none() {
                generation.superseded = Some(env.now);
                generation.drain_at = Some(env.now + OVERLAP);
            }
        }
    }

    fn add_generation(&mut self, verified: &VerifiedPeer, env: &mut Env<'_>) {
        let rank = GenerationRank::of(verified);
        if self.generations.iter().any(|it| it.rank == rank) {
            return;
        }
        let identity = verified.identity().clone();
        let own_key = env
            .own
            .iter()
            .any(|it| it.key.public() == verified.x25519());
        if own_key {
            env.out.event(ControlEvent::PeerKeyRefused { identity });
            return;
        }
        self.generations.push(PeerGeneration {
            rank,
            verified: verified.clone(),
            superseded: None,
            drain_at: None,
        });
        self.generations.sort_by_key(|it| it.rank);
        env.out.event(ControlEvent::PeerAdded {
            peer: self.index,
            identity,
            generation: rank,
        });
        if env.own.newest().is_some() && route(verified, env).is_none() {
            env.out.event(ControlEvent::NoCommonFamily {
                peer: self.index,
                name: self.name.clone(),
            });
        }
        self.newer_generation(env);
    }

    /// A newer generation is known, own or the peer's: a peer that is being spoken with moves to it.
    pub(in crate::control) fn newer_generation(&mut self, env: &mut Env<'_>) {
        for pair in &mut self.pairs {
            let mut generations = self.generations.iter();
            if let Some(peer) = generations.find(|it| it.rank == pair.rank.peer) {
                pair.set_route(route(&peer.verified, env));
            }
        }
        if self.has_live(env.now) {
            self.newest_pair_at = Some(env.now + jitter(env));
        }
    }

    /// Ends what has run out or is revoked.
    pub(in crate::control) fn end_where(
        &mut self,
        reason: PeerEnd,
        is_over: impl Fn(&VerifiedPeer) -> bool,
        env: &mut Env<'_>,
    ) {
        let over = self.generations.iter().filter(|it| is_over(&it.verified));
        let over: Vec<_> = over.map(|it| it.rank).collect();
        for rank in over {
            self.end_generation(rank, reason, env);
        }
    }

    pub(in crate::control) fn end_expired(&mut self, judged: UnixTime, env: &mut Env<'_>) {
        self.end_where(PeerEnd::Expired, |it| it.is_expired(judged), env);
    }

    pub(in crate::control) fn end_revoked(&mut self, revocations: &Revocations, env: &mut Env<'_>) {
        self.end_where(PeerEnd::Revoked, |it| it.is_revoked(revocations), env);
    }

    /// An own generation is retired.
    pub(in crate::control) fn end_own(&mut self, own: GenerationRank, env: &mut Env<'_>) {
        self.end_pairs(|rank| rank.own == own, env);
    }

    /// Ends everything with this peer but who it is.
    pub(in crate::control) fn end_all_pairs(&mut self, env: &mut Env<'_>) {
        self.end_pairs(|_| true, env);
    }

    fn end_generation(&mut self, rank: GenerationRank, reason: PeerEnd, env: &mut Env<'_>) {
        self.end_pairs(|pair| pair.peer == rank, env);
        self.generations.retain(|it| it.rank != rank);
        env.out.event(ControlEvent::PeerGenerationEnded {
            peer: self.index,
            name: self.name.clone(),
            generation: rank,
            reason,
        });
    }

    fn end_pairs(&mut self, ends: impl Fn(PairRank) -> bool, env: &mut Env<'_>) {
        let mut outcome = Outcome::default();
        for pair in self.pairs.iter_mut().filter(|it| ends(it.rank)) {
            outcome.add(pair.end(env));
        }
        self.pairs.retain(|it| !ends(it.rank));
        self.settle(outcome, env);
    }

    /// Superseded generations that nothing hangs on any more go.
    pub(super) fn drop_drained(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        for generation in &mut self.generations {
            generation.drain_at.take_if(|at| *at <= now);
        }
        let drained: Vec<_> = self
            .generations
            .iter()
            .filter(|it| !self.answers(it.rank, now))
            .map(|it| it.rank)
            .filter(|rank| {
                let mut pairs = self.pairs.iter().filter(|it| it.rank.peer == *rank);
                pairs.all(Pair::is_empty)
            })
            .collect();
        for rank in drained {
            self.end_generation(rank, PeerEnd::Superseded, env);
        }
    }

    /// Whether a generation of the peer may still begin anything.
    pub(super) fn answers(&self, rank: GenerationRank, now: Moment) -> bool {
        let generation = self.generations.iter().find(|it| it.rank == rank);
        generation.is_some_and(|it| {
            it.superseded
                .is_none_or(|since| now.duration_since(since) < OVERLAP)
        })
    }
}
