//! The controller's own folder: root key, root certificate, ledger, and the lock that a running
//! controller holds. Nobody but the controller's user may look inside.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use kept_files::FileError;
use nix::fcntl::{Flock, FlockArg};

const LOCK: &str = "controller.lock";

/// Root key and ledger lie in it.
const MODE: u32 = 0o700;

/// Held while a controller runs; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct RunLock(#[expect(dead_code, reason = "held, never looked at")] Flock<File>);

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error(
        "open state folder {}: has `sotto-controller root create` been run, and by this user?",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error("open state folder")]
    Unusable(#[source] FileError),
    #[error("lock {}: another controller runs on this state folder", path.display())]
    Running { path: PathBuf },
    #[error("lock {}: may this user write there?", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Makes the folder, closed to others; one that is there must be ours and closed already, for it may
/// be somebody else's.
pub(crate) fn create(folder: &Path) -> Result<(), StateError> {
    kept_files::create_directory(folder, MODE).map_err(StateError::Unusable)
}

/// Checks that the folder is there, ours and closed to others.
pub(crate) fn check(folder: &Path) -> Result<(), StateError> {
    if kept_files::find_directory(folder, MODE).map_err(StateError::Unusable)? {
        return Ok(());
    }
    Err(StateError::Missing {
        path: folder.to_path_buf(),
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
