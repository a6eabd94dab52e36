//! Several nodes on a network in memory, in virtual time: real control sides, real lanes, and every
//! misfortune that a seed can think of.
//!
//! A [`sim::Sim`] holds the event queue. Each [`node::Node`] is a daemon's pure part: one
//! `tunnel_core::control::Control` and its `tunnel_core::lane::Lane`s, wired as the daemon wires
//! them. [`network`] loses, repeats and delays datagrams, [`mallory`] records, replays, reflects and
//! floods, and [`oracle`] judges every key, counter and inner packet while the run goes on.
//! [`seeds::run`] repeats a test and says how to run one seed alone. This crate is a workspace of
//! its own, because the mock clock that it turns on would freeze the real daemon's.

pub mod certified;
pub mod clock;
pub mod events;
pub mod log;
pub mod mallory;
pub mod network;
pub mod node;
pub mod oracle;
pub mod packet;
pub mod seeds;
pub mod sim;
pub mod storm;
