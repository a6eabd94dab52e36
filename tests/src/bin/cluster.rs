//! A whole Kubernetes with Sotto on this machine, until it is taken down: `make cluster`, `make cluster-down`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use sotto_tests::standing;

/// A whole Kubernetes on this machine, in namespaces: three nodes, with Sotto.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Raises it and prints how to use it; one that stands is left alone.
    Up,
    /// Takes it down; nothing is left behind.
    Down,
    /// Shows what crosses the switch between the nodes, until Ctrl-C.
    Eve {
        /// Instead of `-A` and a filter that leaves the control plane out: arguments of tcpdump.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        tcpdump: Vec<String>,
    },
    /// Holds it up, in the foreground.
    #[command(hide = true)]
    Hold,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.verb {
        Verb::Up => standing::up(),
        Verb::Down => standing::down(),
        Verb::Eve { tcpdump } => standing::eve(tcpdump),
        Verb::Hold => standing::hold(),
    }
}
