//! This node's generations: each a tunnel key T with the statement that T and the identity key sign.
//!
//! T lives in a file that never reaches a disk, so a daemon that restarts has its generation again at
//! once; a boot, a new certificate, changed endpoints or 12 hours make a new one. A statement is
//! immutable: whatever it says changes only by a new generation.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use node_identity::{
    CertificateSerial, Envelope, Generation, KeyStatement, NodeCertificate, SealError, TunnelKey,
    UnixTime, VerifiedPeer,
};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::warn;
use tunnel_core::control::OwnGeneration;
use zeroize::Zeroizing;

use crate::keys::Identity;
use kept_files::FileError;

/// How long a generation serves while the store accepts the next one's statement.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Generations are spread by up to so much, so that a cluster started at once does not renew at once
/// (a guess).
const SPREAD: Duration = Duration::from_secs(1800);
/// Own generations at a time; peers move to the newest within minutes.
const MOST_KEPT: usize = 4;
/// Most bytes of their file: an envelope has some 2 KiB.
const FILE_LIMIT: u64 = 256 << 10;

/// One of this node's generations.
#[derive(Debug)]
pub(crate) struct OwnedGeneration {
    /// T.
    pub(crate) key: TunnelKey,
    /// Statement, signatures and certificate, as published.
    pub(crate) envelope: Envelope,
    /// When it was made.
    pub(crate) made: UnixTime,
    /// The highest handshake timestamp used under it: peers refuse lower ones.
    pub(crate) stamp: Option<UnixTime>,
}

/// What the newest generation has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The certificate it travels with.
    pub(crate) serial: CertificateSerial,
    /// Where peers reach this node.
    pub(crate) endpoints: Vec<IpAddr>,
    /// The first lane's port.
    pub(crate) base_port: u16,
    /// How many lanes there are.
    pub(crate) lanes: u8,
}

/// Why a new generation is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Due {
    /// The first of this boot.
    #[error("no tunnel key of this boot")]
    None,
    /// No T outlives its certificate.
    #[error("new certificate")]
    Certificate,
    /// Endpoints, port or lanes changed.
    #[error("endpoints, port or lanes changed")]
    Place,
    /// It is old.
    #[error("twelve hours old")]
    Age,
    /// The clock went back behind the time at which it was made.
    #[error("the clock was set back")]
    Clock,
    /// The machine's memory was copied: somebody else may have the key.
    #[error("the machine's memory was copied")]
    Copied,
}

/// The generations of this boot, the newest first, and the file that keeps them over a restart.
#[derive(Debug)]
pub(crate) struct Generations {
    file: Option<PathBuf>,
    boot: String,
    /// In use.
    kept: Vec<OwnedGeneration>,
    /// The last run's, newer than those in use, until they can be verified: roots or clock may come
    /// later.
    waiting: Vec<OwnedGeneration>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationsFile {
    version: u32,
    boot: String,
    generations: Vec<GenerationEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationEntry {
    /// Base64; wiped by the allocator.
    key: String,
    envelope: String,
    made: u64,
    stamp: Option<u64>,
}

impl OwnedGeneration {
    /// Makes the generation of this number; it is in use only once installed.
    ///
    /// # Errors
    /// When the statement contradicts the certificate.
    pub(crate) fn make(
        identity: &Identity,
        certificate: &NodeCertificate,
        wanted: &Wanted,
        generation: Generation,
        now: UnixTime,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, SealError> {
        let key = TunnelKey::generate(rng);
        let statement = KeyStatement {
            identity: identity.id.clone(),
            certificate_serial: wanted.serial,
            identity_key_hash: identity.key.public().hash(),
            generation,
            tunnel_key: key.public(),
            endpoints: wanted.endpoints.clone(),
            base_port: wanted.base_port,
            lanes: wanted.lanes,
        };
        let envelope = Envelope::seal(&statement, &identity.key, &key, certificate)?;
        Ok(Self {
            key,
            envelope,
            made: now,
            stamp: None,
        })
    }

    /// The generation as the agreement takes it.
    pub(crate) fn to_control(&self, verified: VerifiedPeer) -> OwnGeneration {
        let key = TunnelKey::from_bytes(&self.key.to_bytes());
        OwnGeneration {
            verified,
            key,
            highest_stamp: self.stamp,
        }
    }

    /// What T and the identity key signed.
    pub(crate) fn statement(&self) -> &KeyStatement {
        self.envelope.statement()
    }
}

impl Generations {
    /// Reads what an earlier daemon of this boot left; what cannot be used is refused and said so.
    ///
    /// # Errors
    /// When the file can neither be read nor removed.
    pub(crate) fn load(
        file: Option<PathBuf>,
        boot: &str,
        identity: &Identity,
    ) -> Result<Self, FileError> {
        let mut generations = Self {
            file,
            boot: boot.to_owned(),
            kept: Vec::new(),
            waiting: Vec::new(),
        };
        let Some(path) = generations.file.clone() else {
            return Ok(generations);
        };
        let refused = match kept_files::read_secret(&path, FILE_LIMIT) {
            Ok(None) => None,
            Ok(Some(bytes)) => generations.take_over(&bytes, identity).err(),
            Err(error) if error.is_in_the_file() => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        if let Some(fault) = refused {
            warn!(file = %path.display(), %fault, "Tunnel keys refused, a new generation is made");
            kept_files::clear(&path)?;
        }
        Ok(generations)
    }

    fn take_over(&mut self, bytes: &[u8], identity: &Identity) -> Result<(), String> {
        // The parser's own message may quote a key.
        let file: GenerationsFile =
            serde_json::from_slice(bytes).map_err(|_| "is truncated or damaged".to_owned())?;
        if file.version != 1 {
            return Err(format!("version {} is unknown here", file.version));
        }
        if file.boot != self.boot {
            return Err("is of another boot".to_owned());
        }
        for entry in file.generations.iter().take(MOST_KEPT) {
            match read_entry(entry, identity) {
                Ok(generation) => self.waiting.push(generation),
                Err(fault) => warn!(%fault, "Tunnel key refused"),
            }
        }
        Ok(())
    }

    /// The generations in use, the newest first.
    pub(crate) fn kept(&self) -> &[OwnedGeneration] {
        &self.kept
    }

    /// The generation in use.
    pub(crate) fn newest(&self) -> Option<&OwnedGeneration> {
        self.kept.first()
    }

    /// Whether, and why, a new generation is due.
    pub(crate) fn due(&self, wanted: &Wanted, now: UnixTime) -> Option<Due> {
        let Some(newest) = self.newest() else {
            return Some(Due::None);
        };
        let said = newest.statement();
        if said.certificate_serial != wanted.serial {
            return Some(Due::Certificate);
        }
        if (&said.endpoints, said.base_port, said.lanes)
            != (&wanted.endpoints, wanted.base_port, wanted.lanes)
        {
            return Some(Due::Place);
        }
        if now < newest.made {
            return Some(Due::Clock);
        }
        (now.duration_since(newest.made) >= lifetime(newest)).then_some(Due::Age)
    }

    /// Whether one of the last run's generations can be adopted.
    pub(crate) fn can_adopt<T, E>(&self, judge: impl Fn(&Envelope) -> Result<T, E>) -> bool {
        self.waiting
            .iter()
            .any(|generation| judge(&generation.envelope).is_ok())
    }

    /// Takes the oldest of the last run's generations that is believed into use, so that the newest
    /// comes last; those before it are over.
    ///
    /// # Errors
    /// Why the newest is not believed; all wait to be judged again.
    pub(crate) fn adopt<T, E>(
        &mut self,
        judge: impl Fn(&Envelope) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let mut refused = None;
        for (at, generation) in self.waiting.iter().enumerate().rev() {
            match judge(&generation.envelope) {
                Ok(believed) => {
                    let adopted = self.waiting.split_off(at).into_iter().take(1);
                    self.kept.splice(0..0, adopted);
                    return Ok(Some(believed));
                }
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Takes a generation into use, before the others and in place of those that wait.
    ///
    /// # Errors
    /// When the file cannot be written; the generation is in use all the same, until a restart.
    pub(crate) fn install(&mut self, generation: OwnedGeneration) -> Result<(), FileError> {
        self.waiting.clear();
        self.kept.insert(0, generation);
        self.kept.truncate(MOST_KEPT);
        self.save()
    }

    /// Erases a generation that is no longer in use.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn retire(&mut self, generation: u64) -> Result<(), FileError> {
        self.kept
            .retain(|kept| kept.statement().generation.0 != generation);
        self.save()
    }

    /// Erases every generation, the file with them: somebody else may have the keys.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(crate) fn erase(&mut self) -> Result<(), FileError> {
        self.kept.clear();
        self.waiting.clear();
        self.file.as_deref().map_or(Ok(()), kept_files::remove)
    }

    /// Notes the highest handshake timestamp used under a generation.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn remember_stamp(
        &mut self,
        generation: u64,
        seconds: u64,
    ) -> Result<(), FileError> {
        for kept in self
            .kept
            .iter_mut()
            .filter(|kept| kept.statement().generation.0 == generation)
        {
            kept.stamp = Some(UnixTime(seconds));
        }
        self.save()
    }

    fn save(&self) -> Result<(), FileError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let all = self.waiting.iter().chain(&self.kept);
        let generations = all.map(write_entry).collect();
        let file = GenerationsFile {
            version: 1,
            boot: self.boot.clone(),
            generations,
        };
        // Strings and numbers always serialize; an empty file would only mean a new generation.
        let bytes = Zeroizing::new(serde_json::to_vec(&file).unwrap_or_default());
        kept_files::write(path, &bytes, 0o600)
    }
}

/// A little less than 12 hours, differing from node to node without a clock or chance.
fn lifetime(generation: &OwnedGeneration) -> Duration {
    let [first, ..] = generation.statement().tunnel_key.to_bytes();
    LIFETIME.saturating_sub(SPREAD * u32::from(first) / 256)
}

fn read_entry(entry: &GenerationEntry, identity: &Identity) -> Result<OwnedGeneration, String> {
    let bytes =
        Zeroizing::new(Base64::decode_vec(&entry.key).map_err(|_| "key is no base64".to_owned())?);
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(
        bytes
            .as_slice()
            .try_into()
            .map_err(|_| "key is not 32 bytes".to_owned())?,
    );
    let key = TunnelKey::from_bytes(&bytes);
    let der =
        Base64::decode_vec(&entry.envelope).map_err(|_| "envelope is no base64".to_owned())?;
    let envelope = Envelope::from_der(&der).map_err(|error| error.to_string())?;
    let statement = envelope.statement();
    if statement.tunnel_key != key.public()
        || statement.identity != identity.id
        || statement.identity_key_hash != identity.key.public().hash()
    {
        return Err("statement and keys do not belong together".to_owned());
    }
    Ok(OwnedGeneration {
        key,
        envelope,
        made: UnixTime(entry.made),
        stamp: entry.stamp.map(UnixTime),
    })
}

fn write_entry(generation: &OwnedGeneration) -> GenerationEntry {
    GenerationEntry {
        key: Base64::encode_string(generation.key.to_bytes().as_slice()),
        envelope: Base64::encode_string(&generation.envelope.to_der()),
        made: generation.made.0,
        stamp: generation.stamp.map(|stamp| stamp.0),
    }
}
