//! Wiring: which parts run, in which order, with which channels between them.

use anyhow::Result;

use crate::arguments::{Arguments, Command};

/// Does what the command line asks.
///
/// # Errors
/// Whatever stops it, with what it was doing.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Run(_) | Command::Check(_) | Command::Uninstall(_) => anyhow::bail!("not wired"),
        Command::Version => {
            println!("sotto-node {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}
