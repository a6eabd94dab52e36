//! What a node daemon tells about itself: the answer that `sotto status` and `sotto peers` print.
//!
//! The daemon answers `GET /status` on a socket in its runtime directory with a [`NodeStatus`] as
//! JSON. Plain values only: names are text and times are numbers, so that scripts can read it.
//! Nothing in it is secret.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The socket's name in the runtime directory.
pub const STATUS_SOCKET: &str = "status.sock";
/// The path of the one request it answers.
pub const STATUS_PATH: &str = "/status";
/// The version of the format.
pub const STATUS_VERSION: u32 = 1;

/// One node, as its daemon sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// [`STATUS_VERSION`].
    pub version: u32,
    /// The node's name.
    pub node: String,
    /// Its SPIFFE identity.
    pub identity: String,
    /// The daemon's version.
    pub daemon_version: String,
    /// The daemon's process id.
    pub process_id: u32,
    /// How long it has been running, in seconds.
    pub uptime_seconds: u64,
    /// What keeps the node from serving pods; empty when it is ready.
    pub waiting_for: Vec<String>,
    /// The node certificate, once there is one.
    pub certificate: Option<CertificateStatus>,
    /// The generation in use.
    pub generation: Option<GenerationStatus>,
    /// Pod ranges that the certificate gives this node.
    pub pod_ranges: Vec<String>,
    /// Addresses that peers send to.
    pub endpoints: Vec<IpAddr>,
    /// The first lane's UDP port.
    pub port: u16,
    /// How many lanes there are.
    pub lanes: u8,
    /// MTU of the tun and of the pods' links, in bytes.
    pub mtu: u16,
    /// The guard.
    pub guard: GuardStatus,
    /// The other nodes that are believed.
    pub peers: Vec<PeerStatus>,
    /// Who is not believed, and why.
    pub refused: Vec<RefusedStatus>,
    /// Packets that the lanes dropped since the start, for whatever reason.
    #[serde(default)]
    pub dropped_packets: u64,
    /// Why the root is trusted.
    #[serde(default)]
    pub root_pin: RootPin,
}

/// Why a root is trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RootPin {
    /// An operator gave its pin.
    #[default]
    Given,
    /// It was the first that the store showed.
    FirstUse,
    /// There is no pin yet: the first root that the store shows will be trusted.
    Absent,
}

/// The node's own certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Its serial.
    pub serial: u64,
    /// When it ends, in Unix seconds.
    pub not_after: u64,
    /// Whether half its life is over and no other has come: somebody should look at the controller.
    #[serde(default)]
    pub renewal_overdue: bool,
}

/// The node's own generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationStatus {
    /// Its number.
    pub number: u64,
    /// How old its key is, in seconds.
    pub age_seconds: u64,
    /// When its key was made, in Unix seconds.
    #[serde(default)]
    pub made: u64,
}

/// The guard, which keeps clear packets in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardStatus {
    /// Whether every part of it is there.
    pub stands: bool,
    /// Repairs that the watchdog made.
    pub repairs: u64,
    /// Clear pod packets seen leaving on the underlay; anything but zero is an alarm.
    pub plaintext_leaks: u64,
    /// Clear packets from outside with pod addresses, dropped.
    pub injected_dropped: u64,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its name.
    pub node: String,
    /// Its SPIFFE identity.
    pub identity: String,
    /// When its certificate ends, in Unix seconds.
    pub not_after: u64,
    /// Its newest generation.
    pub generation: u64,
    /// Its pod ranges.
    pub pod_ranges: Vec<String>,
    /// Its endpoints, the preferred one first.
    pub endpoints: Vec<IpAddr>,
    /// Whether pod packets can travel to it.
    pub tunnel: TunnelStatus,
    /// How long ago the transport in use was agreed, in seconds.
    pub handshake_age_seconds: Option<u64>,
    /// The cipher suite of the transport in use.
    pub suite: Option<String>,
    /// Bytes of pods' packets received from it.
    pub received_bytes: u64,
    /// Bytes of pods' packets sent to it.
    pub sent_bytes: u64,
}

/// The state of the tunnel to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TunnelStatus {
    /// A transport is in use.
    Up,
    /// Keys are being agreed.
    Agreeing,
    /// Nothing has been sent lately; the first packet brings it up.
    Idle,
}

/// A node, or an entry of the store, that is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedStatus {
    /// Its name, as far as it can be told; nothing proves it.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// Why text is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// No JSON of this shape.
    #[error("read status: is the daemon of another version?")]
    Decode(#[source] serde_json::Error),
    /// A version that this program does not know.
    #[error("read status: version {0} is unknown here, install the same version as the daemon's")]
    Version(u32),
}

impl NodeStatus {
    /// Reads the daemon's answer.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn from_json(text: &[u8]) -> Result<Self, StatusError> {
        let status: Self = serde_json::from_slice(text).map_err(StatusError::Decode)?;
        if status.version != STATUS_VERSION {
            return Err(StatusError::Version(status.version));
        }
        Ok(status)
    }

    /// Whether the node serves pods.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.waiting_for.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{NodeStatus, STATUS_VERSION, StatusError};

    #[test]
    fn a_status_of_another_version_is_refused() {
        let mut status = NodeStatus {
            version: STATUS_VERSION,
            ..NodeStatus::default()
        };
        let read =
            |status: &NodeStatus| NodeStatus::from_json(&serde_json::to_vec(status).unwrap());
        assert_eq!(read(&status).unwrap(), status);

        status.version += 1;

        assert!(matches!(read(&status), Err(StatusError::Version(2))));
    }
}
