//! Files of bounded size, written whole or not at all, and never reached through a link.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kept_files::{FileError, Links};

use crate::error::StoreError;
use crate::published::{Refusal, RefusedEntry};

/// Most entries of one folder that are read: twice the largest cluster planned for. Names that are
/// none of ours do not count among them, else so many would hide a node; so many of them are named.
const MAX_ENTRIES: usize = 20_000;

/// Most bytes of one folder that are read: twice what the largest cluster planned for publishes.
/// Entries and their sizes alone would bound nothing: 20 000 holes of 4 MiB cost a writer nothing.
const MAX_FOLDER_BYTES: usize = 64 << 20;

/// Age from which a file that never got renamed was surely left by a crash.
const STALE: Duration = Duration::from_secs(3600);

const TEMPORARY: &str = "tmp";

/// One kind of object: where its files are, how they end and how large they may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folder {
    pub(super) name: &'static str,
    pub(super) suffix: &'static str,
    pub(super) limit: usize,
    /// Whether a name without suffix is one that Sotto gives.
    pub(super) is_ours: fn(&str) -> bool,
}

/// The readable files of ours in a folder by their names without suffix, and what was passed over.
pub(super) struct Listing {
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) refused: Vec<RefusedEntry>,
}

impl Folder {
    pub(super) fn path(self, root: &Path) -> PathBuf {
        root.join(self.name)
    }

    pub(super) fn refused(self, name: &str, reason: Refusal) -> RefusedEntry {
        RefusedEntry {
            name: format!("{}/{name}{}", self.name, self.suffix),
            reason,
        }
    }

    /// A file's name without suffix, if it is one that Sotto gives.
    fn stem(self, name: &str) -> Option<&str> {
        name.strip_suffix(self.suffix)
            .filter(|stem| (self.is_ours)(stem))
    }

    fn file(self, root: &Path, name: &str) -> PathBuf {
        self.path(root).join(format!("{name}{}", self.suffix))
    }
}

/// Makes the folders that are missing and sweeps what a crash left in the temporary one.
pub(super) fn prepare(root: &Path, folders: &[Folder]) -> Result<(), StoreError> {
    let made = folders
        .iter()
        .map(|folder| folder.path(root))
        .chain([root.join(TEMPORARY)]);
    for path in made {
        fs::create_dir_all(&path).map_err(|source| StoreError::Open { path, source })?;
    }
    let Ok(entries) = fs::read_dir(root.join(TEMPORARY)) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let age = entry
            .metadata()
            .and_then(|found| found.modified())
            .map(|at| at.elapsed());
        if matches!(age, Ok(Ok(age)) if age > STALE) {
            // Another opener may have removed it first.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Reads every file of a folder. A missing folder is an empty one.
pub(super) fn list(root: &Path, folder: Folder) -> Result<Listing, StoreError> {
    let path = folder.path(root);
    let mut listing = Listing {
        files: Vec::new(),
        refused: Vec::new(),
    };
    let names = names(&path, folder, &mut listing.refused)?;
    let mut left = MAX_FOLDER_BYTES;
    for stem in names {
        match read_bounded(&folder.file(root, &stem), folder.limit) {
            Ok(Some(Ok(bytes))) => match left.checked_sub(bytes.len()) {
                Some(rest) => {
                    left = rest;
                    listing.files.push((stem, bytes));
                }
                None => listing
                    .refused
                    .push(folder.refused(&stem, Refusal::TooMany)),
            },
            Ok(Some(Err(reason))) => {
                listing.refused.push(folder.refused(&stem, reason));
            }
            Ok(None) => {}
            Err(_) => listing
                .refused
                .push(folder.refused(&stem, Refusal::Unreadable)),
        }
    }
    Ok(listing)
}

/// The names of ours in a folder, sorted and without suffix; none where there is no folder.
fn names(
    path: &Path,
    folder: Folder,
    refused: &mut Vec<RefusedEntry>,
) -> Result<Vec<String>, StoreError> {
    let fault = |source| StoreError::List {
        path: path.to_owned(),
        source,
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(fault(source)),
    };
    let (mut names, mut foreign) = (Vec::new(), Vec::new());
    for entry in entries {
        let name = entry.map_err(fault)?.file_name();
        match name.to_str().and_then(|name| folder.stem(name)) {
            Some(_) if names.len() >= MAX_ENTRIES => {
                refused.push(RefusedEntry {
                    name: format!("{}/", folder.name),
                    reason: Refusal::TooMany,
                });
                break;
            }
            Some(stem) => names.push(stem.to_owned()),
            None if foreign.len() >= MAX_ENTRIES => {}
            None => foreign.push(name),
        }
    }
    names.sort();
    foreign.sort();
    refused.extend(foreign.iter().map(|name| RefusedEntry {
        name: format!("{}/{}", folder.name, name.to_string_lossy().escape_debug()),
        reason: Refusal::ForeignName,
    }));
    Ok(names)
}

/// Reads one file. `None`: there is none.
pub(super) fn read(
    root: &Path,
    folder: Folder,
    name: &str,
) -> Result<Option<Result<Vec<u8>, Refusal>>, StoreError> {
    let path = folder.file(root, name);
    read_bounded(&path, folder.limit).map_err(|source| StoreError::Read { path, source })
}

/// Writes one file: whole under its name, on disk, or not at all. Leaves an equal file alone, so
/// that nobody is woken for nothing.
pub(super) fn write(
    root: &Path,
    folder: Folder,
    name: &str,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let path = folder.file(root, name);
    if bytes.len() > folder.limit {
        return Err(StoreError::TooLarge {
            name: format!("{}/{name}", folder.name),
            length: bytes.len(),
            limit: folder.limit,
        });
    }
    if matches!(read_bounded(&path, folder.limit), Ok(Some(Ok(found))) if found == bytes) {
        return Ok(());
    }
    replace(root, folder, &path, bytes).map_err(|source| StoreError::Write { path, source })
}

/// Removes one file, or finds it gone.
pub(super) fn remove(root: &Path, folder: Folder, name: &str) -> Result<(), StoreError> {
    let path = folder.file(root, name);
    kept_files::remove(&path).map_err(|error| {
        let source = error.into();
        StoreError::Remove { path, source }
    })
}

fn replace(root: &Path, folder: Folder, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (temporary, parent) = (root.join(TEMPORARY), folder.path(root));
    fs::create_dir_all(&temporary)?;
    fs::create_dir_all(&parent)?;
    // Several nodes write at a time, so each under a name of its own.
    let mut file = tempfile::NamedTempFile::new_in(&temporary)?;
    file.write_all(bytes)?;
    // Nothing in the store is secret, and nodes may run as other users than the controller.
    file.as_file()
        .set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    // A folder under the file's name would make the rename fail for ever.
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        fs::remove_dir(path)?;
    }
    file.persist(path)?;
    Ok(kept_files::sync_directory(&parent)?)
}

fn read_bounded(path: &Path, limit: usize) -> io::Result<Option<Result<Vec<u8>, Refusal>>> {
    match kept_files::read(path, limit as u64, Links::Refuse) {
        Ok(Some(bytes)) if bytes.is_empty() => Ok(Some(Err(Refusal::Empty))),
        Ok(bytes) => Ok(bytes.map(Ok)),
        Err(FileError::TooLong { .. }) => Ok(Some(Err(Refusal::TooLarge))),
        Err(error) if error.is_in_the_file() => Ok(Some(Err(Refusal::NotAFile))),
        Err(error) => Err(error.into()),
    }
}
