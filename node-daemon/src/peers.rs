//! Who is believed: the verified set, and why others are not in it.
//!
//! What the store shows is only ever added: an empty or shrinking list removes nobody. A peer goes
//! when it is revoked, replaced by its own newer envelope, or expired. Pure; `peers/disk.rs` keeps the
//! set over a restart.

pub(crate) mod disk;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cluster_store::{Published, PublishedNode, PublishedRoot};
use node_identity::{
    Conflict, Envelope, Floor, FloorError, Generation, IkHash, NodeUid, Pin, PodRanges,
    Revocations, RootCertificate, SignedRevocationList, TrustedRoots, UnixTime, VerifiedPeer,
    VerifyError, admit,
};
use tracing::{error, info, warn};

/// The verified set.
#[derive(Debug)]
pub(crate) struct Peers {
    own: Own,
    pins: Vec<Pin>,
    cluster: PodRanges,
    roots: TrustedRoots,
    revocations: Revocations,
    floor: Floor,
    believed: BTreeMap<NodeUid, VerifiedPeer>,
    refused: BTreeMap<String, Refused>,
    conflicts: Vec<Conflict>,
}

/// This node, which is nobody's peer but takes part in the question who has which range.
#[derive(Debug)]
struct Own {
    uid: NodeUid,
    key: IkHash,
    peer: Option<VerifiedPeer>,
    published: Option<Generation>,
}

/// Why somebody, or some entry of the store, is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    reason: String,
    severity: Severity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// Odd, but the network goes on.
    Warning,
    /// Somebody with a key signs what no honest node would.
    Alarm,
}

/// What changed, to be put on disk before anybody acts on it.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// Somebody joined, changed or left the believed.
    pub(crate) set: bool,
    /// The floor rose.
    pub(crate) floor: bool,
    /// Revocations were added.
    pub(crate) revocations: bool,
    /// New root certificates.
    pub(crate) roots: Vec<Pin>,
    /// Whose envelope is new.
    pub(crate) envelopes: BTreeSet<NodeUid>,
    /// Who is believed no more.
    pub(crate) gone: BTreeSet<NodeUid>,
}

impl Learned {
    /// Adds what was learned later.
    pub(crate) fn merge(&mut self, later: Self) {
        self.set |= later.set;
        self.floor |= later.floor;
        self.revocations |= later.revocations;
        self.roots.extend(later.roots);
        for uid in &later.gone {
            self.envelopes.remove(uid);
        }
        for uid in &later.envelopes {
            self.gone.remove(uid);
        }
        self.envelopes.extend(later.envelopes);
        self.gone.extend(later.gone);
    }
}

impl Peers {
    /// A set of nobody, with what an earlier daemon remembered.
    pub(crate) fn new(
        own: NodeUid,
        key: IkHash,
        pins: &[Pin],
        cluster: &PodRanges,
        floor: Floor,
        revocations: Revocations,
    ) -> Self {
        Self {
            own: Own {
                uid: own,
                key,
                peer: None,
                published: None,
            },
            pins: pins.to_vec(),
            cluster: cluster.clone(),
            roots: TrustedRoots::new(pins, []).within(cluster.clone()),
            revocations,
            floor,
            believed: BTreeMap::new(),
            refused: BTreeMap::new(),
            conflicts: Vec::new(),
        }
    }

    /// Takes in what the store, or the disk, shows.
    pub(crate) fn absorb(&mut self, published: &Published, now: UnixTime) -> Learned {
        let mut learned = Learned::default();
        let mut refused = BTreeMap::new();
        for entry in &published.refused {
            note(
                &mut refused,
                entry.name.clone(),
                entry.reason.to_string(),
                Severity::Warning,
            );
        }
        self.learn_roots(&published.roots, &mut learned, &mut refused);
        for root in &published.roots {
            self.learn_revocations(root, &mut learned, &mut refused);
        }
        for node in &published.nodes {
            self.learn_node(node, now, &mut learned, &mut refused);
        }
        self.drop_dead(now, &mut learned);
        self.say_refused(refused);
        learned
    }

    /// Lets those go whose time is over.
    pub(crate) fn expire(&mut self, now: UnixTime) -> Learned {
        let mut learned = Learned::default();
        self.drop_dead(now, &mut learned);
        learned
    }

    /// Judges this node's own envelope as its peers will.
    ///
    /// # Errors
    /// What its peers would say.
    pub(crate) fn judge_own(
        &self,
        envelope: &Envelope,
        now: UnixTime,
    ) -> Result<VerifiedPeer, VerifyError> {
        envelope.verify(&self.roots, &self.revocations, &self.floor, now)
    }

    /// Makes this node's own claims count against others'.
    pub(crate) fn set_own(&mut self, own: VerifiedPeer) -> Learned {
        self.floor.observe(&own);
        self.own.peer = Some(own);
        Learned {
            set: true,
            floor: true,
            ..Learned::default()
        }
    }

    /// The highest generation of this node that the store ever showed.
    pub(crate) fn own_published(&self) -> Option<Generation> {
        self.own.published
    }

    /// Who may be used: a function of the set, not of the order in which it came.
    pub(crate) fn admitted(&mut self) -> Vec<VerifiedPeer> {
        let everybody = self
            .believed
            .values()
            .chain(&self.own.peer)
            .cloned()
            .collect();
        let mut admission = admit(everybody);
        for conflict in &admission.conflicts {
            if self.conflicts.contains(conflict) {
                continue;
            }
            if conflict.is_alarm() {
                error!(%conflict, "Peers' claims contradict each other: one key is in two hands");
            } else {
                warn!(%conflict, "Peers' claims overlap");
            }
        }
        self.conflicts = admission.conflicts;
        admission
            .peers
            .retain(|peer| peer.identity().uid != self.own.uid);
        admission.peers
    }

    /// Who is not believed, and why, by name.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        self.refused
            .iter()
            .map(|(name, refused)| (name.as_str(), refused.reason.as_str()))
    }

    /// What stands between verified peers.
    pub(crate) fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// The verified envelope of a node.
    pub(crate) fn believed(&self, uid: &NodeUid) -> Option<&VerifiedPeer> {
        self.believed.get(uid)
    }

    /// Everything that was ever revoked.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The time by which certificates end: a clock that was set back revives nobody.
    pub(crate) fn expiry_clock(&self, now: UnixTime) -> UnixTime {
        self.floor.expiry_clock(now)
    }

    /// Whether any root certificate that hashes to a pin is known.
    pub(crate) fn has_root(&self) -> bool {
        !self.roots.is_empty()
    }

    /// The pins whose revocation list is overdue.
    pub(crate) fn overdue(&self, now: UnixTime) -> Vec<Pin> {
        self.revocations.overdue(&self.roots, now)
    }

    fn learn_roots(
        &mut self,
        published: &[PublishedRoot],
        learned: &mut Learned,
        refused: &mut BTreeMap<String, Refused>,
    ) {
        let mut candidates: Vec<RootCertificate> = self.roots.iter().cloned().collect();
        for root in published {
            let Some(der) = &root.certificate else {
                continue;
            };
            match RootCertificate::from_der(der) {
                Ok(certificate) if self.roots.contains(&certificate.pin()) => {}
                Ok(certificate) if self.pins.contains(&certificate.pin()) => {
                    info!(pin = %certificate.pin(), "Root certificate found");
                    learned.roots.push(certificate.pin());
                    candidates.push(certificate);
                }
                Ok(_) => note(
                    refused,
                    format!("root {}", root.pin),
                    "its hash is none of pins".to_owned(),
                    Severity::Warning,
                ),
                Err(error) => note(
                    refused,
                    format!("root {}", root.pin),
                    chain(&error),
                    Severity::Warning,
                ),
            }
        }
        if !learned.roots.is_empty() {
            self.roots = TrustedRoots::new(&self.pins, candidates).within(self.cluster.clone());
        }
    }

    fn learn_revocations(
        &mut self,
        root: &PublishedRoot,
        learned: &mut Learned,
        refused: &mut BTreeMap<String, Refused>,
    ) {
        let Some(der) = &root.revocations else { return };
        let verified =
            SignedRevocationList::from_der(der).and_then(|signed| signed.verify(&self.roots));
        let before = self.revocations.clone();
        match verified.and_then(|list| self.revocations.accept(&list)) {
            Ok(()) => learned.revocations |= self.revocations != before,
            Err(error) => {
                let severity = if error.is_alarm() {
                    Severity::Alarm
                } else {
                    Severity::Warning
                };
                note(
                    refused,
                    format!("revocations of {}", root.pin),
                    chain(&error),
                    severity,
                );
            }
        }
    }

    /// A node shows its newest envelope and often the one before. The older is no news; a node of which
    /// nothing is current is.
    fn learn_node(
        &mut self,
        node: &PublishedNode,
        now: UnixTime,
        learned: &mut Learned,
        refused: &mut BTreeMap<String, Refused>,
    ) {
        let mut faults = Vec::new();
        let mut current = false;
        for der in &node.envelopes {
            match self.learn_envelope(der, now, learned) {
                Ok(()) => current = true,
                Err(fault) => faults.push(fault),
            }
        }
        for fault in faults {
            if current && fault.superseded {
                continue;
            }
            let name = fault.name.unwrap_or_else(|| self.name_of(&node.uid));
            note(refused, name, fault.refused.reason, fault.refused.severity);
        }
    }

    fn learn_envelope(
        &mut self,
        der: &[u8],
        now: UnixTime,
        learned: &mut Learned,
    ) -> Result<(), Fault> {
        let envelope = Envelope::from_der(der).map_err(|error| Fault::malformed(&error))?;
        let known = self.believed.get(&envelope.statement().identity.uid);
        if known.is_some_and(|known| *known.envelope() == envelope) {
            return Ok(());
        }
        let peer = envelope
            .verify(&self.roots, &self.revocations, &self.floor, now)
            .map_err(|error| Fault::refused(&envelope, &error))?;
        if peer.identity().uid == self.own.uid {
            self.learn_own(&peer);
            return Ok(());
        }
        let place = |peer: &VerifiedPeer| {
            (
                peer.statement().certificate_serial,
                peer.statement().generation,
            )
        };
        if known.is_some_and(|known| place(known) >= place(&peer)) {
            return Ok(());
        }
        self.believe(peer, learned);
        Ok(())
    }

    fn believe(&mut self, peer: VerifiedPeer, learned: &mut Learned) {
        let uid = peer.identity().uid;
        let generation = peer.statement().generation;
        self.floor.observe(&peer);
        learned.floor = true;
        learned.set = true;
        learned.envelopes.insert(uid);
        let name = peer.identity().name.clone();
        let ranges = peer.pod_ranges().to_string();
        match self.believed.insert(uid, peer) {
            None => info!(node = %name, pods = ranges, %generation, "Peer verified"),
            Some(_) => info!(node = %name, pods = ranges, %generation, "Peer has a new generation"),
        }
    }

    fn learn_own(&mut self, shown: &VerifiedPeer) {
        if shown.statement().identity_key_hash != self.own.key {
            error!(key = %shown.statement().identity_key_hash, "Another identity key is certified as this node: is it running twice?");
            return;
        }
        self.own.published = self.own.published.max(Some(shown.statement().generation));
    }

    fn drop_dead(&mut self, now: UnixTime, learned: &mut Learned) {
        let clock = self.floor.expiry_clock(now);
        let dead = self.believed.extract_if(.., |_, peer| {
            peer.is_revoked(&self.revocations) || peer.is_expired(clock)
        });
        for (uid, peer) in dead {
            let reason = if peer.is_expired(clock) {
                "its certificate ended"
            } else {
                "it is revoked"
            };
            warn!(node = %peer.identity().name, reason, "Peer dropped");
            learned.set = true;
            learned.envelopes.remove(&uid);
            learned.gone.insert(uid);
        }
    }

    fn name_of(&self, uid: &NodeUid) -> String {
        self.believed
            .get(uid)
            .map_or_else(|| uid.to_string(), |peer| peer.identity().name.to_string())
    }

    /// Says each refusal once, and again only when its reason changes.
    fn say_refused(&mut self, refused: BTreeMap<String, Refused>) {
        for (node, said) in &refused {
            if self.refused.get(node) == Some(said) {
                continue;
            }
            match said.severity {
                Severity::Warning => warn!(node, reason = said.reason, "Peer refused"),
                Severity::Alarm => error!(
                    node,
                    reason = said.reason,
                    "Peer refused: a key is in two hands"
                ),
            }
        }
        self.refused = refused;
    }
}

/// Why one envelope is not believed.
struct Fault {
    name: Option<String>,
    refused: Refused,
    superseded: bool,
}

impl Fault {
    fn malformed(error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            name: None,
            refused: Refused {
                reason: chain(error),
                severity: Severity::Warning,
            },
            superseded: false,
        }
    }

    fn refused(envelope: &Envelope, error: &VerifyError) -> Self {
        let severity = if error.is_alarm() {
            Severity::Alarm
        } else {
            Severity::Warning
        };
        Self {
            name: Some(envelope.statement().identity.name.to_string()),
            refused: Refused {
                reason: chain(error),
                severity,
            },
            superseded: matches!(
                error,
                VerifyError::Floor {
                    source: FloorError::Superseded { .. },
                    ..
                }
            ),
        }
    }
}

/// Several faults of one name are told together.
fn note(refused: &mut BTreeMap<String, Refused>, name: String, reason: String, severity: Severity) {
    match refused.get_mut(&name) {
        None => drop(refused.insert(name, Refused { reason, severity })),
        Some(known) if known.reason.contains(&reason) => {}
        Some(known) => {
            known.reason = format!("{}; {reason}", known.reason);
            if severity == Severity::Alarm {
                known.severity = severity;
            }
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
