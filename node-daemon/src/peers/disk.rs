//! The verified set on disk, so that a daemon can start while nothing else can be reached.
//!
//! Roots and envelopes lie in a folder of the same form as the shared store and are verified again
//! when they are read. Floor and revocations cannot be verified again: they are this node's memory,
//! and if it is damaged, that is an alarm.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cluster_store::{ClusterStore, DirectoryStore, Published, PublishedRoot};
use kept_files::Links;
use node_identity::{Floor, Revocations};
use tracing::error;

use super::{Learned, Peers};

pub(crate) const FLOOR_FILE: &str = "floor.der";
pub(crate) const REVOCATIONS_FILE: &str = "revocations.der";
/// The folder of roots and envelopes, in the state directory.
pub(crate) const VERIFIED_FOLDER: &str = "verified";

/// Most bytes of floor or revocations: 50 a node, and a hundred times the largest cluster planned for.
const MEMORY_LIMIT: u64 = 64 << 20;

/// Where the verified set is kept.
#[derive(Debug)]
pub(crate) struct PeersOnDisk {
    directory: PathBuf,
    verified: DirectoryStore,
}

impl PeersOnDisk {
    /// Opens the place.
    ///
    /// # Errors
    /// When the state directory cannot be used.
    pub(crate) fn open(state_directory: &Path) -> Result<Self> {
        let verified = DirectoryStore::open(state_directory.join(VERIFIED_FOLDER))?;
        Ok(Self {
            directory: state_directory.to_owned(),
            verified,
        })
    }

    /// Reads floor and revocations; what is damaged is set aside and said so.
    ///
    /// # Errors
    /// When the state directory cannot be used.
    pub(crate) fn memory(&self) -> Result<(Floor, Revocations)> {
        let floor = self.read(FLOOR_FILE, |bytes| {
            Floor::from_bytes(bytes).map_err(|error| super::chain(&error))
        })?;
        let revocations = self.read(REVOCATIONS_FILE, |bytes| {
            Revocations::from_bytes(bytes).map_err(|error| super::chain(&error))
        })?;
        Ok((floor, revocations))
    }

    fn read<T: Default>(
        &self,
        name: &str,
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T> {
        let path = self.directory.join(name);
        let Some(bytes) = kept_files::read(&path, MEMORY_LIMIT, Links::Follow)? else {
            return Ok(T::default());
        };
        match parse(&bytes) {
            Ok(value) => Ok(value),
            Err(fault) => {
                let aside = kept_files::set_aside(&path)?;
                error!(file = %path.display(), fault, aside = %aside.display(), "State file refused: until peers are seen again, older keys of theirs would be believed");
                Ok(T::default())
            }
        }
    }

    /// Reads the roots and envelopes, to be verified again.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) async fn published(&self) -> Result<Published> {
        self.verified
            .published()
            .await
            .context("read the last verified set")
    }

    /// Puts on disk what was learned.
    ///
    /// # Errors
    /// When it cannot be written: then it must not be acted on.
    pub(crate) async fn keep(&self, peers: &Peers, learned: &Learned) -> Result<()> {
        if learned.floor {
            kept_files::write(
                &self.directory.join(FLOOR_FILE),
                &peers.floor.to_bytes(),
                0o600,
            )?;
        }
        if learned.revocations {
            kept_files::write(
                &self.directory.join(REVOCATIONS_FILE),
                &peers.revocations.to_bytes(),
                0o600,
            )?;
        }
        for root in peers
            .roots
            .iter()
            .filter(|root| learned.roots.contains(&root.pin()))
        {
            let root = PublishedRoot {
                pin: root.pin(),
                certificate: Some(root.to_der().to_vec()),
                revocations: None,
            };
            self.verified.publish_root(&root).await?;
        }
        for uid in &learned.envelopes {
            let Some(peer) = peers.believed.get(uid) else {
                continue;
            };
            self.verified
                .publish_envelopes(uid, &[peer.envelope().to_der()])
                .await?;
        }
        for uid in &learned.gone {
            self.verified.withdraw_node(uid).await?;
        }
        Ok(())
    }
}
