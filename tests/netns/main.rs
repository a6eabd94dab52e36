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
mod keys;
mod lab_itself;
mod packets;
mod reach;
mod refusals;
mod wires;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use sotto_tests::isolation;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !arguments.list
        && isolation::refusal().is_none()
        && let Err(error) = isolation::enter()
    {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    // Labs are mostly waiting; more at a time would starve timers on a machine of two cores.
    arguments.test_threads = arguments.test_threads.or(Some(3));
    let modules = [
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
        guard::cases(),
    ];
    let trials = modules
        .into_iter()
        .flatten()
        .map(sotto_tests::case::Case::into_trial)
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
