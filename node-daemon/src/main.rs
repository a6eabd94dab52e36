//! `sotto-node`, the node daemon: tun device, tunnels, guard, the node's keys and its status.
//!
//! This file starts the program and turns its outcome into an exit code. The wiring is in `app.rs`,
//! the decisions are in `tunnel-core` and `node-identity`, the system calls are in `io/`.

mod app;
mod arguments;
mod capture;
mod clock;
mod config;
mod enrol;
mod files;
mod generation;
mod guard;
mod host;
mod http;
mod hygiene;
mod io;
mod keys;
mod lane;
mod lock;
mod logging;
mod marks;
mod memory_file_system;
mod metrics;
mod networks;
mod peers;
mod preflight;
mod store_task;
mod telemetry;
mod watchdog;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: io::allocator::Zeroing = io::allocator::Zeroing;

fn main() -> ExitCode {
    match app::run(arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sotto-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}
