//! Why the ledger cannot be used, wherever it is kept.

use std::io;
use std::path::PathBuf;

use kept_files::FileError;
use node_identity::Pin;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error(
        "open ledger {}: it is missing, put back a backup taken after the last enrolment; without \
         one, `sotto-controller root create` in an empty folder starts over, with another root",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "open ledger {}: {what}; put back a backup taken after the last enrolment, for an older \
         one would hand out ranges twice; without one, `sotto-controller root create` in an empty \
         folder starts over, with another root",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "create ledger {}: there is one already, it is never replaced; put back its root's backup \
         or name an empty folder",
        path.display()
    )]
    Exists { path: PathBuf },
    #[error("read ledger {}: may this user read it?", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("open ledger")]
    Unsafe(#[source] FileError),
    #[error("write ledger {}: is the disk full or read-only?", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("read ledger: it belongs to {found}, this root is {own}: start again with that root")]
    OtherRoot { found: Box<Pin>, own: Box<Pin> },
    #[error("write ledger: it is no longer version {expected}, which was read")]
    Conflict { expected: u64 },
    #[error(
        "open ledger, Secret {secret}: it is missing; put back a backup taken after the last \
         enrolment; only for a root that has signed nothing, make it without content"
    )]
    NoSecret { secret: String },
    #[error(
        "open ledger, Secret {secret}: {what}; put back a backup taken after the last enrolment, \
         for an older one would hand out ranges twice"
    )]
    DamagedSecret { secret: String, what: String },
    #[error("{verb} ledger, Secret {secret}: {cure}")]
    Api {
        verb: &'static str,
        secret: String,
        cure: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    #[error(
        "write ledger, Secret {secret}: {bytes} bytes, at most {limit} may be used, so newcomers \
         wait, and in the end renewals too; delete the Nodes that are gone: a revoked node leaves the \
         ledger when its Node is gone and its certificates have ended"
    )]
    Full {
        secret: String,
        bytes: usize,
        limit: usize,
    },
}

impl LedgerError {
    /// Whether trying again can help: a full disk may, a damaged ledger is for a person.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Conflict { .. }
            | Self::Api { .. }
            | Self::Full { .. } => true,
            Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Unsafe(_)
            | Self::Exists { .. }
            | Self::OtherRoot { .. }
            | Self::NoSecret { .. }
            | Self::DamagedSecret { .. } => false,
        }
    }
}
