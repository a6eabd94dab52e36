//! What one daemon believes: it verifies everything that it is shown, as `sotto-node` does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_store::Published;
use nix::time::{ClockId, clock_gettime};
use node_identity::{
    Envelope, Floor, NodeCertificate, NodeUid, Pin, Revocations, RootCertificate,
    SignedRevocationList, TrustedRoots, UnixTime, VerifiedPeer,
};

use super::board::{Board, Heard, Spent};

/// One daemon's beliefs.
pub(super) struct Judge {
    own: NodeUid,
    pin: Pin,
    roots: TrustedRoots,
    revocations: Revocations,
    floor: Floor,
    believed: HashMap<NodeUid, (Vec<u8>, VerifiedPeer)>,
    certificate: Option<Vec<u8>>,
    board: Arc<Board>,
}

impl Judge {
    pub(super) fn new(own: NodeUid, pin: Pin, board: Arc<Board>) -> Self {
        Self {
            own,
            pin,
            roots: TrustedRoots::default(),
            revocations: Revocations::default(),
            floor: Floor::default(),
            believed: HashMap::new(),
            certificate: None,
            board,
        }
    }

    /// How many others are believed.
    pub(super) fn peers(&self) -> usize {
        self.believed.len()
    }

    /// Takes in what is published; returns a new certificate of its own.
    pub(super) fn absorb(&mut self, published: &Published) -> Option<NodeCertificate> {
        self.learn_roots(published);
        let mut own = None;
        for node in &published.nodes {
            if node.uid == self.own {
                if node.certificate != self.certificate {
                    self.certificate.clone_from(&node.certificate);
                    let der = node.certificate.as_deref();
                    own = der.and_then(|der| NodeCertificate::from_der(der).ok());
                }
            } else if let Some(der) = node.envelopes.first() {
                self.learn(node.uid, der);
            }
        }
        own
    }

    fn learn_roots(&mut self, published: &Published) {
        for root in published.roots.iter().filter(|root| root.pin == self.pin) {
            if self.roots.is_empty()
                && let Some(der) = &root.certificate
                && let Ok(certificate) = RootCertificate::from_der(der)
            {
                self.roots = TrustedRoots::new(&[self.pin], [certificate]);
            }
            let list = root.revocations.as_deref();
            let list = list.and_then(|der| SignedRevocationList::from_der(der).ok());
            if let Some(list) = list.and_then(|list| list.verify(&self.roots).ok()) {
                // An older list than the one that is known is refused; that is no news here.
                let _ = self.revocations.accept(&list);
            }
        }
    }

    fn learn(&mut self, uid: NodeUid, der: &[u8]) {
        let known = self.believed.get(&uid);
        if self.roots.is_empty() || known.is_some_and(|(bytes, _)| bytes == der) {
            return;
        }
        let before = processor_time();
        let envelope = Envelope::from_der(der);
        let read = processor_time();
        let verified = envelope
            .map_err(|error| error.to_string())
            .and_then(|envelope| {
                let (roots, revocations) = (&self.roots, &self.revocations);
                let verified = envelope.verify(roots, revocations, &self.floor, now());
                verified.map_err(|error| error.to_string())
            });
        let spent = Spent {
            reading: read.saturating_sub(before),
            verifying: processor_time().saturating_sub(read),
        };
        match verified {
            Ok(peer) => {
                self.floor.observe(&peer);
                let heard = Heard {
                    uid,
                    generation: peer.statement().generation,
                    at: Instant::now(),
                };
                let is_first = self.believed.insert(uid, (der.to_vec(), peer)).is_none();
                self.board.believed(heard, is_first, spent);
            }
            Err(error) => self.board.fault(format!("verify: {error}")),
        }
    }
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

pub(super) fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.unwrap_or_default().as_secs())
}
