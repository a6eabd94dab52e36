//! Why the store as a whole could not be read or written. Single bad entries are not errors: they
//! are listed as [`RefusedEntry`](crate::RefusedEntry) beside what could be read.

use std::io;
use std::path::PathBuf;

/// A failed operation on the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store's folder cannot be opened or made.
    #[error("open store {}: does the folder exist, and may this user enter it?", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A folder of the store cannot be listed.
    #[error("list {}: is the store mounted and readable?", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the store cannot be read.
    #[error("read {}: may this user read it?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the store cannot be written.
    #[error("write {}: is the store full or read-only?", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the store cannot be removed.
    #[error("remove {}: is the store read-only?", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The store's folder cannot be watched.
    #[error("watch store {}: is fs.inotify.max_user_instances used up?", path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// What the notifier said.
        #[source]
        source: notify::Error,
    },
    /// An object larger than its kind may be.
    #[error("write {name}: {length} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The object.
        name: String,
        /// Its size in bytes.
        length: usize,
        /// The most its kind may have.
        limit: usize,
    },
    /// More envelopes than a node may have.
    #[error("publish envelopes of node {node}: {count} given, at most 2 are allowed")]
    TooManyEnvelopes {
        /// The node.
        node: String,
        /// How many were given.
        count: usize,
    },
    /// The thread that did the file work is gone.
    #[error("use store {}: its worker thread stopped, is the process shutting down?", path.display())]
    WorkerGone {
        /// The store's folder.
        path: PathBuf,
    },
    /// There is no usable way to the API server.
    #[error(transparent)]
    Connect(#[from] cluster_client::ConnectError),
    /// The API server did not do what it was asked.
    #[error("{verb} {object}: {cure}")]
    Api {
        /// What was asked, as RBAC calls it.
        verb: &'static str,
        /// Of which object.
        object: String,
        /// What is likely to help.
        cure: &'static str,
        /// Whether the server judged this very request.
        is_refusal: bool,
        /// What the API server, or the way to it, said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An object is not as its kind should be.
    #[error("read {object}: it is not as its kind should be, who wrote it?")]
    Unreadable {
        /// The object.
        object: String,
    },
    /// The objects of a kind could not be listed since the start.
    #[error("list {kind}: not listed within {waited:?} of the start, {cure}")]
    NotListed {
        /// The kind.
        kind: &'static str,
        /// How long was waited.
        waited: std::time::Duration,
        /// What is likely to help.
        cure: String,
    },
    /// A kind has not been watched for long: what was listed may be old.
    #[error("watch {kind}: broken for minutes, {cure}")]
    Stale {
        /// The kind.
        kind: &'static str,
        /// What is likely to help.
        cure: String,
    },
    /// An object that somebody else makes is not there yet.
    #[error("write {object}: not there yet, the controller makes it")]
    NotThere {
        /// The object.
        object: String,
    },
    /// Bytes that are no certificate were to be published.
    #[error("publish certificate of node {node}: it cannot be read")]
    Certificate {
        /// The node.
        node: String,
        /// What is wrong with it.
        #[source]
        source: node_identity::CertificateError,
    },
    /// Others wrote an object each time between a look and a write.
    #[error("{verb} {object}: somebody else was faster {attempts} times, it is tried again")]
    Contended {
        /// What was asked, as RBAC calls it.
        verb: &'static str,
        /// Of which object.
        object: String,
        /// How often it was tried.
        attempts: usize,
    },
    /// The API server made an object and gave it no UID.
    #[error("create {object}: it has no UID, is that a Kubernetes API server?")]
    NoUid {
        /// The object.
        object: String,
    },
    /// A call that only a store of another role answers.
    #[error("use the store: this call is {role}'s, the store was opened for the other side")]
    WrongRole {
        /// Whose call it is.
        role: &'static str,
    },
}

impl StoreError {
    /// Whether it says something of one object, so that others may fare better, and not of the store
    /// as a whole.
    #[must_use]
    pub const fn is_of_one_object(&self) -> bool {
        match self {
            Self::Api { is_refusal, .. } => *is_refusal,
            Self::TooLarge { .. }
            | Self::TooManyEnvelopes { .. }
            | Self::Unreadable { .. }
            | Self::NotThere { .. }
            | Self::Certificate { .. }
            | Self::Contended { .. } => true,
            Self::Open { .. }
            | Self::List { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Remove { .. }
            | Self::Watch { .. }
            | Self::WorkerGone { .. }
            | Self::Connect(_)
            | Self::NotListed { .. }
            | Self::Stale { .. }
            | Self::NoUid { .. }
            | Self::WrongRole { .. } => false,
        }
    }
}
