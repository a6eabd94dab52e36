//! Why a file cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a file or directory of ours cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system refused.
    #[error("{verb} {}", path.display())]
    System {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is longer than any file of ours.
    #[error("read {}: longer than {limit} bytes, is it the right file?", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A folder, link, pipe or device stands where a file of ours belongs.
    #[error("read {}: no regular file; is the path right? Else remove it", path.display())]
    NotAFile {
        /// What stands there.
        path: PathBuf,
    },
    /// Somebody else may have read or written the secret.
    #[error("read secret {}: {fault}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the cure.
        fault: String,
    },
    /// Something else stands where a directory of ours belongs.
    #[error("use directory {}: it is no directory, remove it or name another", path.display())]
    NotADirectory {
        /// What stands there.
        path: PathBuf,
    },
    /// Others may do more in a directory than in ours.
    #[error(
        "use directory {}: its mode is {found:o}; is it Sotto's alone? Then chmod {mode:o} it, else name another",
        path.display()
    )]
    TooOpen {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        found: u32,
        /// The most that it may be.
        mode: u32,
    },
    /// A directory is somebody else's, who could replace any file in it.
    #[error(
        "use directory {}: it belongs to user {found}, not {owner}; run this as its owner, or chown it",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: u32,
        /// Who we are.
        owner: u32,
    },
}

impl FileError {
    /// Whether it is what stands there that is wrong, not the system that could not be asked: the
    /// same comes again until somebody takes it away.
    #[must_use]
    pub fn is_in_the_file(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::NotAFile { .. } | Self::Exposed { .. } => true,
            Self::System { .. }
            | Self::NotADirectory { .. }
            | Self::TooOpen { .. }
            | Self::Foreign { .. } => false,
        }
    }
}

impl From<FileError> for io::Error {
    /// What the system said, for errors that name verb and file themselves.
    fn from(error: FileError) -> Self {
        match error {
            FileError::System { source, .. } => source,
            FileError::TooLong { .. }
            | FileError::NotAFile { .. }
            | FileError::Exposed { .. }
            | FileError::NotADirectory { .. }
            | FileError::TooOpen { .. }
            | FileError::Foreign { .. } => Self::other(error),
        }
    }
}

pub(crate) fn system(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System { verb, path, source }
}
