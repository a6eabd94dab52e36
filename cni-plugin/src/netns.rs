//! A pod's network namespace: opened by its file, entered on a thread of its own.
//!
//! A thread that changed its namespace ends there, so the plugin's other work cannot land in the pod
//! by mistake.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cni_protocol::reservation::NetnsIdentity;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs, statfs};

/// Where a thread finds its own namespace.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// An open network namespace that is not the node's.
pub(crate) struct PodNetns {
    file: File,
    identity: NetnsIdentity,
}

/// Why the pod's namespace cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetnsError {
    /// No such file, or no access.
    #[error("open CNI_NETNS {}: is the pod's sandbox still there?", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file, but no namespace.
    #[error("open CNI_NETNS {}: it is not a network namespace", .0.display())]
    NotANamespace(PathBuf),
    /// The node's own: a pod there is the host.
    #[error("open CNI_NETNS {}: it is the node's own namespace", .0.display())]
    NodesOwn(PathBuf),
    /// The kernel did not let the thread in.
    #[error("enter network namespace {}", .path.display())]
    Enter {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl PodNetns {
    /// Opens the file that the runtime names.
    pub(crate) fn open(path: &Path) -> Result<Self, NetnsError> {
        let failed = |source| NetnsError::Open {
            path: path.into(),
            source,
        };
        // A pipe would wait for its writer.
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(path).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        let kind = fstatfs(&file).map_err(|number| failed(number.into()))?;
        if kind.filesystem_type() != NSFS_MAGIC {
            return Err(NetnsError::NotANamespace(path.into()));
        }
        if inode == std::fs::metadata(OWN_NAMESPACE).map_err(failed)?.ino() {
            return Err(NetnsError::NodesOwn(path.into()));
        }
        let identity = NetnsIdentity {
            path: path.to_string_lossy().into_owned(),
            inode,
        };
        Ok(Self { file, identity })
    }

    /// What to remember it by.
    pub(crate) fn identity(&self) -> &NetnsIdentity {
        &self.identity
    }

    /// The file's number, for a message to the kernel.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs `work` on a thread inside the namespace.
    pub(crate) fn run<T: Send, E: From<NetnsError> + Send>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let path = || PathBuf::from(&self.identity.path);
        let enter = |source| NetnsError::Enter {
            path: path(),
            source,
        };
        let inside = || {
            let entered = setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET);
            entered.map_err(|number| {
                // A namespace, but of mounts or processes.
                if number == Errno::EINVAL {
                    NetnsError::NotANamespace(path())
                } else {
                    enter(number.into())
                }
            })?;
            work()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, inside);
            match thread.map_err(enter)?.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// Whether a namespace of that identity is still mounted at its path.
pub(crate) fn is_alive(identity: &NetnsIdentity) -> bool {
    let path = Path::new(&identity.path);
    let is_namespace = statfs(path).is_ok_and(|kind| kind.filesystem_type() == NSFS_MAGIC);
    is_namespace && std::fs::metadata(path).is_ok_and(|file| file.ino() == identity.inode)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pipe_is_no_namespace_and_keeps_nobody_waiting() {
        let path = std::env::temp_dir().join(format!("sotto-cni-pipe-{}", std::process::id()));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let opened = path.clone();

        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(PodNetns::open(&opened).err()).ok());
        let error = finished.recv_timeout(Duration::from_secs(10));
        std::fs::remove_file(&path).unwrap();

        assert!(
            matches!(error, Ok(Some(NetnsError::NotANamespace(_)))),
            "{error:?}"
        );
    }

    #[test]
    fn a_namespace_of_another_kind_is_no_network_namespace() {
        let mounts = PodNetns::open(Path::new("/proc/self/ns/mnt")).unwrap();

        let entered = mounts.run(|| Ok::<(), NetnsError>(()));

        assert!(
            matches!(entered, Err(NetnsError::NotANamespace(_))),
            "{entered:?}"
        );
    }
}
