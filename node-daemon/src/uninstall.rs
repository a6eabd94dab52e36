//! `sotto-node uninstall`: takes away everything that Sotto ever made on this node, and nothing else.
//!
//! First `node.json`, so that no pod comes; then, if wanted, the wait for those that run or ran before
//! a boot, which detach by what is still installed; then the network configuration and the plugins;
//! then the kernel's part, pods' links included, since without the guard they could speak in clear;
//! then the files. The directories go if they are empty then. Killed anywhere, it can be run again.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cni_protocol::contract::{NODE_STATE_FILE, POD_LINK_GROUP, TUN_NAME};
use kept_files::{FileError, Links};
use node_status::STATUS_SOCKET;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::app::Stop;
use crate::config::Config;
use crate::credentials::CERTIFICATE_FILE;
use crate::first_use::FIRST_USE_FILE;
use crate::guard::{self, KERNEL_SETTINGS_FILE};
use crate::installer;
use crate::io::netlink::route::RouteNetlink;
use crate::keys::{IDENTITY_FILE, TUNNEL_KEYS_FILE};
use crate::lock::{LOCK_FILE, LockError, NodeLock};
use crate::marks::MARK_FILE;
use crate::node::LATELY_FILE;
use crate::peers::disk::{FLOOR_FILE, REVOCATIONS_FILE, VERIFIED_FOLDER};
use crate::preflight::RUNTIME_MODE;

/// How often pods' links are counted while they are waited for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often is said what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How long a runtime gets for pods that have no link any more. One that forgot them never comes.
const DETACHED_WITHIN: Duration = Duration::from_secs(60);
/// Where runtimes keep what they were answered for each attached pod until its DEL, beside our own state:
/// `/var/lib/cni/results/<network>-<container>-<interface>`.
const RUNTIME_CACHE: &str = "cni/results";
/// Most bytes of an entry there (a guess: a hundred times what any has).
const CACHE_LIMIT: u64 = 1 << 20;

/// What becomes of pods that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunningPods {
    /// They lose their links.
    Disconnect,
    /// The node is taken away from under nobody: until the last has ended, nothing but new pods is
    /// refused.
    WaitFor,
}

/// Removes everything, from whatever remains of it.
///
/// # Errors
/// When a daemon still runs, the wait is ended by a signal, or the system refuses something.
pub(crate) async fn uninstall(config: &Config, pods: RunningPods) -> Result<()> {
    let mut stop = Stop::listen()?;
    let work = async {
        let runtime = &config.runtime_directory;
        let lock = acquire(runtime, pods).await?;
        remove_file(&runtime.join(NODE_STATE_FILE))?;
        if pods == RunningPods::WaitFor {
            wait_for_pods().await?;
            wait_for_runtime(&config.state_directory).await;
        }
        remove_everything(config, lock)
    };
    tokio::select! {
        () = stop.told() => bail!("uninstall: stopped while it waited, run it again to go on"),
        done = work => done,
    }
}

/// Where pods are waited for, so is the end of the daemon, which an orchestrator has ordered.
async fn acquire(runtime: &Path, pods: RunningPods) -> Result<NodeLock> {
    let mut said: Option<Instant> = None;
    loop {
        kept_files::create_directory(runtime, RUNTIME_MODE)?;
        let error = match NodeLock::acquire(runtime) {
            Ok(lock) => return Ok(lock),
            // Another one has removed the folder, as the last of its work.
            Err(LockError::Unusable { source, .. }) if source.kind() == ErrorKind::NotFound => {
                continue;
            }
            Err(error @ (LockError::Held { .. } | LockError::NamespaceTaken(_))) => error,
            Err(error) => return Err(error.into()),
        };
        if pods == RunningPods::Disconnect {
            return Err(error.into());
        }
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            info!(daemon = %error, "Waiting for the daemon to end");
            said = Some(Instant::now());
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn wait_for_pods() -> Result<()> {
    let mut netlink = RouteNetlink::open()?;
    let mut said: Option<(Instant, usize)> = None;
    loop {
        let links = netlink.links()?.into_iter();
        let links: Vec<_> = links.filter(|link| link.group == POD_LINK_GROUP).collect();
        if links.is_empty() {
            return Ok(());
        }
        let left = links.len();
        if said.is_none_or(|(at, pods)| pods != left || at.elapsed() >= SAY_EVERY) {
            info!(left, "Waiting for pods of this node to end");
            said = Some((Instant::now(), left));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A boot takes the links of pods whose DEL is still to come; without a configuration it would never
/// succeed, and those pods never end.
async fn wait_for_runtime(state: &Path) {
    let until = Instant::now() + DETACHED_WITHIN;
    let mut said = 0;
    loop {
        let left = still_attached(state);
        if left == 0 {
            return;
        }
        if Instant::now() >= until {
            warn!(
                left,
                "The runtime did not detach all pods, of which none has a link"
            );
            return;
        }
        if left != said {
            info!(left, "Waiting for the runtime to detach pods without links");
            said = left;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// How many attachments to our network the runtime has to undo.
fn still_attached(state: &Path) -> usize {
    let cache = state.parent().map(|beside| beside.join(RUNTIME_CACHE));
    let entries = cache.and_then(|cache| std::fs::read_dir(cache).ok());
    let entries = entries.into_iter().flatten().flatten();
    entries.filter(|entry| is_ours(&entry.path())).count()
}

/// The name alone may be that of a network `sotto-…`; one whose content cannot be read is counted.
fn is_ours(entry: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Attachment {
        #[serde(rename = "networkName")]
        network: String,
    }
    let name = entry.file_name().and_then(|name| name.to_str());
    let begins = name.is_some_and(|name| name.starts_with(&format!("{}-", installer::NETWORK)));
    begins && {
        let bytes = kept_files::read(entry, CACHE_LIMIT, Links::Refuse)
            .ok()
            .flatten();
        let attachment = bytes.and_then(|bytes| serde_json::from_slice::<Attachment>(&bytes).ok());
        attachment.is_none_or(|attachment| attachment.network == installer::NETWORK)
    }
}

fn remove_everything(config: &Config, lock: NodeLock) -> Result<()> {
    let (state, runtime) = (&config.state_directory, &config.runtime_directory);
    if let Some(cni) = &config.cni {
        installer::remove(cni)?;
    }
    guard::uninstall(TUN_NAME, &state.join(KERNEL_SETTINGS_FILE))?;
    remove_files(state, runtime)?;
    remove_folder(&runtime.join(pod_pool::FOLDER))?;
    remove_verified(&state.join(VERIFIED_FOLDER))?;
    drop(lock);
    for directory in [state, runtime] {
        remove_directory(directory);
    }
    info!("Everything that Sotto made on this node is removed");
    Ok(())
}

/// One with somebody else's files in it is not ours to remove, and one that is mounted into a container
/// cannot be removed from inside.
fn remove_directory(directory: &Path) {
    let Err(error) = std::fs::remove_dir(directory) else {
        return;
    };
    let (kind, directory) = (error.kind(), directory.display());
    if kind == ErrorKind::ResourceBusy {
        info!(%directory, "Directory stays: it is mounted here, remove it on the machine itself");
    } else if kind != ErrorKind::NotFound {
        warn!(%directory, %error, "Directory stays");
    }
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
        FIRST_USE_FILE,
        MARK_FILE,
        FLOOR_FILE,
        REVOCATIONS_FILE,
        LATELY_FILE,
        KERNEL_SETTINGS_FILE,
    ] {
        let path = state.join(name);
        remove_file(&path)?;
        remove_file(&kept_files::unfinished(&path))?;
        for aside in kept_files::all_aside(&path) {
            remove_file(&aside)?;
        }
    }
    Ok(())
}

/// Removes the verified set, with what was set aside of it or in its place.
fn remove_verified(folder: &Path) -> Result<()> {
    remove_folder(folder)?;
    for aside in kept_files::all_aside(folder) {
        if aside.is_dir() && !aside.is_symlink() {
            remove_folder(&aside)?;
        } else {
            kept_files::remove(&aside)?;
        }
    }
    Ok(())
}

/// A folder in a file's place is somebody's, and stays.
pub(crate) fn remove_file(path: &Path) -> Result<(), FileError> {
    if path.is_dir() && !path.is_symlink() {
        warn!(folder = %path.display(), "Folder in place of a file stays, is it yours?");
        return Ok(());
    }
    kept_files::remove(path)
}

fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(kept_files::remove(path)?),
        Err(error) if error.kind() != ErrorKind::NotFound => {
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
    fn secrets_that_were_set_aside_are_removed_whatever_their_number() {
        let (state, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let identity = state.path().join(IDENTITY_FILE);
        let folder = kept_files::aside(&identity);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("theirs"), "").unwrap();
        std::fs::write(&identity, "secret").unwrap();
        let aside = kept_files::set_aside(&identity).unwrap();
        assert_ne!(aside, folder);

        remove_files(state.path(), runtime.path()).unwrap();

        assert!(!aside.exists() && folder.exists());
    }

    #[test]
    fn a_verified_set_that_was_set_aside_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let verified = state.path().join(VERIFIED_FOLDER);
        for _ in 0..2 {
            std::fs::create_dir_all(verified.join("envelopes")).unwrap();
            kept_files::set_aside(&verified).unwrap();
        }
        std::fs::write(&verified, "no folder").unwrap();
        kept_files::set_aside(&verified).unwrap();

        remove_verified(&verified).unwrap();

        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_the_runtime_still_has_to_detach_is_counted() {
        let beside = tempfile::tempdir().unwrap();
        let state = beside.path().join("sotto");
        assert_eq!(still_attached(&state), 0);
        let cache = beside.path().join(RUNTIME_CACHE);
        std::fs::create_dir_all(&cache).unwrap();
        let entries = [
            ("sotto-0123-eth0", r#"{"networkName": "sotto"}"#),
            ("sotto-4567-eth0", r#"{"netw"#),
            ("sotto-else-0123-eth0", r#"{"networkName": "sotto-else"}"#),
            ("other-0123-eth0", r#"{"networkName": "other"}"#),
        ];
        for (name, content) in entries {
            std::fs::write(cache.join(name), content).unwrap();
        }

        assert_eq!(still_attached(&state), 2);
    }

    #[test]
    fn a_file_in_the_pools_place_goes_like_the_pool() {
        let runtime = tempfile::tempdir().unwrap();
        let pool = runtime.path().join(pod_pool::FOLDER);
        std::fs::write(&pool, "no folder").unwrap();

        remove_folder(&pool).unwrap();

        assert!(!pool.exists());
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
