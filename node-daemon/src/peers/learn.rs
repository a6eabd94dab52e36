//! Takes in, one by one, what the store shows, and says of each thing why it is not believed.

use std::collections::{BTreeMap, HashMap};

use cluster_store::{PublishedNode, PublishedRoot};
use node_identity::{
    Envelope, FloorError, NodeUid, RootCertificate, SignedRevocationList, TrustedRoots, UnixTime,
    VerifiedPeer, VerifyError,
};
use service_log::chain;
use sha2::{Digest, Sha256};
use tracing::{error, info};

use super::{Learned, Peers, Refused, Severity};

impl Peers {
    pub(super) fn learn_roots(
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

    pub(super) fn learn_revocations(
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
    /// nothing is current is. Of this node the store shows only older ones after a start with a new
    /// generation.
    pub(super) fn learn_node(
        &mut self,
        node: &PublishedNode,
        now: UnixTime,
        known: &HashMap<Hash, Fault>,
        learned: &mut Learned,
        refused: &mut BTreeMap<String, Refused>,
    ) {
        let mut faults = Vec::new();
        let mut current = false;
        for der in &node.envelopes {
            if self.is_believed(&node.uid, der) {
                current = true;
                continue;
            }
            let hash = Sha256::digest(der).into();
            let outcome = match known.get(&hash) {
                Some(fault) => Err(fault.clone()),
                None => self.learn_envelope(der, now, learned),
            };
            match outcome {
                Ok(()) => current = true,
                Err(fault) => {
                    self.faults.keep(hash, &fault);
                    faults.push(fault);
                }
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

    /// Each change in the store shows all nodes again: writing what is believed costs a hundredth of
    /// reading what is shown, which has points of a curve in it.
    fn is_believed(&self, uid: &NodeUid, der: &[u8]) -> bool {
        let known = self.believed.get(uid);
        known.is_some_and(|known| known.envelope().to_der() == der)
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
        let verified = envelope.verify(&self.roots, &self.revocations, &self.floor, now);
        let peer = match verified {
            Ok(peer) => peer,
            Err(error) if is_superseded(&error) && self.is_own(&envelope) => return Ok(()),
            Err(error) => return Err(Fault::refused(&envelope, &error)),
        };
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

    fn is_own(&self, envelope: &Envelope) -> bool {
        let statement = envelope.statement();
        statement.identity.uid == self.own.uid && statement.identity_key_hash == self.own.key
    }

    fn believe(&mut self, peer: VerifiedPeer, learned: &mut Learned) {
        let uid = peer.identity().uid;
        let generation = peer.statement().generation;
        self.floor.observe(&peer);
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
}

/// SHA-256 of an envelope.
type Hash = [u8; 32];

/// Why one envelope is not believed.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    name: Option<String>,
    pub(super) refused: Refused,
    superseded: bool,
    /// Whether time alone may mend it.
    may_pass: bool,
}

/// What is wrong with the envelopes that the store shows: each of its changes shows them all again,
/// and whoever fills it with what does not hold must not have all that verified each time.
#[derive(Debug, Default)]
pub(super) struct Faults {
    at: UnixTime,
    pub(super) kept: HashMap<Hash, Fault>,
}

impl Faults {
    /// Begins anew; gives what counts of before, which is nothing after the clock was set back or with
    /// another root.
    pub(super) fn begin(&mut self, now: UnixTime, new_root: bool) -> HashMap<Hash, Fault> {
        let counts = now >= self.at && !new_root;
        self.at = now;
        let before = std::mem::take(&mut self.kept);
        if counts { before } else { HashMap::new() }
    }

    fn keep(&mut self, hash: Hash, fault: &Fault) {
        if !fault.may_pass {
            self.kept.insert(hash, fault.clone());
        }
    }
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
            may_pass: false,
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
            superseded: is_superseded(error),
            may_pass: matches!(
                error,
                VerifyError::NotYetValid { .. } | VerifyError::RootDates(_)
            ),
        }
    }
}

fn is_superseded(error: &VerifyError) -> bool {
    matches!(
        error,
        VerifyError::Floor {
            source: FloorError::Superseded { .. },
            ..
        }
    )
}

/// Several faults of one name are told together.
pub(super) fn note(
    refused: &mut BTreeMap<String, Refused>,
    name: String,
    reason: String,
    severity: Severity,
) {
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
