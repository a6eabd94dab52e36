//! The daemon's configuration: one TOML file, read once, every value checked before anything else
//! happens.
//!
//! `config/file.rs` is the shape of the file, `config/check.rs` turns it into the types below. What
//! can only be judged against the machine (routes, links, ports) is in `preflight.rs`. Every
//! refusal is one line: key, value, cure.

mod check;
mod file;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;
use node_identity::{NodeName, Pin, PodRanges, TrustDomain};
use thiserror::Error;

pub(crate) use self::check::check_mtu;
use crate::files::{self, FileError};
use crate::logging::LogFormat;

/// The longest configuration that is read; a real one has under a hundred lines.
const SIZE_LIMIT: usize = 1 << 20;

/// Everything the operator decides. Nothing in it is secret: the join token is named by its file.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// This node's name, as the controller knows it.
    pub(crate) node_name: NodeName,
    /// The trust domain, the first part of every SPIFFE identity.
    pub(crate) trust_domain: TrustDomain,
    /// SHA-256 of the trusted roots' public keys; two during a change of root.
    pub(crate) pins: Vec<Pin>,
    /// The one-time token for the first enrolment; needed only until then.
    pub(crate) join_token_file: Option<PathBuf>,
    /// The directory store that all nodes and the controller share.
    pub(crate) store_directory: PathBuf,
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
    /// What tells this machine from its clones.
    pub(crate) machine_id_file: PathBuf,
    /// What tells this boot from the last.
    pub(crate) boot_id_file: PathBuf,
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
    /// The bytes are no text.
    #[error("read configuration {}: {fault}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What is wrong and what cures it.
        fault: &'static str,
    },
    /// The text is no TOML, or a key is unknown, doubled or of the wrong type.
    #[error("read configuration {}, line {line}, `{text}`: {fault}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// That line.
        text: String,
        /// The parser's words.
        fault: String,
    },
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
            value: shorten(&value.to_string()),
            cure: cure.into(),
        }
    }
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = files::read(path)
            .map_err(ConfigError::Unreadable)?
            .ok_or_else(|| ConfigError::Missing {
                path: path.to_owned(),
            })?;
        Self::parse(path, &bytes)
    }

    /// Checks a file's bytes; `path` is for messages.
    ///
    /// # Errors
    /// The first thing wrong with them.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        let not_text = |fault| ConfigError::NotText {
            path: path.to_owned(),
            fault,
        };
        if bytes.len() > SIZE_LIMIT {
            return Err(not_text("longer than 1 MiB, is this the right file?"));
        }
        if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            return Err(not_text(
                "starts with a byte-order mark, save it as UTF-8 without one",
            ));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| not_text("is not UTF-8 text, save it as UTF-8"))?;
        let file = toml::from_str(text).map_err(|error| syntax(path, text, &error))?;
        check::check(file)
    }

    /// The UDP ports of all lanes.
    pub(crate) fn ports(&self) -> RangeInclusive<u16> {
        self.port..=self.port.saturating_add(u16::from(self.lanes) - 1)
    }
}

/// The parser's message covers several lines with a drawing; ours is one.
fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let fault = error.message().lines().collect::<Vec<_>>().join(", ");
    let text = text.lines().nth(line - 1).unwrap_or_default().trim();
    ConfigError::Syntax {
        path: path.to_owned(),
        line,
        text: shorten(text),
        fault: shorten(&fault),
    }
}

/// One line on a terminal is enough to recognise a value by.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut short: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}
