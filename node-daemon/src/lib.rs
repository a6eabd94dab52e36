//! The node daemon `sotto-node`: tun device, tunnels, guard, the node's keys and its status.
//!
//! `app` is the wiring: what runs, in which order. `node` is the control task around the pure cores of
//! `tunnel-core` and `node-identity`; `lane` moves packets; `guard` keeps clear packets in; `io` holds
//! the system calls. Nothing here is a library for others: the crate exists for its program.

mod app;
mod arguments;
mod capture;
mod clock;
mod config;
mod credentials;
mod enrol;
mod first_use;
mod generation;
mod guard;
mod host;
mod http;
mod hygiene;
mod installer;
mod io;
mod keys;
mod lane;
mod lock;
mod logging;
mod marks;
mod memory_copy;
mod memory_file_system;
mod metrics;
mod node;
mod peers;
mod preflight;
mod reservations;
#[cfg(test)]
mod sample;
mod store_task;
mod telemetry;
mod uninstall;
mod watchdog;

pub use app::run;
pub use arguments::{Arguments, parse};
pub use io::allocator::Zeroing;
