//! Tests of the real programs against a real API server: `make test-api`, or after
//! `tests/kubernetes/binaries.sh helm 1.37.2`: `cargo test -p sotto-tests --test kubernetes`.
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
mod installed;
mod ledger;
mod metadata;
mod nodes;
mod outages;
mod privileges;
mod roots;
mod shared;
mod walk;

use std::process::ExitCode;

fn main() -> ExitCode {
    sotto_tests::case::run([
        // The longest first: it waits most of the time.
        outages::cases(),
        ledger::cases(),
        enrolment::cases(),
        forgeries::cases(),
        metadata::cases(),
        nodes::cases(),
        installed::cases(),
        roots::cases(),
        cli::cases(),
        privileges::cases(),
        chart::cases(),
        walk::cases(),
    ])
}
