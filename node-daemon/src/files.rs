//! State on disk: written whole or not at all, read with bounds, secrets only from files nobody else
//! can have touched.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

/// The largest state file that is read. The verified set of 5 000 peers takes some 8 MB.
const SIZE_LIMIT: u64 = 64 << 20;

/// Why a file of ours cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    /// The system refused.
    #[error("{verb} {}", path.display())]
    System {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is longer than any file of ours.
    #[error("read {}: longer than {SIZE_LIMIT} bytes, not a file of ours", path.display())]
    TooLong {
        /// The file.
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
    /// A folder, pipe or device stands where a file of ours belongs.
    #[error("read {}: no regular file, remove it", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else may have read or written the secret.
    #[error("read secret {}: {fault}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
}

fn system(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System { verb, path, source }
}

/// Makes a directory and its parents, readable by others or not. One that is there may be
/// somebody else's, so its mode is judged and never changed.
///
/// # Errors
/// When the system refuses, or the directory is there and open to more than `mode` allows.
pub(crate) fn create_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    if let Ok(found) = fs::metadata(path)
        && found.is_dir()
    {
        let found = found.mode() & 0o7777;
        return match found & 0o777 & !mode {
            0 => Ok(()),
            _ => Err(FileError::TooOpen {
                path: path.to_owned(),
                found,
                mode,
            }),
        };
    }
    fs::create_dir_all(path).map_err(system("create directory", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(system("set mode of", path))
}

/// Reads a file; `None` when there is none.
///
/// # Errors
/// When it cannot be read, is too long, or is a pipe, which would keep the reader for ever.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(system("open", path)(error)),
    };
    if !file.metadata().map_err(system("inspect", path))?.is_file() {
        return Err(FileError::NotAFile {
            path: path.to_owned(),
        });
    }
    read_bounded(&file, path).map(|bytes| Some(bytes.to_vec()))
}

/// Reads a secret; `None` when there is none.
///
/// # Errors
/// When it is a link, no regular file, not ours, or open to others: then it is no secret any more.
pub(crate) fn read_secret(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let exposed = |fault: String| FileError::Exposed {
        path: path.to_owned(),
        fault,
    };
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(exposed("is a symbolic link".to_owned()));
        }
        Err(error) => return Err(system("open", path)(error)),
    };
    let metadata = file.metadata().map_err(system("inspect", path))?;
    let owner = nix::unistd::geteuid().as_raw();
    if !metadata.is_file() {
        return Err(exposed("is no regular file".to_owned()));
    }
    if metadata.uid() != owner {
        return Err(exposed(format!(
            "belongs to user {}, not {owner}",
            metadata.uid()
        )));
    }
    if metadata.mode() & 0o177 != 0 {
        return Err(exposed(format!(
            "mode is {:o}, not 600",
            metadata.mode() & 0o7777
        )));
    }
    read_bounded(&file, path).map(Some)
}

fn read_bounded(file: &File, path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(SIZE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(system("read", path))?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(FileError::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// Replaces a file, on disk before this returns: after a crash it holds the old bytes or the new. What
/// a crash leaves beside it, the next call replaces: the node's lock allows one writer.
///
/// # Errors
/// When the system refuses; the old file then stays.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let unfinished = unfinished(path);
    remove(&unfinished)?;
    let written = write_new(&unfinished, bytes, mode)
        .and_then(|()| fs::rename(&unfinished, path).map_err(system("replace", path)));
    if written.is_err() {
        // The first fault is told; what stays now goes with the next call.
        drop(remove(&unfinished));
        return written;
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(system("sync", directory))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(system("create", path))?;
    file.write_all(bytes).map_err(system("write", path))?;
    file.sync_all().map_err(system("sync", path))
}

/// Where [`write()`] puts a file before it is whole.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    beside(path, ".new")
}

/// Removes a file; one that is not there is removed already.
///
/// # Errors
/// When the system refuses.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(system("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Moves a file that cannot be used out of the way, where a person can look at it.
///
/// # Errors
/// When the system refuses.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let aside = aside(path);
    fs::rename(path, &aside).map_err(system("set aside", path))?;
    Ok(aside)
}

/// Where [`set_aside`] moves a file.
pub(crate) fn aside(path: &Path) -> PathBuf {
    beside(path, ".refused")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    PathBuf::from(beside)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{FileError, create_directory, read, read_secret, unfinished, write};

    #[test]
    fn a_secret_written_by_us_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");

        write(&path, b"secret", 0o600).unwrap();

        assert_eq!(read_secret(&path).unwrap().unwrap().as_slice(), b"secret");
    }

    #[test]
    fn kl13_a_secret_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, b"secret", 0o600).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

        let refused = read_secret(&path).unwrap_err();

        assert!(
            refused.to_string().contains("mode is 644, not 600"),
            "{refused}"
        );
    }

    #[test]
    fn kl13_a_secret_behind_a_link_is_never_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("key"));
        write(&real, b"secret", 0o600).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();

        assert!(matches!(read_secret(&link), Err(FileError::Exposed { .. })));
    }

    #[test]
    fn kl13_a_pipe_in_place_of_a_secret_does_not_hang_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();

        assert!(matches!(read_secret(&path), Err(FileError::Exposed { .. })));
    }

    #[test]
    fn a_directory_that_is_there_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let (theirs, ours) = (
            directory.path().join("theirs"),
            directory.path().join("ours"),
        );
        fs::create_dir(&theirs).unwrap();
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();

        let refused = create_directory(&theirs, 0o700).unwrap_err();
        create_directory(&ours, 0o700).unwrap();
        create_directory(&ours, 0o700).unwrap();

        assert!(refused.to_string().contains("its mode is 755"), "{refused}");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&theirs), mode(&ours)), (0o755, 0o700));
    }

    #[test]
    fn a_pipe_in_place_of_state_does_not_hang_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();

        assert!(matches!(read(&path), Err(FileError::NotAFile { .. })));
    }

    #[test]
    fn kl13_a_secret_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, b"secret", 0o600).unwrap();
        // Only root can give files away; without it the owner cannot be wrong.
        if std::os::unix::fs::chown(&path, Some(1), None).is_err() {
            return;
        }

        let refused = read_secret(&path).unwrap_err();

        assert!(
            refused.to_string().contains("belongs to user 1"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let directory = tempfile::tempdir().unwrap();

        assert!(read(&directory.path().join("none")).unwrap().is_none());
        assert!(
            read_secret(&directory.path().join("none"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_secret_that_a_crash_left_half_written_goes_with_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(unfinished(&path), b"secret, lef").unwrap();
        fs::set_permissions(unfinished(&path), fs::Permissions::from_mode(0o644)).unwrap();

        write(&path, b"new", 0o600).unwrap();

        assert_eq!(read_secret(&path).unwrap().unwrap().as_slice(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_refused_replacement_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        fs::create_dir(&path).unwrap();

        assert!(write(&path, b"new", 0o600).is_err());

        assert!(!unfinished(&path).exists());
    }

    #[test]
    fn a_replacement_leaves_no_other_file_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");

        write(&path, b"old", 0o644).unwrap();
        write(&path, b"new", 0o644).unwrap();

        assert_eq!(read(&path).unwrap().unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
