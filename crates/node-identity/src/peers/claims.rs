//! Overlapping claims: each certificate's ranges and addresses against all others'.

use std::collections::{BTreeMap, BTreeSet};

use super::{Conflict, Refused};
use crate::{CertificateSerial, NodeUid, VerifiedPeer, ranges::Interval};

/// What a claim is about; ranges conflict with ranges and addresses with addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    PodRange,
    Address,
}

struct Claim<'a> {
    kind: Kind,
    interval: Interval,
    at: usize,
    peer: &'a VerifiedPeer,
}

/// Refuses the older of each two overlapping claims, or both where they are of one age.
///
/// A claim counts even if its peer is refused for another reason: otherwise an older
/// certificate would get back a range that a newer one speaks of.
pub(super) fn refuse_overlaps(
    peers: &[VerifiedPeer],
    newest: &BTreeMap<NodeUid, usize>,
    refused: &mut Refused,
    conflicts: &mut BTreeSet<Conflict>,
) {
    let mut claims: Vec<Claim<'_>> = newest
        .values()
        .filter_map(|at| peers.get(*at).map(|peer| (*at, peer)))
        .flat_map(|(at, peer)| claims_of(at, peer))
        .collect();
    // The outer before the inner, so that the open ones below are those around the next.
    claims.sort_by_key(|claim| {
        let Interval {
            family,
            first,
            last,
        } = claim.interval;
        (claim.kind, family, first, std::cmp::Reverse(last), claim.at)
    });
    let mut open: Vec<&Claim<'_>> = Vec::new();
    for claim in &claims {
        // Prefixes are nested or disjoint: one that does not overlap the next is behind us.
        open.retain(|outer| outer.kind == claim.kind && outer.interval.overlaps(&claim.interval));
        for outer in &open {
            for (holder, loser) in [(outer, &claim), (&claim, outer)] {
                if holder.serial() >= loser.serial() {
                    refused.insert(loser.at);
                    conflicts.insert(conflict(holder, loser));
                }
            }
        }
        open.push(claim);
    }
}

impl Claim<'_> {
    fn serial(&self) -> CertificateSerial {
        self.peer.certificate().terms().serial
    }
}

fn claims_of(at: usize, peer: &VerifiedPeer) -> Vec<Claim<'_>> {
    let claim = |kind, interval| Claim {
        kind,
        interval,
        at,
        peer,
    };
    let terms = peer.certificate().terms();
    let ranges = terms.pod_ranges.iter();
    let addresses = terms.addresses.iter();
    ranges
        .map(|range| claim(Kind::PodRange, range.interval()))
        .chain(addresses.map(|address| claim(Kind::Address, Interval::of_address(*address))))
        .collect()
}

fn conflict(holder: &Claim<'_>, loser: &Claim<'_>) -> Conflict {
    let names = (
        holder.peer.identity().clone(),
        loser.peer.identity().clone(),
    );
    let ranges = &loser.peer.certificate().terms().pod_ranges;
    let range = ranges
        .iter()
        .find(|range| range.interval() == loser.interval);
    match range {
        Some(range) if loser.kind == Kind::PodRange => Conflict::PodRange {
            range: *range,
            holder: names.0,
            refused: names.1,
        },
        Some(_) | None => Conflict::Address {
            address: loser.interval.family.address(loser.interval.first),
            holder: names.0,
            refused: names.1,
        },
    }
}
