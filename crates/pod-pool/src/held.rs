//! Reservation files: found by name, claimed by a lock, made and freed in one step each.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cni_protocol::reservation::Reservation;
use nix::libc;

use crate::{PoolError, failed, names_in, remove, resting, wait_for_lock};

/// What a file that is still being written starts with.
const UNFINISHED: &str = ".";

/// The end of a reservation's name.
const SUFFIX: &str = ".json";

/// The longest reservation that is read, in bytes; a real one has some two hundred.
const SIZE_LIMIT: u64 = 1 << 16;

/// A reservation as it stands in the folder; it may go at any time.
#[derive(Debug)]
pub struct Found {
    path: PathBuf,
    link: String,
}

/// What a reservation's file says; `None` when it is gone or says nothing that can be read.
pub(crate) fn read(path: &Path) -> Option<Reservation> {
    let text = kept_files::read(path, SIZE_LIMIT, kept_files::Links::Refuse).ok()??;
    Reservation::from_json(&text).ok()
}

/// A reservation that nobody else works on, as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// Its lock is the claim.
    _file: File,
    found: Found,
    reservation: Option<Reservation>,
    resting_folder: PathBuf,
}

impl Found {
    pub(crate) fn new(folder: &Path, link: &str) -> Self {
        Self {
            path: folder.join(format!("{link}{SUFFIX}")),
            link: link.into(),
        }
    }

    pub(crate) fn all(folder: &Path) -> Result<Vec<Self>, PoolError> {
        let names = names_in(folder)?;
        let finished = names.iter().filter(|name| !name.starts_with(UNFINISHED));
        let links = finished.filter_map(|name| name.strip_suffix(SUFFIX));
        Ok(links.map(|link| Self::new(folder, link)).collect())
    }

    /// Name of the link on the node.
    #[must_use]
    pub fn link(&self) -> &str {
        &self.link
    }

    /// What the file says; `None` when it is gone or says nothing that can be read.
    #[must_use]
    pub fn read(&self) -> Option<Reservation> {
        read(&self.path)
    }

    /// Whether it is being written, by a call that may have been killed.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.path
            .with_file_name(format!("{UNFINISHED}{}", self.link))
            .exists()
    }

    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.read().map(|it| it.addresses).unwrap_or_default()
    }

    /// Claims it, if it is there, as soon as nobody else works on it.
    pub(crate) fn claim(
        self,
        resting_folder: &Path,
        until: Instant,
    ) -> Result<Option<Held>, PoolError> {
        let Some(file) = self.open()? else {
            return Ok(None);
        };
        wait_for_lock(&file, &self.path, until)?;
        self.held(file, resting_folder)
    }

    /// Claims it, if it is there and nobody works on it.
    pub(crate) fn try_claim(&self, resting_folder: &Path) -> Result<Option<Held>, PoolError> {
        let Some(file) = self.open()? else {
            return Ok(None);
        };
        match file.try_lock() {
            Ok(()) => Self::new_at(self).held(file, resting_folder),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => Err(failed("lock", &self.path, source)),
        }
    }

    fn new_at(other: &Self) -> Self {
        Self {
            path: other.path.clone(),
            link: other.link.clone(),
        }
    }

    fn open(&self) -> Result<Option<File>, PoolError> {
        // A pipe would wait for its writer, with the pool locked.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        match options.open(&self.path) {
            // No call of ours made a folder, and nothing here could remove it.
            Ok(file) if file.metadata().is_ok_and(|it| it.is_dir()) => Ok(None),
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // A socket, or a link that leads to itself: no call of ours made or locked it.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ELOOP)) => {
                Ok(None)
            }
            Err(source) => Err(failed("open", &self.path, source)),
        }
    }

    /// The lock may have come after the file was freed by somebody else; then it is nobody's.
    fn held(self, file: File, resting_folder: &Path) -> Result<Option<Held>, PoolError> {
        let locked = file
            .metadata()
            .map_err(|source| failed("inspect", &self.path, source))?;
        match fs::metadata(&self.path) {
            Ok(current) if current.ino() == locked.ino() => {}
            Ok(_) | Err(_) => return Ok(None),
        }
        Ok(Some(Held {
            _file: file,
            reservation: self.read(),
            found: self,
            resting_folder: resting_folder.into(),
        }))
    }
}

impl Held {
    /// Writes a new reservation; the caller holds the pool's lock.
    pub(crate) fn create(
        folder: &Path,
        link: &str,
        reservation: Reservation,
        resting_folder: PathBuf,
    ) -> Result<Self, PoolError> {
        let found = Found::new(folder, link);
        let unfinished = folder.join(format!("{UNFINISHED}{link}"));
        let text = reservation.to_json().map_err(PoolError::Encode)?;
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&unfinished)?;
            // Locked before it has its name, so that nobody ever sees it without.
            file.try_lock()?;
            file.write_all(text.as_bytes())?;
            fs::rename(&unfinished, &found.path)?;
            Ok(file)
        };
        match write() {
            Ok(file) => Ok(Self {
                _file: file,
                found,
                reservation: Some(reservation),
                resting_folder,
            }),
            Err(source) => {
                let error = failed("write", &unfinished, source);
                remove(&unfinished)?;
                Err(error)
            }
        }
    }

    /// Removes what a killed call was writing; the caller holds the pool's lock.
    pub(crate) fn remove_unfinished(folder: &Path) -> Result<(), PoolError> {
        let names = names_in(folder)?;
        let mut unfinished = names.iter().filter(|name| name.starts_with(UNFINISHED));
        unfinished.try_for_each(|name| remove(&folder.join(name)))
    }

    /// What is reserved; `None` when the file could not be read.
    #[must_use]
    pub fn reservation(&self) -> Option<&Reservation> {
        self.reservation.as_ref()
    }

    /// Sends the addresses to rest.
    ///
    /// # Errors
    /// When the file can neither be moved nor removed.
    pub fn release(self, now: Duration) -> Result<(), PoolError> {
        let name = resting::name(now, self.found.link());
        match fs::rename(&self.found.path, self.resting_folder.join(name)) {
            Ok(()) => Ok(()),
            // Freed without rest is better than not freed: the file system may be full.
            Err(_) => self.cancel(),
        }
    }

    /// Gives the addresses back at once: no pod ever used them.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn cancel(self) -> Result<(), PoolError> {
        remove(&self.found.path)
    }
}
