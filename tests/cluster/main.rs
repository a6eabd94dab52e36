//! Tests on a whole Kubernetes, with kubelets, containers and power: `make test-cluster`.
//!
//! Most of them share one cluster, each in a namespace of its own; those that take something down have a
//! cluster of their own. Eve is on the switch throughout. `$SOTTO_KUBERNETES` names another version.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure"
)]

mod demo;
mod install;
mod install_others;
mod install_removal;
mod install_snapshot;
mod life;
mod outside;
mod services;
mod shared;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    sotto_tests::case::run([
        demo::cases(),
        table::cases(),
        services::cases(),
        install::cases(),
        install_others::cases(),
        install_removal::cases(),
        life::cases(),
    ])
}
