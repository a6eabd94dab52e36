//! The ledger on disk: replaced as a whole, by compare and swap, with a checksum, so that a file
//! that is torn, edited or half restored is told from one that the controller wrote.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Ledger, LedgerError};

/// First words of the file, before the checksum.
const HEADER: &str = "sotto ledger 1 sha256:";

/// Some 600 bytes a node and 10 000 nodes, ten times over.
pub(super) const MAX_BYTES: u64 = 64 * 1024 * 1024;

const FILE: &str = "ledger";
const LOCK: &str = "ledger.lock";

/// Where the ledger is kept.
#[derive(Debug, Clone)]
pub(crate) struct LedgerFile {
    path: PathBuf,
    lock: PathBuf,
}

/// Changes whenever the file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl LedgerFile {
    /// Names the ledger of a state folder.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join(FILE),
            lock: folder.join(LOCK),
        }
    }

    /// Reads the ledger.
    pub(crate) fn read(&self) -> Result<Ledger, LedgerError> {
        let path = self.path.clone();
        let bytes = match kept_files::read_secret(&path, MAX_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(LedgerError::Missing { path }),
            Err(error) if error.is_in_the_file() => return Err(LedgerError::Unsafe(error)),
            Err(error) => {
                let source = error.into();
                return Err(LedgerError::Read { path, source });
            }
        };
        decode(&bytes).map_err(|what| LedgerError::Damaged { path, what })
    }

    /// Refuses a folder that has a ledger, before anything is made for another one.
    pub(crate) fn check_absent(&self) -> Result<(), LedgerError> {
        if self.path.symlink_metadata().is_ok() {
            let path = self.path.clone();
            return Err(LedgerError::Exists { path });
        }
        Ok(())
    }

    /// Writes the first version.
    pub(crate) fn create(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let _held = self.hold()?;
        match kept_files::write_new(&self.path, &encode(ledger), 0o600).map_err(io::Error::from) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(LedgerError::Exists {
                path: self.path.clone(),
            }),
            written => written.map_err(|source| self.unwritten(source)),
        }
    }

    /// Replaces the ledger by its next version, unless somebody else was faster: then nothing is
    /// written, and the caller reads and decides again.
    pub(crate) fn replace(&self, mut next: Ledger) -> Result<Ledger, LedgerError> {
        let _held = self.hold()?;
        let found = self.read()?.version;
        if found != next.version {
            let expected = next.version;
            return Err(LedgerError::Conflict { expected });
        }
        next.version = next.version.saturating_add(1);
        kept_files::write(&self.path, &encode(&next), 0o600)
            .map_err(|error| self.unwritten(error.into()))?;
        Ok(next)
    }

    /// Reads, changes and replaces the ledger, again from the start when somebody else was faster.
    pub(crate) fn update<T, E: From<LedgerError>>(
        &self,
        mut change: impl FnMut(&mut Ledger) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let mut ledger = self.read()?;
            let outcome = change(&mut ledger)?;
            match self.replace(ledger) {
                Ok(_) => return Ok(outcome),
                Err(LedgerError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Size of the file.
    pub(crate) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }

    /// Tells one version of the file from another without reading it.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let found = fs::metadata(&self.path).ok()?;
        Some(Stamp {
            inode: found.ino(),
            seconds: found.mtime(),
            nanoseconds: found.mtime_nsec(),
        })
    }

    /// Keeps other writers out for the moment between reading the version and the rename.
    fn hold(&self) -> Result<Flock<File>, LedgerError> {
        let failed = |source| LedgerError::Write {
            path: self.lock.clone(),
            source,
        };
        let file = kept_files::open_lock(&self.lock).map_err(failed)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
    }

    fn unwritten(&self, source: io::Error) -> LedgerError {
        LedgerError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

pub(super) fn encode(ledger: &Ledger) -> Zeroizing<Vec<u8>> {
    #[expect(
        clippy::expect_used,
        reason = "map keys are strings and nothing else can fail"
    )]
    let body = Zeroizing::new(serde_json::to_vec_pretty(ledger).expect("a ledger serializes"));
    seal(&body)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Ledger, String> {
    checked(serde_json::from_slice(unseal(bytes)?))
}

/// Puts the checksum before a body.
pub(super) fn seal(body: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(body.len() + 128));
    bytes.extend_from_slice(HEADER.as_bytes());
    bytes.extend_from_slice(hex(&Sha256::digest(body)).as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    bytes
}

/// The body, if it is the one that the checksum was made of.
pub(super) fn unseal(bytes: &[u8]) -> Result<&[u8], String> {
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or("it is cut short")?;
    let (head, body) = bytes.split_at_checked(end).ok_or("it is cut short")?;
    let body = body.strip_prefix(b"\n").ok_or("it is cut short")?;
    let checksum = head
        .strip_prefix(HEADER.as_bytes())
        .ok_or("it is no ledger, or one of another version")?;
    if hex(&Sha256::digest(body)).as_bytes() != checksum {
        return Err("its content and its checksum differ".to_owned());
    }
    Ok(body)
}

/// A ledger that does not contradict itself.
pub(super) fn checked(read: serde_json::Result<Ledger>) -> Result<Ledger, String> {
    let ledger = read.map_err(|error| error.to_string())?;
    match ledger.contradiction() {
        Some(what) => Err(what),
        None => Ok(ledger),
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads exactly `N` bytes of lower-case hexadecimal.
pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = Vec::with_capacity(N);
    for pair in text.as_bytes().chunks(2) {
        bytes.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
    }
    let bytes: [u8; N] = bytes.try_into().ok()?;
    (hex(&bytes) == text).then_some(bytes)
}
