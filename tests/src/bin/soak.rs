//! A long run on a whole Kubernetes at changing load: `make soak`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use sotto_tests::{isolation, soak};

/// Runs pods and traffic for a time and says whether anything leaked, was lost or grew.
#[derive(Parser)]
struct Arguments {
    /// Minutes; from three on growth can be seen.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(soak::SHORTEST..))]
    minutes: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    isolation::require()?;
    isolation::enter()?;
    let soak = soak::run(Duration::from_secs(60 * arguments.minutes))?;
    println!("\n{}", soak.table());
    soak.judge()
}
