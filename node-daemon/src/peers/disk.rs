//! The verified set on disk, so that a daemon can start while nothing else can be reached.
//!
//! Roots and envelopes lie in a folder of the same form as the shared store and are verified again
//! when they are read. Floor and revocations cannot be verified again: they are this node's memory,
//! and if it is damaged, that is an alarm.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cluster_store::{ClusterStore, DirectoryStore, Published, PublishedRoot, StoreError};
use kept_files::Loaded;
use node_identity::{Floor, Revocations};
use tracing::{error, warn};

use super::{Learned, Peers};

pub(crate) const FLOOR_FILE: &str = "floor.der";
pub(crate) const REVOCATIONS_FILE: &str = "revocations.der";
/// The folder of roots and envelopes, in the state directory.
pub(crate) const VERIFIED_FOLDER: &str = "verified";

/// What the node remembers beside the verified set, and what is lost with it.
const MEMORY: [(&str, &str); 2] = [
    (
        FLOOR_FILE,
        "older keys of a peer would be believed until it is seen again",
    ),
    (
        REVOCATIONS_FILE,
        "a revoked peer would be believed until the store shows the list",
    ),
];

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
        let folder = state_directory.join(VERIFIED_FOLDER);
        let verified = match DirectoryStore::open(&folder) {
            Err(StoreError::Open { path, source }) if is_in_the_way(&source) => {
                let aside = kept_files::set_aside(&folder)?;
                error!(file = %path.display(), aside = %aside.display(), "Verified set refused, a file stands where a folder belongs: peers come from the store");
                DirectoryStore::open(folder)
            }
            opened => opened,
        }?;
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
        for (path, danger) in self.missing() {
            warn!(file = %path.display(), danger, "State file is missing: nothing of its kind was ever accepted, or somebody removed it");
        }
        let floor = self.read(FLOOR_FILE, |bytes| {
            Floor::from_bytes(bytes).map_err(|error| service_log::chain(&error))
        })?;
        let revocations = self.read(REVOCATIONS_FILE, |bytes| {
            Revocations::from_bytes(bytes).map_err(|error| service_log::chain(&error))
        })?;
        Ok((floor, revocations))
    }

    fn read<T: Default>(
        &self,
        name: &str,
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T> {
        let path = self.directory.join(name);
        Ok(match kept_files::load(&path, MEMORY_LIMIT, parse)? {
            Loaded::Absent => T::default(),
            Loaded::Whole(value) => value,
            Loaded::Refused { fault, aside } => {
                let danger = MEMORY.into_iter().find(|(file, _)| *file == name);
                let danger = danger.map(|(_, danger)| danger);
                error!(file = %path.display(), fault, aside = %aside.display(), danger, "State file refused");
                T::default()
            }
        })
    }

    /// The files that are not there although envelopes are, with what they protect from. The floor is
    /// written before the first envelope is, the revocations once a list is accepted: a list that was
    /// withheld from the first day on is missed here too.
    fn missing(&self) -> Vec<(PathBuf, &'static str)> {
        let missing = MEMORY
            .into_iter()
            .map(|(name, danger)| (self.directory.join(name), danger))
            .filter(|(path, _)| !path.exists());
        if self.verified.has_envelopes() {
            missing.collect()
        } else {
            Vec::new()
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
    /// When it cannot be written: nobody may be let in by it then.
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
            self.verified.remove_node(uid).await?;
        }
        Ok(())
    }
}

/// Whether a folder cannot be made because something else has its name.
fn is_in_the_way(error: &io::Error) -> bool {
    let kinds = [ErrorKind::AlreadyExists, ErrorKind::NotADirectory];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(libc::ELOOP)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{FLOOR_FILE, PeersOnDisk, REVOCATIONS_FILE, VERIFIED_FOLDER};
    use crate::sample::{Authority, NOW, SampleNode};

    #[tokio::test]
    async fn bi13_memory_that_somebody_removed_is_missed_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let disk = PeersOnDisk::open(directory.path()).unwrap();
        let bob = SampleNode::new("bob", 2);
        let envelope = Authority::new().envelope(&bob, NOW.0).to_der();
        let missed = || -> Vec<String> {
            let missing = disk.missing().into_iter();
            let name = |path: std::path::PathBuf| path.file_name().unwrap().to_owned();
            missing
                .map(|(path, _)| name(path).into_string().unwrap())
                .collect()
        };

        assert!(missed().is_empty(), "a new node has nothing to miss");
        let store = &disk.verified;
        cluster_store::ClusterStore::publish_envelopes(store, &bob.id.uid, &[envelope])
            .await
            .unwrap();
        assert_eq!(missed(), [FLOOR_FILE, REVOCATIONS_FILE]);
        fs::write(directory.path().join(FLOOR_FILE), "").unwrap();
        assert_eq!(missed(), [REVOCATIONS_FILE]);
        fs::write(directory.path().join(REVOCATIONS_FILE), "").unwrap();
        assert!(missed().is_empty());
    }

    #[test]
    fn bi13_a_folder_or_an_endless_file_for_memory_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let disk = PeersOnDisk::open(directory.path()).unwrap();
        for name in [FLOOR_FILE, REVOCATIONS_FILE] {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            disk.memory().unwrap();
            assert!(kept_files::aside(&path).is_dir());

            // A hole: nothing is written.
            let file = fs::File::create(&path).unwrap();
            file.set_len(super::MEMORY_LIMIT + 1).unwrap();
            disk.memory().unwrap();
            assert!(!path.exists());
        }
    }

    #[test]
    fn bi13_a_link_to_itself_or_to_nothing_for_the_verified_set_is_set_aside() {
        for target in [VERIFIED_FOLDER, "nothing/at/all"] {
            let directory = tempfile::tempdir().unwrap();
            let folder = directory.path().join(VERIFIED_FOLDER);
            std::os::unix::fs::symlink(target, &folder).unwrap();

            PeersOnDisk::open(directory.path()).unwrap();

            assert!(folder.join("envelopes").is_dir(), "{target}");
            assert!(kept_files::aside(&folder).is_symlink(), "{target}");
        }
    }

    #[test]
    fn bi13_a_file_in_place_of_the_verified_set_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join(VERIFIED_FOLDER);

        fs::write(&folder, "no folder").unwrap();
        PeersOnDisk::open(directory.path()).unwrap();
        fs::remove_dir_all(folder.join("envelopes")).unwrap();
        fs::write(folder.join("envelopes"), "no folder").unwrap();
        PeersOnDisk::open(directory.path()).unwrap();

        assert!(folder.join("envelopes").is_dir());
        assert!(kept_files::aside(&folder).exists());
    }
}
