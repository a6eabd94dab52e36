//! The program `sotto-node`: see `lib.rs` for what it is made of.

use std::process::ExitCode;

/// Freed memory is wiped: keys pass through crates that do not wipe theirs.
#[global_allocator]
static ALLOCATOR: sotto_node::Zeroing = sotto_node::Zeroing;

fn main() -> ExitCode {
    match sotto_node::run(sotto_node::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sotto-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}
