//! The daemon's configuration: TOML from a file or the command line, completed by arguments, read
//! once, every value checked before anything else happens.
//!
//! `config/file.rs` is the shape of the file, `config/arguments.rs` what the command line adds,
//! `config/check.rs` turns both into the types below. What can only be judged against the machine
//! (routes, links, ports) is in `preflight.rs`. Every refusal is one line: key, value, cure.

mod arguments;
mod check;
mod cni;
mod file;
mod store;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;
use node_identity::{NodeName, Pin, PodRanges, TrustDomain};
use settings_file::{SettingsError, one_line};
use thiserror::Error;

pub(crate) use self::check::check_mtu;
pub(crate) use self::cni::Cni;
pub(crate) use self::store::{Kubernetes, Store};
use crate::arguments::Settings;
use crate::logging::LogFormat;
use kept_files::{FileError, Links};

/// Everything the operator decides. Nothing in it is secret: the join token is named by its file.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// This node's name, as the controller knows it.
    pub(crate) node_name: NodeName,
    /// The trust domain, the first part of every SPIFFE identity.
    pub(crate) trust_domain: TrustDomain,
    /// SHA-256 of the trusted roots' public keys; two during a change of root. Empty only with
    /// trust on first use.
    pub(crate) pins: Vec<Pin>,
    /// Whether the first root that the store shows is trusted where no pin is given.
    pub(crate) first_use: FirstUse,
    /// What all nodes and the controller share.
    pub(crate) store: Store,
    /// What survives a boot: identity key, certificate, verified peers, high-water marks.
    pub(crate) state_directory: PathBuf,
    /// What does not: tunnel key, lock, `node.json`. Should be a tmpfs.
    pub(crate) runtime_directory: PathBuf,
    /// Every pod address of the cluster.
    pub(crate) cluster_pod_ranges: PodRanges,
    /// Virtual addresses of Services; empty without Kubernetes.
    pub(crate) service_ranges: Vec<IpNetwork>,
    /// Where nodes' own addresses may lie.
    pub(crate) underlay_ranges: Vec<IpNetwork>,
    /// This node's addresses that peers send to, in order of preference.
    pub(crate) endpoints: Vec<IpAddr>,
    /// The smallest MTU on the way between nodes, in bytes; read from the endpoints' links if absent.
    pub(crate) endpoint_mtu: Option<u16>,
    /// The first lane's UDP port; lane i has `port + i`.
    pub(crate) port: u16,
    /// Lanes: threads that move packets.
    pub(crate) lanes: u8,
    /// How long a lane polls on after its last packet.
    pub(crate) poll_for: Duration,
    /// Whether AES-256-GCM may be used.
    pub(crate) aes_gcm: AesGcm,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; loopback only.
    pub(crate) http_address: SocketAddr,
    /// How log lines look.
    pub(crate) log_format: LogFormat,
    /// Where the daemon installs Sotto for the container runtime; nowhere where it is done by hand.
    pub(crate) cni: Option<Cni>,
    /// What tells this machine from its clones; the first that is there counts.
    pub(crate) machine_id_files: Vec<PathBuf>,
    /// What tells this boot from the last.
    pub(crate) boot_id_file: PathBuf,
}

/// Whether a root may be trusted because it was the first to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstUse {
    /// Only pins count.
    Refused,
    /// Without a pin the first root counts from then on: whoever can write to the store at that
    /// moment chooses it.
    Trusted,
}

/// Whether pod packets may travel under AES-256-GCM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AesGcm {
    /// Where both processors have instructions for it: the fastest there.
    Auto,
    /// Never: ChaCha20-Poly1305 alone.
    Off,
}

/// Why a configuration is refused, in one line.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration")]
    Unreadable(#[source] FileError),
    /// There is no such file.
    #[error("read configuration {}: no such file, name another with --config", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not the shape of a configuration.
    #[error(transparent)]
    Shape(#[from] SettingsError),
    /// A value cannot be.
    #[error("{key} = {value}: {cure}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong and what would be right.
        cure: String,
    },
}

impl ConfigError {
    /// Refuses `value` of `key`.
    pub(crate) fn value(
        key: &'static str,
        value: impl std::fmt::Display,
        cure: impl Into<String>,
    ) -> Self {
        Self::Value {
            key,
            value: one_line(&value.to_string()),
            cure: cure.into(),
        }
    }
}

impl Config {
    /// Reads and checks what the command line names.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub(crate) fn load(settings: &Settings) -> Result<Self, ConfigError> {
        if let Some(text) = &settings.settings {
            return Self::parse(Path::new("--settings"), text.as_bytes(), settings);
        }
        let path = &settings.config;
        let bytes = kept_files::read(path, settings_file::SIZE_LIMIT as u64, Links::Follow)
            .map_err(ConfigError::Unreadable)?
            .ok_or_else(|| ConfigError::Missing {
                path: path.to_owned(),
            })?;
        Self::parse(path, &bytes, settings)
    }

    /// Checks a file's bytes, with the arguments that complete them; `path` is for messages.
    ///
    /// # Errors
    /// The first thing wrong with them.
    pub(crate) fn parse(
        path: &Path,
        bytes: &[u8],
        settings: &Settings,
    ) -> Result<Self, ConfigError> {
        let file = settings_file::parse(path, bytes)?;
        check::check(file, settings)
    }

    /// The UDP ports of all lanes.
    pub(crate) fn ports(&self) -> RangeInclusive<u16> {
        self.port..=self.port.saturating_add(u16::from(self.lanes) - 1)
    }
}
