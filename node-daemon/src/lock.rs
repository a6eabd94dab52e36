//! One daemon per node.
//!
//! A second opener of a multi-queue tun is not refused by the kernel: it would silently take half of
//! the packets. So the daemon holds two locks before it attaches: a file in the runtime directory,
//! which names its holder, and an abstract socket address, which exists once per network namespace
//! whatever directories two configurations name. Both vanish with the process, however it ends.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

/// The lock file's name in the runtime directory.
pub(crate) const LOCK_FILE: &str = "sotto-node.lock";
/// The abstract address that stands for "the Sotto daemon of this network namespace".
const LOCK_ADDRESS: &[u8] = b"sotto-node";

/// Why this daemon may not run.
#[derive(Debug, Error)]
pub(crate) enum LockError {
    /// The lock file cannot be used.
    #[error("lock {}: does the runtime directory exist and belong to root?", path.display())]
    Unusable {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A folder, pipe, link or socket stands where the lock file belongs.
    #[error("lock {}: what stands there is no regular file, remove it", path.display())]
    InTheWay {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another daemon holds the lock file.
    #[error("lock {}: {holder} already runs here, stop it first", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as the file tells.
        holder: String,
    },
    /// Another daemon, with another runtime directory, serves this network namespace.
    #[error(
        "start a second daemon in one network namespace: another sotto-node already runs here with other directories, stop it first"
    )]
    NamespaceTaken(#[source] std::io::Error),
}

/// The right to be this node's daemon; given up when dropped.
#[derive(Debug)]
pub(crate) struct NodeLock {
    path: PathBuf,
    file: Flock<File>,
    _address: UnixListener,
}

impl NodeLock {
    /// Takes both locks or says who has them.
    ///
    /// # Errors
    /// When another daemon runs, or the runtime directory cannot be used.
    pub(crate) fn acquire(runtime_directory: &Path) -> Result<Self, LockError> {
        let path = runtime_directory.join(LOCK_FILE);
        let file = lock_file(&path)?;
        let address = SocketAddr::from_abstract_name(LOCK_ADDRESS)
            .and_then(|address| UnixListener::bind_addr(&address))
            .map_err(LockError::NamespaceTaken)?;
        Ok(Self {
            path,
            file,
            _address: address,
        })
    }

    /// Whether the lock file is still where a second daemon would look for it.
    pub(crate) fn is_in_place(&self) -> bool {
        is_at(&self.file, &self.path)
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(found)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}

/// The daemon that runs with this runtime directory, if it is another process; nothing is made or held.
pub(crate) fn running(runtime_directory: &Path) -> Option<String> {
    let mut file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(runtime_directory.join(LOCK_FILE))
        .ok()?;
    let id = holder_id(&mut file);
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, errno)) if errno == nix::errno::Errno::EWOULDBLOCK => {}
        Ok(_) | Err(_) => return None,
    }
    (id != Some(std::process::id())).then(|| named(id))
}

fn lock_file(path: &Path) -> Result<Flock<File>, LockError> {
    let unusable = |source| {
        let found = std::fs::symlink_metadata(path);
        let path = path.to_owned();
        if found.is_ok_and(|found| !found.is_file()) {
            LockError::InTheWay { path, source }
        } else {
            LockError::Unusable { path, source }
        }
    };
    let file = kept_files::open_lock(path).map_err(unusable)?;
    let mut locked =
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, errno)| {
            if errno == nix::errno::Errno::EWOULDBLOCK {
                LockError::Held {
                    path: path.to_owned(),
                    holder: holder(&mut file),
                }
            } else {
                unusable(errno.into())
            }
        })?;
    write_holder(&mut locked).map_err(unusable)?;
    Ok(locked)
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    named(holder_id(file))
}

fn holder_id(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A holder that has not written its number yet is still a holder.
fn named(id: Option<u32>) -> String {
    match id {
        Some(pid) => format!("sotto-node with process id {pid}"),
        None => "another sotto-node".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::{LOCK_FILE, LockError, is_at, lock_file, running};

    #[test]
    fn bi06_a_second_daemon_is_refused_and_told_who_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOCK_FILE);
        let first = lock_file(&path).unwrap();

        let refused = lock_file(&path).unwrap_err();

        assert!(matches!(refused, LockError::Held { .. }));
        assert!(
            refused
                .to_string()
                .contains(&format!("process id {}", std::process::id())),
            "{refused}"
        );
        drop(first);
        lock_file(&path).expect("the first daemon's end frees the lock");
    }

    #[test]
    fn who_runs_is_told_without_a_lock_and_is_never_oneself() {
        use std::io::{Seek, Write};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOCK_FILE);
        assert_eq!(running(directory.path()), None);
        assert!(!path.exists());
        let mut lock = lock_file(&path).unwrap();
        assert_eq!(running(directory.path()), None, "this process");
        lock.rewind().unwrap();
        lock.write_all(b"1\n").unwrap();
        lock.set_len(2).unwrap();

        let other = running(directory.path());

        assert_eq!(other.as_deref(), Some("sotto-node with process id 1"));
        drop(lock);
        assert_eq!(running(directory.path()), None, "it has ended");
    }

    #[test]
    fn a_lock_file_that_was_removed_or_replaced_is_missed() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = directory.path().join("run");
        std::fs::create_dir(&runtime).unwrap();
        let path = runtime.join(LOCK_FILE);
        let lock = lock_file(&path).unwrap();
        assert!(is_at(&lock, &path));

        std::fs::remove_dir_all(&runtime).unwrap();
        assert!(!is_at(&lock, &path));
        std::fs::create_dir(&runtime).unwrap();
        let _second = lock_file(&path).unwrap();

        assert!(!is_at(&lock, &path));
    }

    #[test]
    fn what_stands_in_the_lock_files_place_is_neither_followed_nor_waited_for() {
        let folder = |path: &Path| std::fs::create_dir(path).unwrap();
        let pipe = |path: &Path| mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let link = |path: &Path| std::os::unix::fs::symlink("/dev/null", path).unwrap();
        let socket = |path: &Path| drop(UnixListener::bind(path).unwrap());
        let kinds: [&dyn Fn(&Path); 4] = [&folder, &pipe, &link, &socket];
        for (kind, make) in kinds.into_iter().enumerate() {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(LOCK_FILE);
            make(&path);

            let refused = lock_file(&path).unwrap_err();

            assert!(refused.to_string().ends_with("remove it"), "kind {kind}");
            assert_eq!(running(directory.path()), None, "kind {kind}");
        }
    }
}
