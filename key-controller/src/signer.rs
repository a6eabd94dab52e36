//! The one file that touches the root's private key: made once by `root create`, read at start,
//! used to sign what the ledger says, and never made anew because it is missing.
//!
//! Signing is deterministic, so a certificate or list that was lost from the store is signed again
//! to the same bytes.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cluster_api::names::{ROOT_CERTIFICATE as CERTIFICATE, ROOT_KEY as KEY};
use kept_files::{FileError, Links};
use node_identity::{
    IssueError, KeyError, NodeCertificateTerms, NodeUid, Pin, RevocationList, RootCertificate,
    RootError, RootKey, SpiffeId, TrustDomain, UnixTime,
};
use rand_core::CryptoRng;

use crate::ledger::NodeRecord;

/// A PKCS#8 Ed25519 key has some 120 bytes in PEM, a root certificate some 400 in DER.
const MAX_BYTES: u64 = 16 * 1024;

/// The root at work.
pub(crate) struct Signer {
    key: RootKey,
    certificate: RootCertificate,
}

/// Why the root cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignerError {
    #[error(
        "open root {}: it is missing, put back its backup; a new root is made only by \
         `sotto-controller root create` in an empty folder, and every node must then join again",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "open root, {place}: it has no entry {entry}, put back its backup; a new root is made only \
         by `sotto root create`, and every node must then join again"
    )]
    NoEntry { place: String, entry: String },
    #[error("open root {}: may this user read it?", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("open root")]
    Unsafe(#[source] FileError),
    #[error("open root key {}: it is damaged, put back its backup", path.display())]
    DamagedKey {
        path: PathBuf,
        #[source]
        source: KeyError,
    },
    #[error("open root certificate {}: it is damaged, put back its backup", path.display())]
    DamagedCertificate {
        path: PathBuf,
        #[source]
        source: RootError,
    },
    #[error("open root {}: it is {found}, the ledger belongs to {expected}", path.display())]
    OtherRoot {
        path: PathBuf,
        found: Box<Pin>,
        expected: Box<Pin>,
    },
    #[error("open root {}: the certificate is another key's, put back its backup", path.display())]
    OtherCertificate { path: PathBuf },
    #[error(
        "open root {}: its certificate is for trust domain {found}, the ledger for {expected}",
        path.display()
    )]
    OtherTrustDomain {
        path: PathBuf,
        found: String,
        expected: String,
    },
    #[error(
        "create root {}: there is one already, it is never replaced; name an empty folder",
        path.display()
    )]
    Exists { path: PathBuf },
    #[error("create root {}: is the disk full or read-only?", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("sign certificate of node {uid}")]
    Issue {
        uid: NodeUid,
        #[source]
        source: IssueError,
    },
}

impl Signer {
    /// Makes a root key and its certificate in a folder that has none.
    pub(crate) fn create(
        folder: &Path,
        trust_domain: &TrustDomain,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Result<Pin, SignerError> {
        let (key_path, certificate_path) = (folder.join(KEY), folder.join(CERTIFICATE));
        // Judged before the key is made: one that stayed behind alone would pass for the lost one.
        for path in [&key_path, &certificate_path] {
            if path.symlink_metadata().is_ok() {
                let path = path.clone();
                return Err(SignerError::Exists { path });
            }
        }
        let key = RootKey::generate(random);
        let certificate = key.create_certificate(trust_domain, now, random);
        write_new(&key_path, key.to_pem().as_bytes())?;
        write_new(&certificate_path, certificate.to_der())?;
        Ok(key.pin())
    }

    /// Reads the root of a folder and checks that key and certificate belong together.
    pub(crate) fn open(folder: &Path) -> Result<Self, SignerError> {
        let path = folder.join(KEY);
        let key = there(&path, kept_files::read_secret(&path, MAX_BYTES))?;
        let key = read_key(&path, &key)?;
        let path = folder.join(CERTIFICATE);
        let bytes = there(&path, kept_files::read(&path, MAX_BYTES, Links::Refuse))?;
        let certificate = read_certificate(&path, &bytes)?;
        Self { key, certificate }.matching(path)
    }

    /// Reads the root from entries of a Secret, which have the names of the files.
    pub(crate) fn from_entries<'a>(
        place: &str,
        entry: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Self, SignerError> {
        let found = |name: &str| {
            let bytes = entry(name).ok_or_else(|| SignerError::NoEntry {
                place: place.to_owned(),
                entry: name.to_owned(),
            })?;
            Ok((Path::new(place).join(name), bytes))
        };
        let (path, bytes) = found(KEY)?;
        let key = read_key(&path, bytes)?;
        let (path, bytes) = found(CERTIFICATE)?;
        let certificate = read_certificate(&path, bytes)?;
        Self { key, certificate }.matching(path)
    }

    fn matching(self, path: PathBuf) -> Result<Self, SignerError> {
        if self.certificate.pin() == self.key.pin() {
            Ok(self)
        } else {
            Err(SignerError::OtherCertificate { path })
        }
    }

    /// Checks that this is the root that the ledger belongs to; `place` is where the root came from.
    pub(crate) fn check_is_of(
        &self,
        place: &Path,
        pin: &Pin,
        trust_domain: &TrustDomain,
    ) -> Result<(), SignerError> {
        let path = place.to_path_buf();
        if self.key.pin() != *pin {
            return Err(SignerError::OtherRoot {
                path: path.join(KEY),
                found: Box::new(self.key.pin()),
                expected: Box::new(*pin),
            });
        }
        if self.certificate.trust_domain() != trust_domain {
            return Err(SignerError::OtherTrustDomain {
                path: path.join(CERTIFICATE),
                found: self.certificate.trust_domain().to_string(),
                expected: trust_domain.to_string(),
            });
        }
        Ok(())
    }

    /// The root certificate, DER.
    pub(crate) fn root_certificate(&self) -> Vec<u8> {
        self.certificate.to_der().to_vec()
    }

    /// A node's newest certificate as the ledger has it, DER.
    pub(crate) fn certificate(
        &self,
        uid: &NodeUid,
        node: &NodeRecord,
    ) -> Result<Vec<u8>, SignerError> {
        let terms = NodeCertificateTerms {
            identity: SpiffeId {
                trust_domain: self.certificate.trust_domain().clone(),
                uid: *uid,
                name: node.name.clone(),
            },
            key: node.key,
            addresses: node.addresses.clone(),
            pod_ranges: node.pod_ranges.clone(),
            serial: node.serial,
            not_before: node.not_before,
            not_after: node.not_after,
        };
        let certificate = self
            .key
            .issue(&self.certificate, &terms)
            .map_err(|source| SignerError::Issue { uid: *uid, source })?;
        Ok(certificate.to_der().to_vec())
    }

    /// The root certificate: what can be proven to be this root's own.
    pub(crate) const fn root(&self) -> &RootCertificate {
        &self.certificate
    }

    /// The signed revocation list.
    pub(crate) fn revocation_list(&self, list: &RevocationList) -> Vec<u8> {
        self.key.sign_revocations(list).to_der()
    }
}

fn read_key(path: &Path, bytes: &[u8]) -> Result<RootKey, SignerError> {
    let text = std::str::from_utf8(bytes).map_err(|_| KeyError::Pem);
    text.and_then(RootKey::from_pem)
        .map_err(|source| SignerError::DamagedKey {
            path: path.to_path_buf(),
            source,
        })
}

fn read_certificate(path: &Path, bytes: &[u8]) -> Result<RootCertificate, SignerError> {
    RootCertificate::from_der(bytes).map_err(|source| SignerError::DamagedCertificate {
        path: path.to_path_buf(),
        source,
    })
}

/// What reading a file of the root came to.
fn there<T>(path: &Path, read: Result<Option<T>, FileError>) -> Result<T, SignerError> {
    let path = path.to_path_buf();
    match read {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(SignerError::Missing { path }),
        Err(error) if error.is_in_the_file() => Err(SignerError::Unsafe(error)),
        Err(error) => {
            let source = error.into();
            Err(SignerError::Read { path, source })
        }
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), SignerError> {
    let path = path.to_path_buf();
    match kept_files::write_new(&path, bytes, 0o600).map_err(io::Error::from) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(SignerError::Exists { path }),
        Err(source) => Err(SignerError::Write { path, source }),
    }
}
