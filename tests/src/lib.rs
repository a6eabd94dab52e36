//! The lab and what watches it: real namespaces, real programs, real packets.
//!
//! A [`lab::Lab`] is a switch with machines on it. A [`capture::Capture`] is what Eve sees on a
//! wire. [`traffic`] makes the packets that carry the canary. Nothing here touches the namespaces
//! of the host: [`isolation::enter`] comes first in every program that builds a lab.

pub mod attacker;
pub mod bare_node;
pub mod capture;
pub mod case;
pub mod cluster;
pub mod craft;
pub mod isolation;
pub mod kubernetes;
pub mod lab;
pub mod leak;
pub mod rogue;
pub mod soak;
pub mod standing;
pub mod story;
pub mod traffic;
pub mod wait;
