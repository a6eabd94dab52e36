//! Writing: the old bytes or the new, whenever the machine stops.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};

use crate::error::{FileError, system};

/// Most names that [`set_aside`] tries (a guess: a person looks before that).
const MOST_ASIDE: u32 = 10;

/// Replaces a file, on disk before this returns: after a crash it holds the old bytes or the new. What
/// a crash leaves beside it, the next call replaces. A lock of the caller's allows one writer.
///
/// # Errors
/// When the system refuses; the old file then stays.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    finish(path, fill(bytes, mode), |whole| {
        fs::rename(whole, path).map_err(system("replace", path))
    })
}

/// Replaces a file like [`write()`] by a copy of `from`, whatever its size, and whoever executes the old
/// one. The mode is set whatever the umask says.
///
/// # Errors
/// When the system refuses; the old file then stays.
pub fn copy(from: &Path, path: &Path, mode: u32) -> Result<(), FileError> {
    finish(path, fill_from(from, mode), |whole| {
        fs::rename(whole, path).map_err(system("replace", path))
    })
}

/// Makes a file like [`write()`], but never over one that is there.
///
/// # Errors
/// When the system refuses, with [`ErrorKind::AlreadyExists`] when there is one.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    finish(path, fill(bytes, mode), |whole| {
        fs::hard_link(whole, path).map_err(system("create", path))?;
        remove(whole)
    })
}

fn fill_from(from: &Path, mode: u32) -> impl FnOnce(&Path) -> Result<(), FileError> {
    move |unfinished| {
        let mut source = File::open(from).map_err(system("open", from))?;
        let mut file = create(unfinished, mode)?;
        io::copy(&mut source, &mut file).map_err(system("write", unfinished))?;
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(system("set mode of", unfinished))?;
        file.sync_all().map_err(system("sync", unfinished))
    }
}

fn finish(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), FileError>,
    name: impl FnOnce(&Path) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let unfinished = unfinished(path);
    remove(&unfinished)?;
    let written = fill(&unfinished).and_then(|()| name(&unfinished));
    if written.is_err() {
        // The first fault is told; what stays now goes with the next call.
        drop(remove(&unfinished));
        return written;
    }
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

fn fill(bytes: &[u8], mode: u32) -> impl FnOnce(&Path) -> Result<(), FileError> {
    move |path| {
        let mut file = create(path, mode)?;
        file.write_all(bytes).map_err(system("write", path))?;
        file.sync_all().map_err(system("sync", path))
    }
}

fn create(path: &Path, mode: u32) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(system("create", path))
}

/// Waits until the names in a directory are on disk.
///
/// # Errors
/// When the system refuses.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(system("sync", path))
}

/// Opens, or makes, a file whose lock means something: never through a link, never waiting.
///
/// # Errors
/// When the system refuses.
pub fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        .open(path)
}

/// Where [`write()`] puts a file before it is whole.
#[must_use]
pub fn unfinished(path: &Path) -> PathBuf {
    beside(path, ".new")
}

/// Removes a file; one that is not there is removed already.
///
/// # Errors
/// When the system refuses.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(system("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Moves a file that cannot be used out of the way, where a person can look at it. What was set aside
/// before is replaced.
///
/// # Errors
/// When the system refuses.
pub fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let mut aside = aside(path);
    for number in 1.. {
        match fs::rename(path, &aside) {
            // A folder and a file cannot take each other's place.
            Err(error) if number < MOST_ASIDE && is_of_another_kind(error.kind()) => {
                aside = beside(path, &format!(".refused-{number}"));
            }
            renamed => {
                renamed.map_err(system("set aside", path))?;
                break;
            }
        }
    }
    Ok(aside)
}

fn is_of_another_kind(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::DirectoryNotEmpty
            | ErrorKind::AlreadyExists
    )
}

/// Takes away what stands in a file's place: a file goes, a folder may be somebody's and is set aside.
///
/// # Errors
/// When the system refuses.
pub fn clear(path: &Path) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => set_aside(path).map(drop),
        Ok(_) | Err(_) => remove(path),
    }
}

/// Where [`set_aside`] moves a file.
#[must_use]
pub fn aside(path: &Path) -> PathBuf {
    beside(path, ".refused")
}

/// Everywhere [`set_aside`] may have moved a file.
pub fn all_aside(path: &Path) -> impl Iterator<Item = PathBuf> {
    let numbered = (1..MOST_ASIDE).map(|number| beside(path, &format!(".refused-{number}")));
    std::iter::once(aside(path)).chain(numbered)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    PathBuf::from(beside)
}
