//! Tests of the real programs in network namespaces: `cargo test -p sotto-tests --test netns`.
//!
//! Each module lists its tests in `cases()`. Three labs stand at a time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure"
)]

mod cni;
mod crash;
mod dishonest;
mod guard;
mod hostile;
mod installed;
mod keys;
mod lab_itself;
mod packets;
mod reach;
mod refusals;
mod secrets;
mod wires;

use std::process::ExitCode;

fn main() -> ExitCode {
    sotto_tests::case::run([
        // The longest first: it waits most of the time.
        keys::cases(),
        cni::cases(),
        lab_itself::cases(),
        reach::cases(),
        refusals::cases(),
        crash::cases(),
        packets::cases(),
        wires::cases(),
        hostile::cases(),
        dishonest::cases(),
        secrets::cases(),
        guard::cases(),
        installed::cases(),
    ])
}
