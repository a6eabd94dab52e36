//! The command line of `sotto-node`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The Sotto node daemon.
#[derive(Debug, Parser)]
#[command(name = "sotto-node", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `sotto-node` can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon until SIGTERM or SIGINT; guard and pods' links stay when it ends.
    Run(ConfigFile),
    /// Check configuration and machine, change nothing.
    Check(ConfigFile),
    /// Remove everything that Sotto ever made on this node, pods' links and the identity key with it, and
    /// nothing else; to come back takes a new join token.
    Uninstall(ConfigFile),
    /// Print the version.
    Version,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration, a TOML file.
    #[arg(
        long,
        env = "SOTTO_NODE_CONFIG",
        default_value = "/etc/sotto/node.toml"
    )]
    pub config: PathBuf,
}

/// Parses the process's arguments; prints usage and exits on a mistake.
pub fn parse() -> Arguments {
    Arguments::parse()
}
