//! Notification by the kernel, with a poll behind it, for folders that may be deleted and made
//! again while they are watched.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use super::files::Folder;
use crate::StoreChanges;
use crate::error::StoreError;

/// Device and inode: tells a folder from another one made under the same name.
type Identity = (u64, u64);

/// Changes of a [`DirectoryStore`](crate::DirectoryStore).
#[derive(Debug)]
pub struct DirectoryChanges {
    watcher: RecommendedWatcher,
    folders: Vec<PathBuf>,
    watched: HashMap<PathBuf, Identity>,
    wakes: watch::Receiver<()>,
    poll: Duration,
}

impl DirectoryChanges {
    pub(super) fn start(
        root: &Path,
        folders: &[Folder],
        poll: Duration,
    ) -> Result<Self, StoreError> {
        let (wake, wakes) = watch::channel(());
        let failed = |source| StoreError::Watch {
            path: root.to_path_buf(),
            source,
        };
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                wake.send_replace(());
            }
        })
        .map_err(failed)?;
        let folders = folders.iter().map(|folder| folder.path(root)).collect();
        let mut changes = Self {
            watcher,
            folders,
            watched: HashMap::new(),
            wakes,
            poll,
        };
        changes.watch_new_folders().map_err(failed)?;
        Ok(changes)
    }

    /// Watches folders that are not watched yet, or were made anew; true if there were any.
    fn watch_new_folders(&mut self) -> Result<bool, notify::Error> {
        let mut any = false;
        for folder in &self.folders {
            let found = fs::metadata(folder)
                .ok()
                .map(|found| (found.dev(), found.ino()));
            if found.as_ref() == self.watched.get(folder) {
                continue;
            }
            if self.watched.remove(folder).is_some() {
                // Fails when the kernel dropped the watch together with the folder.
                let _ = self.watcher.unwatch(folder);
            }
            if let Some(identity) = found {
                self.watcher.watch(folder, RecursiveMode::NonRecursive)?;
                self.watched.insert(folder.clone(), identity);
                any = true;
            }
        }
        Ok(any)
    }
}

impl StoreChanges for DirectoryChanges {
    async fn changed(&mut self) {
        match self.watch_new_folders() {
            Ok(false) => {}
            // What happened before the watch was set was told to nobody.
            Ok(true) => return,
            Err(error) => tracing::warn!(%error, "Store cannot be watched, polling only"),
        }
        tokio::select! {
            told = self.wakes.changed() => if told.is_err() {
                tokio::time::sleep(self.poll).await;
            },
            () = tokio::time::sleep(self.poll) => {}
        }
    }
}

/// Reading is no change, or every reader would wake itself.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
