//! Publishes what the ledger says and the store lacks: first what is revoked, which peers wait for.

use std::collections::{BTreeMap, BTreeSet};

use cluster_store::{ClusterStore, Published, PublishedNode, PublishedRoot, StoreError};
use node_identity::{NodeName, NodeUid, RevocationList, UnixTime};
use tracing::{error, info};

use super::settling::Settled;
use super::writes::{Written, write_all};
use super::{Controller, StepError};
use crate::ledger::{Ledger, NodeRecord};
use crate::revocations;
use crate::signer::SignerError;

/// What came of publishing.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// The nodes whose certificate is not published.
    pub(super) unpublished: BTreeSet<NodeUid>,
    /// The first error of the store as a whole.
    pub(super) failed: Option<StoreError>,
    /// Whether anything was written.
    pub(super) has_written: bool,
}

/// What nodes lack.
#[derive(Default)]
struct Lacking {
    /// Revoked ones of which something stands.
    withdrawals: Vec<(NodeUid, NodeName)>,
    /// Those whose newest certificate does not stand, with it.
    certificates: Vec<(NodeUid, Vec<u8>)>,
}

impl<S: ClusterStore> Controller<S> {
    /// Publishes what is missing or differs, and takes away what belongs to revoked nodes. What
    /// proves the ledger old stays as it is. A node whose object refuses keeps nobody else out.
    pub(super) async fn publish(
        &mut self,
        settled: &Settled<'_>,
        found: &Published,
        signed: Option<&RevocationList>,
        now: UnixTime,
    ) -> Result<Publishing, StepError> {
        let mut publishing = Publishing::default();
        let ledger = &settled.ledger;
        match self.publish_root(ledger, found, signed).await {
            Ok(is_new) => publishing.has_written = is_new,
            Err(error) if error.is_of_one_object() => self.complain([&error]),
            Err(error) => return Err(error.into()),
        }
        let is_known = |uid: &NodeUid| ledger.nodes.contains_key(uid);
        self.signed.retain(|uid, _| is_known(uid));
        self.withdrawn.retain(is_known);
        self.refusing.retain(is_known);
        let Lacking {
            withdrawals,
            certificates,
        } = self.lacking(settled, found, now);
        publishing.unpublished = certificates.iter().map(|(uid, _)| *uid).collect();
        let withdrawals = self.refusing.turns(withdrawals, |(uid, _)| *uid);
        let store = &self.store;
        let withdrawn = write_all(withdrawals.iter().map(|(uid, name)| async move {
            let withdrawn = store.withdraw_node(uid, name).await;
            (*uid, withdrawn)
        }));
        let withdrawn = withdrawn.await;
        for uid in &withdrawn.done {
            // Its daemon may publish its own envelopes as long as it runs, and its Node keeps the object.
            if self.withdrawn.insert(*uid)
                && let Some(node) = ledger.nodes.get(uid)
            {
                publishing.has_written = true;
                info!(%uid, node = %node.name, "Revoked node taken out of the store");
            }
        }
        publishing.failed = self.error_of(withdrawn)?;
        let certificates = self.refusing.turns(certificates, |(uid, _)| *uid);
        let store = &self.store;
        let published = write_all(certificates.iter().map(|(uid, certificate)| async move {
            let published = store.publish_certificate(uid, certificate).await;
            (*uid, published)
        }));
        let published = published.await;
        for uid in &published.done {
            publishing.unpublished.remove(uid);
            publishing.has_written = true;
            if let Some(node) = ledger.nodes.get(uid) {
                info!(%uid, node = %node.name, serial = %node.serial, "Certificate published");
            }
        }
        publishing.failed = publishing.failed.or(self.error_of(published)?);
        Ok(publishing)
    }

    /// Names the objects that refused and returns the first error of the store; as an error if it is
    /// away.
    fn error_of(&mut self, written: Written<NodeUid>) -> Result<Option<StoreError>, StoreError> {
        self.refusing.note(&written);
        self.complain(written.refused.iter().map(|(_, error)| error));
        match written.failed {
            Some(error) if written.gave_up => Err(error),
            failed => Ok(failed),
        }
    }

    fn lacking(&mut self, settled: &Settled<'_>, found: &Published, now: UnixTime) -> Lacking {
        let mut lacking = Lacking::default();
        let newer = settled.evidence.nodes();
        let by_uid = by_uid(found);
        let nodes = settled.ledger.nodes.iter();
        for (uid, node) in nodes.filter(|(uid, _)| !newer.contains(uid)) {
            let filed = by_uid.get(uid).into_iter().flatten();
            let mut there = filed.filter(|there| there.may_be(uid, &node.name));
            if node.revoked_until.is_some() {
                // What stands under a name goes with its Node, which the store looks after.
                if there.any(|there| !there.is_empty() || there.name.is_some()) {
                    lacking.withdrawals.push((*uid, node.name.clone()));
                }
            } else if now <= node.not_after {
                match self.certificate(uid, node) {
                    Ok(wanted) => {
                        if !there.any(|there| there.certificate.as_ref() == Some(&wanted)) {
                            lacking.certificates.push((*uid, wanted));
                        }
                    }
                    Err(error) => {
                        error!(%uid, node = %node.name, %error, "Certificate not signed");
                    }
                }
            }
        }
        lacking
    }

    /// Whether there was anything new to publish.
    async fn publish_root(
        &self,
        ledger: &Ledger,
        found: &Published,
        signed: Option<&RevocationList>,
    ) -> Result<bool, StoreError> {
        let mut list = revocations::list(ledger);
        if let Some(signed) = signed {
            list.entries.extend(revocations::missing(ledger, signed));
        }
        let root = PublishedRoot {
            pin: ledger.pin,
            certificate: Some(self.signer.root_certificate()),
            revocations: Some(self.signer.revocation_list(&list)),
        };
        if found.roots.contains(&root) {
            return Ok(false);
        }
        self.store.publish_root(&root).await?;
        info!(
            number = ledger.revocations.number,
            "Root and revocation list published"
        );
        Ok(true)
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
