//! A pod's network namespace: opened by its file, entered on a thread of its own.
//!
//! A thread that changed its namespace ends there, so the plugin's other work cannot land in the pod
//! by mistake.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cni_protocol::reservation::NetnsIdentity;
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
        let file = File::open(path).map_err(failed)?;
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
        let enter = |source| NetnsError::Enter {
            path: self.identity.path.clone().into(),
            source,
        };
        let inside = || {
            setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|number| enter(number.into()))?;
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
