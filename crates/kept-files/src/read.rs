//! Reading, without trust in what lies there.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{ELOOP, ENXIO, O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};
use zeroize::Zeroizing;

use crate::error::{FileError, system};
use crate::write::set_aside;

/// Whether a file may be reached through a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The operator's own, in directories that nobody else can write.
    Follow,
    /// Anybody's, who could make us read another file.
    Refuse,
}

/// Reads a file of at most `limit` bytes; `None` when there is none.
///
/// # Errors
/// When it cannot be read, is too long, or is no regular file: a pipe would keep the reader for ever.
pub fn read(path: &Path, limit: u64, links: Links) -> Result<Option<Vec<u8>>, FileError> {
    let Some(file) = open(path, links)? else {
        return Ok(None);
    };
    // Nothing secret, so it may leave what wipes it.
    read_bounded(&file, path, limit).map(|mut bytes| Some(std::mem::take(&mut *bytes)))
}

/// What [`load`] came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// There is no file.
    Absent,
    /// It says this.
    Whole(T),
    /// It cannot be used.
    Refused {
        /// What is wrong with it.
        fault: String,
        /// Where it went.
        aside: PathBuf,
    },
}

/// Reads a file that its owner can go on without: whatever is wrong with it, it is set aside.
///
/// # Errors
/// When the system refuses to show it or to set it aside.
pub fn load<T>(
    path: &Path,
    limit: u64,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Loaded<T>, FileError> {
    let fault = match read(path, limit, Links::Follow) {
        Ok(None) => return Ok(Loaded::Absent),
        Ok(Some(bytes)) => match parse(&bytes) {
            Ok(whole) => return Ok(Loaded::Whole(whole)),
            Err(fault) => fault,
        },
        Err(error) if error.is_in_the_file() => error.to_string(),
        Err(error) => return Err(error),
    };
    let aside = set_aside(path)?;
    Ok(Loaded::Refused { fault, aside })
}

/// Reads a secret of at most `limit` bytes; `None` when there is none.
///
/// # Errors
/// When it is a link, no regular file, not ours, or open to others: then it is no secret any more.
pub fn read_secret(path: &Path, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let exposed = |fault: String| FileError::Exposed {
        path: path.to_owned(),
        fault,
    };
    let file = match open(path, Links::Refuse) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(FileError::NotAFile { .. }) => {
            let fault = "is a link, folder, pipe or device; put the file itself there, mode 600";
            return Err(exposed(fault.to_owned()));
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata().map_err(system("inspect", path))?;
    let (found, owner) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    if found != owner {
        return Err(exposed(format!(
            "belongs to user {found}, not {owner}; run this as its owner, or chown it if only you knew it"
        )));
    }
    if metadata.mode() & 0o177 != 0 {
        return Err(exposed(format!(
            "mode is {:o}, not 600; if nobody else has read it, chmod 600 it",
            metadata.mode() & 0o7777
        )));
    }
    read_bounded(&file, path, limit).map(Some)
}

fn open(path: &Path, links: Links) -> Result<Option<File>, FileError> {
    let follow = match links {
        Links::Follow => 0,
        Links::Refuse => O_NOFOLLOW,
    };
    let not_a_file = || FileError::NotAFile {
        path: path.to_owned(),
    };
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(follow | O_NONBLOCK | O_CLOEXEC)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // A link, or a socket or device with nobody behind it.
        Err(error) if matches!(error.raw_os_error(), Some(ELOOP | ENXIO)) => {
            return Err(not_a_file());
        }
        Err(error) => return Err(system("open", path)(error)),
    };
    if file.metadata().map_err(system("inspect", path))?.is_file() {
        Ok(Some(file))
    } else {
        Err(not_a_file())
    }
}

/// The whole buffer is there from the start: one that grows leaves copies of a secret behind.
fn read_bounded(file: &File, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let length = file.metadata().map_err(system("inspect", path))?.len();
    let room = usize::try_from(length.min(limit)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(system("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLong {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}
