//! The words that a container runtime, the CNI plugin and the node daemon have in common.
//!
//! Owns the CNI specification as far as Sotto speaks it (environment, network configuration, result,
//! error) and the contract between daemon and plugin: `node.json`, reservations, the names and marks
//! of pod links. It reads no file, no environment variable and no clock, and touches no kernel: bytes
//! and strings come in, checked values go out. The plugin (`cni-plugin`) carries them out.

pub mod attachment;
pub mod config;
pub mod contract;
pub mod environment;
pub mod error;
pub mod node_state;
pub mod previous;
pub mod reservation;
pub mod result;
pub mod version;
