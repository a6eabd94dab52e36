//! `sotto`: what the node daemon says about itself, for a person at a terminal.
//!
//! Each verb has a file. All of them read one answer of the daemon (`daemon.rs`); none changes
//! anything.

mod daemon;
mod peers;
mod printable;
mod status;
mod table;

use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

/// Looks at the Sotto node daemon of this machine.
#[derive(Parser)]
#[command(name = "sotto", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The daemon's runtime directory.
    #[arg(
        long,
        global = true,
        env = "SOTTO_RUNTIME_DIRECTORY",
        default_value = "/run/sotto"
    )]
    runtime_directory: PathBuf,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Subcommand)]
enum Verb {
    /// This node: identity, keys, guard, and what it waits for.
    Status,
    /// The other nodes: who is believed, which tunnels are up, what they carried.
    Peers,
}

/// A way to print.
#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let printed =
        daemon::ask(&arguments.runtime_directory).and_then(|status| match arguments.verb {
            Verb::Status => status::print(&status, arguments.output),
            Verb::Peers => peers::print(&status, arguments.output),
        });
    match printed.and_then(|text| say(text.trim_end())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sotto: {}", printable::printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line. A reader that has read enough is no fault.
fn say(text: &str) -> Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("print to standard output: is the disk full?"),
    }
}
