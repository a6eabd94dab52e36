//! What proves that the ledger is older than what its own root has signed: somebody restored a
//! backup. Pure.
//!
//! The ledger is written before anything is signed from it, so no crash leaves such a proof behind,
//! and without the root's key nobody can make one. It shows that ranges, keys and revocations are
//! promised that this ledger does not know of; `recover` says which of them count from then on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use cluster_store::Published;
use node_identity::{
    Envelope, NodeCertificate, NodeCertificateTerms, NodeName, NodeUid, RevocationEntry,
    RevocationList, RevokedSubject, RootCertificate, SignedRevocationList, TrustedRoots, UnixTime,
};
use sha2::{Digest, Sha256};

use crate::ledger::Ledger;
use crate::revocations;

/// How many proofs are named; one is enough to act on (a guess at what a person reads).
const MOST_NAMED: usize = 5;

/// The proofs that the store holds against one ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Certificates that are still valid and that the ledger does not know of.
    certificates: Vec<NodeCertificateTerms>,
    /// Revocations that the ledger does not know of.
    revocations: Vec<RevocationEntry>,
}

impl Evidence {
    /// Compares the published certificates, and the newest list that the root signed ([`own_list`]),
    /// with the ledger. The store must have been read first.
    pub(crate) fn against(
        ledger: &Ledger,
        certificates: &[Arc<NodeCertificate>],
        signed: Option<&RevocationList>,
        root: &RootCertificate,
        now: UnixTime,
    ) -> Self {
        let certificates = certificates
            .iter()
            .filter(|found| is_unknown(ledger, found.terms(), now) && root.has_signed(found));
        let mut certificates: Vec<NodeCertificateTerms> =
            certificates.map(|found| found.terms().clone()).collect();
        certificates.sort_unstable_by_key(|terms| (terms.serial, terms.identity.uid));
        certificates.dedup();
        Self {
            certificates,
            revocations: signed.map_or_else(Vec::new, |list| revocations::missing(ledger, list)),
        }
    }

    /// The certificates, the newest last.
    pub(crate) fn certificates(&self) -> &[NodeCertificateTerms] {
        &self.certificates
    }

    /// The nodes with such a certificate that the ledger does not know at all.
    pub(crate) fn strangers(&self, ledger: &Ledger) -> BTreeMap<NodeUid, NodeName> {
        let identities = self.certificates.iter().map(|terms| &terms.identity);
        let strangers = identities.filter(|one| !ledger.nodes.contains_key(&one.uid));
        strangers.map(|one| (one.uid, one.name.clone())).collect()
    }

    /// Whether nothing speaks against the ledger.
    pub(crate) fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.revocations.is_empty()
    }

    /// The nodes whose newest certificate the ledger does not know.
    pub(crate) fn nodes(&self) -> BTreeSet<NodeUid> {
        let uids = self.certificates.iter().map(|terms| terms.identity.uid);
        uids.collect()
    }
}

/// The certificates in what is published, by digest: parsed once for as long as they are there. What
/// is no certificate is remembered as well.
#[derive(Debug, Default)]
pub(crate) struct Parsed(HashMap<[u8; 32], Option<Arc<NodeCertificate>>>);

impl Parsed {
    /// What the controller published of nodes, and what they show in their own envelopes: a store that
    /// was restored from a backup has lost the first, and nodes publish the second again.
    pub(crate) fn certificates(&mut self, published: &Published) -> Vec<Arc<NodeCertificate>> {
        let mut before = std::mem::take(&mut self.0);
        let nodes = published.nodes.iter();
        for der in nodes.flat_map(|node| node.certificate.iter().chain(&node.envelopes)) {
            let digest: [u8; 32] = Sha256::digest(der).into();
            let parsed = before.remove(&digest);
            let entry = self.0.entry(digest);
            entry.or_insert_with(|| parsed.unwrap_or_else(|| parse(der)));
        }
        self.0.values().flatten().cloned().collect()
    }
}

/// The certificate that these bytes are, or that stands in the envelope that they are. Where they
/// were found does not matter: what the root has signed proves the same everywhere.
fn parse(der: &[u8]) -> Option<Arc<NodeCertificate>> {
    let shown = || Some(Envelope::from_der(der).ok()?.certificate().clone());
    let certificate = NodeCertificate::from_der(der).ok().or_else(shown)?;
    Some(Arc::new(certificate))
}

/// The newest revocation list in the store that this root signed.
pub(crate) fn own_list(published: &Published, root: &RootCertificate) -> Option<RevocationList> {
    let roots = TrustedRoots::new(&[root.pin()], [root.clone()]);
    let found = published
        .roots
        .iter()
        .filter_map(|it| it.revocations.as_ref());
    found
        .filter_map(|der| {
            SignedRevocationList::from_der(der)
                .ok()?
                .verify(&roots)
                .ok()
        })
        .map(|verified| verified.list().clone())
        .max_by_key(|list| list.number)
}

fn is_unknown(ledger: &Ledger, found: &NodeCertificateTerms, now: UnixTime) -> bool {
    let node = ledger.nodes.get(&found.identity.uid);
    now <= found.not_after && node.is_none_or(|node| found.serial > node.serial)
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.certificates.iter().map(|terms| {
            let (uid, name) = (terms.identity.uid, &terms.identity.name);
            let ranges = &terms.pod_ranges;
            format!(
                "certificate {} of {name} ({uid}) with {ranges}",
                terms.serial
            )
        });
        let revocations = self.revocations.iter().map(|entry| match entry.subject {
            RevokedSubject::Node(uid) => format!("revocation of node {uid}"),
            RevokedSubject::IdentityKey(key) => format!("revocation of key {key}"),
        });
        let named: Vec<String> = certificates.chain(revocations).take(MOST_NAMED).collect();
        f.write_str(&named.join(", "))?;
        match self.certificates.len() + self.revocations.len() - named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests;
