//! Tests of the real programs against a real API server: `make test-api`, or after
//! `tests/kubernetes/binaries.sh 1.37.2`: `cargo test -p sotto-tests --test kubernetes`.
//!
//! Each module lists its tests in `cases()`. `$SOTTO_KUBERNETES` names another version.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure"
)]

mod applicant;
mod chart;
mod cli;
mod enrolment;
mod forgeries;
mod ledger;
mod metadata;
mod nodes;
mod outages;
mod privileges;
mod roots;
mod shared;
mod walk;

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
    // An API server starts on one core; the rest is mostly waiting.
    arguments.test_threads = arguments.test_threads.or(Some(3));
    let modules = [
        // The longest first: it waits most of the time.
        outages::cases(),
        ledger::cases(),
        enrolment::cases(),
        forgeries::cases(),
        metadata::cases(),
        nodes::cases(),
        roots::cases(),
        cli::cases(),
        privileges::cases(),
        chart::cases(),
        walk::cases(),
    ];
    let trials = modules
        .into_iter()
        .flatten()
        .map(sotto_tests::case::Case::into_trial)
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
