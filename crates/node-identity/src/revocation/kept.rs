//! All revocations a daemon has verified, kept whatever later lists omit.
//!
//! A store restored from yesterday must un-revoke nobody: an entry stays until a list that its
//! root issued *after* the entry's end. The root's own word for the time is used, so a local
//! clock that jumps forgets nothing either.

use std::collections::BTreeMap;

use der::{Sequence, asn1::OctetString};

use super::{
    EntryBody, RevocationEntry, RevocationError, RevokedSubject, VerifiedRevocationList,
    read_entry, write_entry,
};
use crate::{
    IkHash, NodeUid, Pin, TrustedRoots, UnixTime,
    encoding::{self, EncodingError, encode, octets},
};

/// The revocations of all roots, as far as they were ever seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    roots: BTreeMap<Pin, RootRevocations>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RootRevocations {
    number: u64,
    issued: UnixTime,
    next_update: UnixTime,
    list_hash: [u8; 32],
    entries: BTreeMap<RevokedSubject, UnixTime>,
}

#[derive(Sequence)]
struct KeptBody {
    root: OctetString,
    number: u64,
    issued: u64,
    next_update: u64,
    list_hash: OctetString,
    entries: Vec<EntryBody>,
}

impl Revocations {
    /// Adds a verified list. It may be acted on at once: a list that no disk remembers comes again.
    ///
    /// # Errors
    /// A newer list, or another one of the same number, was accepted before; nothing changes.
    pub fn accept(&mut self, verified: &VerifiedRevocationList) -> Result<(), RevocationError> {
        let (root, list) = (verified.root, &verified.list);
        let kept = self.roots.entry(root).or_insert_with(|| RootRevocations {
            number: list.number,
            issued: list.issued,
            next_update: list.next_update,
            list_hash: list.hash(),
            entries: BTreeMap::new(),
        });
        if list.number < kept.number {
            return Err(RevocationError::Older {
                root,
                number: list.number,
                newest: kept.number,
            });
        }
        if list.number == kept.number && list.hash() != kept.list_hash {
            return Err(RevocationError::Equivocation {
                root,
                number: list.number,
            });
        }
        kept.number = list.number;
        kept.issued = kept.issued.max(list.issued);
        kept.next_update = list.next_update;
        kept.list_hash = list.hash();
        for entry in &list.entries {
            let until = kept.entries.entry(entry.subject).or_insert(entry.until);
            *until = entry.until.max(*until);
        }
        let issued = kept.issued;
        kept.entries.retain(|_, until| *until >= issued);
        Ok(())
    }

    /// Whether any root revokes the key or the node.
    #[must_use]
    pub fn revokes(&self, key: &IkHash, node: &NodeUid) -> bool {
        self.roots.values().any(|root| root.revokes(key, node))
    }

    /// Whether a root that is trusted still revokes the key or the node.
    pub(crate) fn revokes_among(&self, roots: &TrustedRoots, key: &IkHash, node: &NodeUid) -> bool {
        self.roots
            .iter()
            .any(|(pin, root)| roots.contains(pin) && root.revokes(key, node))
    }

    /// Forgets what roots said that are pinned no more.
    pub fn retain_roots(&mut self, pins: &[Pin]) {
        self.roots.retain(|pin, _| pins.contains(pin));
    }

    /// The trusted roots whose next list is due, or of which none was ever seen: an alarm, as
    /// somebody may be withholding it.
    #[must_use]
    pub fn overdue(&self, roots: &TrustedRoots, now: UnixTime) -> Vec<Pin> {
        let mut pins: Vec<Pin> = roots
            .iter()
            .map(crate::RootCertificate::pin)
            .filter(|pin| {
                self.roots
                    .get(pin)
                    .is_none_or(|root| root.next_update < now)
            })
            .collect();
        pins.sort_unstable();
        pins.dedup();
        pins
    }

    /// The entries that hold, of all roots.
    pub fn entries(&self) -> impl Iterator<Item = RevocationEntry> {
        self.roots.values().flat_map(RootRevocations::entries)
    }

    /// The revocations as bytes for the disk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let roots = self.roots.iter().map(|(pin, root)| KeptBody {
            root: octets(pin.as_bytes()),
            number: root.number,
            issued: root.issued.0,
            next_update: root.next_update.0,
            list_hash: octets(&root.list_hash),
            entries: root.entries().map(|entry| write_entry(&entry)).collect(),
        });
        encode(&roots.collect::<Vec<_>>())
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// The bytes are damaged. Revocations must not be replaced by none in silence.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RevocationError> {
        let bodies: Vec<KeptBody> = encoding::decode_canonical(bytes)?;
        let mut roots = BTreeMap::new();
        for body in &bodies {
            let entries = body.entries.iter().map(read_entry);
            let root = RootRevocations {
                number: body.number,
                issued: UnixTime(body.issued),
                next_update: UnixTime(body.next_update),
                list_hash: encoding::fixed(&body.list_hash, "list hash")?,
                entries: entries
                    .map(|entry| entry.map(|entry| (entry.subject, entry.until)))
                    .collect::<Result<_, _>>()?,
            };
            roots.insert(Pin(encoding::fixed(&body.root, "pin")?), root);
        }
        let kept = Self { roots };
        if kept.to_bytes() == bytes {
            Ok(kept)
        } else {
            Err(EncodingError::NotCanonical.into())
        }
    }
}

impl RootRevocations {
    fn revokes(&self, key: &IkHash, node: &NodeUid) -> bool {
        self.entries
            .contains_key(&RevokedSubject::IdentityKey(*key))
            || self.entries.contains_key(&RevokedSubject::Node(*node))
    }

    fn entries(&self) -> impl Iterator<Item = RevocationEntry> {
        self.entries.iter().map(|(subject, until)| RevocationEntry {
            subject: *subject,
            until: *until,
        })
    }
}
