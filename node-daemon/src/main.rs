//! `sotto-node`, the node daemon: tun device, tunnels, guard, the node's keys and its status.
//!
//! This file starts the program and turns its outcome into an exit code. The wiring is in `app.rs`,
//! the decisions are in `tunnel-core` and `node-identity`, the system calls are in `io/`.

mod app;
mod arguments;
mod capture;
mod files;
mod guard;
mod hygiene;
mod io;
mod lock;
mod logging;
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
