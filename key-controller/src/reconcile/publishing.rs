//! Publishes what the ledger says and the store lacks.

use std::collections::{BTreeMap, BTreeSet};

use cluster_store::{ClusterStore, Published, PublishedNode, PublishedRoot, StoreError};
use node_identity::{NodeUid, RevocationList, UnixTime};
use tracing::{error, info};

use super::{Controller, Settled, StepError};
use crate::ledger::{Ledger, NodeRecord};
use crate::revocations;
use crate::signer::SignerError;

/// How many nodes or requests may fail before the store as a whole is taken to be away (a guess).
pub(super) const MOST_FAILED: usize = 8;

/// The nodes whose objects could not be written.
#[derive(Debug, Default)]
pub(super) struct Unpublished {
    nodes: BTreeSet<NodeUid>,
    first: Option<StoreError>,
}

impl Unpublished {
    /// Whether that node is among them.
    pub(super) fn contains(&self, uid: &NodeUid) -> bool {
        self.nodes.contains(uid)
    }

    /// The error of the first, if there is any.
    pub(super) fn into_error(self) -> Option<StoreError> {
        self.first
    }

    fn is_done(
        &mut self,
        uid: &NodeUid,
        outcome: Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let Err(error) = outcome else {
            return Ok(true);
        };
        if self.nodes.len() >= MOST_FAILED {
            return Err(error);
        }
        self.nodes.insert(*uid);
        self.first.get_or_insert(error);
        Ok(false)
    }
}

impl<S: ClusterStore> Controller<S> {
    /// Publishes what is missing or differs, and takes away what belongs to revoked nodes. What
    /// proves the ledger old stays as it is. A node whose object refuses does not keep the others
    /// out: it is named in what comes back.
    pub(super) async fn publish(
        &mut self,
        settled: &Settled<'_>,
        found: &Published,
        signed: Option<&RevocationList>,
        now: UnixTime,
    ) -> Result<Unpublished, StepError> {
        let mut unpublished = Unpublished::default();
        let ledger = &settled.ledger;
        self.publish_root(ledger, found, signed).await?;
        self.signed.retain(|uid, _| ledger.nodes.contains_key(uid));
        self.withdrawn.retain(|uid| ledger.nodes.contains_key(uid));
        let newer = settled.evidence.nodes();
        let by_uid = by_uid(found);
        let known = ledger.nodes.iter().filter(|(uid, _)| !newer.contains(uid));
        for (uid, node) in known {
            let filed = by_uid.get(uid).into_iter().flatten();
            let mut there = filed.filter(|there| there.may_be(uid, &node.name));
            if node.revoked_until.is_some() {
                // What stands under a name goes with its Node, which the store looks after.
                if there.any(|there| !there.is_empty() || there.name.is_some()) {
                    let withdrawn = self.store.withdraw_node(uid, &node.name).await;
                    if !unpublished.is_done(uid, withdrawn)? {
                        continue;
                    }
                    // Its daemon may publish its own envelopes as long as it runs.
                    if self.withdrawn.insert(*uid) {
                        info!(%uid, node = %node.name, "Revoked node taken out of the store");
                    }
                }
            } else if now <= node.not_after {
                let wanted = match self.certificate(uid, node) {
                    Ok(wanted) => wanted,
                    Err(error) => {
                        error!(%uid, node = %node.name, %error, "Certificate not signed");
                        continue;
                    }
                };
                if !there.any(|there| there.certificate.as_ref() == Some(&wanted)) {
                    let published = self.store.publish_certificate(uid, &wanted).await;
                    if !unpublished.is_done(uid, published)? {
                        continue;
                    }
                    info!(%uid, node = %node.name, serial = %node.serial, "Certificate published");
                }
            }
        }
        Ok(unpublished)
    }

    async fn publish_root(
        &self,
        ledger: &Ledger,
        found: &Published,
        signed: Option<&RevocationList>,
    ) -> Result<(), StepError> {
        let mut list = revocations::list(ledger);
        if let Some(signed) = signed {
            list.entries.extend(revocations::missing(ledger, signed));
        }
        let root = PublishedRoot {
            pin: ledger.pin,
            certificate: Some(self.signer.root_certificate()),
            revocations: Some(self.signer.revocation_list(&list)),
        };
        if !found.roots.contains(&root) {
            self.store.publish_root(&root).await?;
            info!(
                number = ledger.revocations.number,
                "Root and revocation list published"
            );
        }
        Ok(())
    }

    /// The node's newest certificate. Signing is deterministic: what was signed once is kept.
    pub(super) fn certificate(
        &mut self,
        uid: &NodeUid,
        node: &NodeRecord,
    ) -> Result<Vec<u8>, SignerError> {
        let kept = self.signed.get(uid).filter(|(record, _)| record == node);
        if let Some((_, certificate)) = kept {
            return Ok(certificate.clone());
        }
        let certificate = self.signer.certificate(uid, node)?;
        self.signed
            .insert(*uid, (node.clone(), certificate.clone()));
        Ok(certificate)
    }

    /// The certificate that was published a moment ago; empty when it could not be signed, which
    /// was said then.
    pub(super) fn newest_certificate(&mut self, ledger: &Ledger, uid: &NodeUid) -> Vec<u8> {
        let Some(node) = ledger.nodes.get(uid) else {
            return Vec::new();
        };
        self.certificate(uid, node).unwrap_or_default()
    }
}

/// Everything that claims a UID, so that the whole ledger is compared in one pass.
fn by_uid(found: &Published) -> BTreeMap<NodeUid, Vec<&PublishedNode>> {
    let mut by_uid: BTreeMap<NodeUid, Vec<&PublishedNode>> = BTreeMap::new();
    for node in &found.nodes {
        by_uid.entry(node.uid).or_default().push(node);
    }
    by_uid
}
