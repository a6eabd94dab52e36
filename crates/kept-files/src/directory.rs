//! Directories that are ours alone.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::error::{FileError, system};

/// Whether a directory is there, which then is ours and open to no more than `mode` allows.
///
/// # Errors
/// When something else is there, or a directory of others.
pub fn find_directory(path: &Path, mode: u32) -> Result<bool, FileError> {
    let not_a_directory = || FileError::NotADirectory {
        path: path.to_owned(),
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // A link that leads nowhere.
        Err(_) if fs::symlink_metadata(path).is_ok() => return Err(not_a_directory()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(system("inspect directory", path)(error)),
    };
    if !metadata.is_dir() {
        return Err(not_a_directory());
    }
    let (found, owner) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    if found != owner {
        return Err(FileError::Foreign {
            path: path.to_owned(),
            found,
            owner,
        });
    }
    let found = metadata.mode() & 0o7777;
    if found & 0o777 & !mode != 0 {
        return Err(FileError::TooOpen {
            path: path.to_owned(),
            found,
            mode,
        });
    }
    Ok(true)
}

/// Makes a directory and its parents, readable by others or not. One that is there may be
/// somebody else's, so its mode is judged and never changed.
///
/// # Errors
/// When the system refuses, or what is there is not ours as [`find_directory`] says.
pub fn create_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    if find_directory(path, mode)? {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent)
        .and_then(|()| DirBuilder::new().mode(mode).create(path))
        .map_err(system("create directory", path))?;
    // The umask may have taken more away.
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(system("set mode of", path))
}

/// Closes a directory of ours that others may read and that holds nothing yet: kubelet makes them with
/// mode 755. Any other is left as it is.
///
/// # Errors
/// When the system refuses.
pub fn close_unused(path: &Path, mode: u32) -> Result<(), FileError> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let is_ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw();
    let is_empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let bits = found.mode() & 0o777;
    if !is_ours || bits & !mode == 0 || bits & 0o022 != 0 || !is_empty() {
        return Ok(());
    }
    let closed = Permissions::from_mode(bits & mode);
    fs::set_permissions(path, closed).map_err(system("set mode of", path))
}
