//! `sotto-node uninstall`: takes away everything that Sotto ever made on this node, and nothing else.
//!
//! First `node.json`, so that no pod comes; then the kernel's part, pods' links included, since
//! without the guard they could speak in clear; then the files. The directories go if they are empty
//! then.

use std::path::Path;

use anyhow::{Context, Result};
use cni_protocol::contract::{NODE_STATE_FILE, TUN_NAME};
use kept_files::FileError;
use node_status::STATUS_SOCKET;
use tracing::{info, warn};

use crate::config::Config;
use crate::credentials::CERTIFICATE_FILE;
use crate::guard::{self, PodLinks};
use crate::keys::{IDENTITY_FILE, TUNNEL_KEYS_FILE};
use crate::lock::{LOCK_FILE, NodeLock};
use crate::marks::MARK_FILE;
use crate::node::LATELY_FILE;
use crate::peers::disk::{FLOOR_FILE, REVOCATIONS_FILE, VERIFIED_FOLDER};
use crate::preflight::RUNTIME_MODE;

/// The record of the kernel's settings from before, in the state directory.
pub(crate) const KERNEL_SETTINGS_FILE: &str = "kernel-settings.json";

/// Removes everything, from whatever remains of it.
///
/// # Errors
/// When a daemon still runs, or the system refuses something.
pub(crate) fn uninstall(config: &Config) -> Result<()> {
    let (state, runtime) = (&config.state_directory, &config.runtime_directory);
    kept_files::create_directory(runtime, RUNTIME_MODE)?;
    let lock = NodeLock::acquire(runtime)?;
    kept_files::remove(&runtime.join(NODE_STATE_FILE))?;
    guard::uninstall(
        TUN_NAME,
        &state.join(KERNEL_SETTINGS_FILE),
        PodLinks::Remove,
    )?;
    remove_files(state, runtime)?;
    remove_folder(&runtime.join(pod_pool::FOLDER))?;
    remove_folder(&state.join(VERIFIED_FOLDER))?;
    drop(lock);
    for directory in [state, runtime] {
        // A directory with somebody else's files in it is not ours to remove.
        drop(std::fs::remove_dir(directory));
    }
    info!("Everything that Sotto made on this node is removed");
    Ok(())
}

/// Removes files, with what a fault or a crash left beside them.
fn remove_files(state: &Path, runtime: &Path) -> Result<(), FileError> {
    for name in [NODE_STATE_FILE, TUNNEL_KEYS_FILE, STATUS_SOCKET, LOCK_FILE] {
        let path = runtime.join(name);
        remove_file(&path)?;
        remove_file(&kept_files::unfinished(&path))?;
    }
    for name in [
        IDENTITY_FILE,
        CERTIFICATE_FILE,
        MARK_FILE,
        FLOOR_FILE,
        REVOCATIONS_FILE,
        LATELY_FILE,
        KERNEL_SETTINGS_FILE,
    ] {
        let path = state.join(name);
        remove_file(&path)?;
        remove_file(&kept_files::aside(&path))?;
        remove_file(&kept_files::unfinished(&path))?;
    }
    Ok(())
}

/// A folder in a file's place is somebody's, and stays.
fn remove_file(path: &Path) -> Result<(), FileError> {
    if path.is_dir() && !path.is_symlink() {
        warn!(folder = %path.display(), "Folder in place of a file stays, is it yours?");
        return Ok(());
    }
    kept_files::remove(path)
}

fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_a_files_place_stays_and_the_rest_goes() {
        let (state, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = state.path().join(IDENTITY_FILE);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(state.path().join(MARK_FILE), "ours").unwrap();

        remove_files(state.path(), runtime.path()).unwrap();

        assert!(folder.exists());
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
    }

    #[test]
    fn secrets_that_a_crash_left_are_removed_too() {
        let (state, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let left = [
            state.path().join(IDENTITY_FILE),
            state.path().join(KERNEL_SETTINGS_FILE),
            runtime.path().join(TUNNEL_KEYS_FILE),
        ];
        for path in &left {
            std::fs::write(kept_files::unfinished(path), "secret").unwrap();
        }

        remove_files(state.path(), runtime.path()).unwrap();

        for directory in [state, runtime] {
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }
}
