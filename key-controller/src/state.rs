//! The controller's own folder: root key, root certificate, ledger, and the lock that a running
//! controller holds. Nobody but the controller's user may look inside.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

const LOCK: &str = "controller.lock";

/// Held while a controller runs; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct RunLock(#[expect(dead_code, reason = "held, never looked at")] Flock<File>);

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("create state folder {}: may this user write there?", path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "open state folder {}: has `sotto-controller root create` been run, and by this user?",
        path.display()
    )]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "open state folder {}: other users may look into it (mode {mode:04o}): chmod 0700 it",
        path.display()
    )]
    TooOpen { path: PathBuf, mode: u32 },
    #[error("lock {}: another controller runs on this state folder", path.display())]
    Running { path: PathBuf },
    #[error("lock {}: may this user write there?", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Makes the folder, closed to others; one that is there must be closed already, for it may be
/// somebody else's.
pub(crate) fn create(folder: &Path) -> Result<(), StateError> {
    if folder.is_dir() {
        return check(folder);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| StateError::Create {
            path: folder.to_path_buf(),
            source,
        })
}

/// Checks that the folder is there and closed to others.
pub(crate) fn check(folder: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Open {
        path: folder.to_path_buf(),
        source,
    };
    let mode = fs::metadata(folder).map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(StateError::TooOpen {
        path: folder.to_path_buf(),
        mode,
    })
}

/// Claims the folder for this process, or says that another controller has it.
pub(crate) fn lock(folder: &Path) -> Result<RunLock, StateError> {
    let path = folder.join(LOCK);
    let file = kept_files::open_lock(&path).map_err(|source| StateError::Lock {
        path: path.clone(),
        source,
    })?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(RunLock(held)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StateError::Running { path }),
        Err((_, errno)) => Err(StateError::Lock {
            path,
            source: errno.into(),
        }),
    }
}
