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
    Run(Settings),
    /// Check configuration and machine, change nothing.
    Check(Settings),
    /// Remove everything that Sotto ever made on this node, pods' links and the identity key with it, and
    /// nothing else; to come back takes a new join token.
    Uninstall(Uninstall),
    /// Do nothing until SIGTERM or SIGINT: for a pod that has uninstalled and is to be seen running.
    Pause,
    /// Print the version.
    Version,
}

/// What is uninstalled, and when.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// First wait until no daemon runs and no pod has a link any more: new pods are refused meanwhile, and
    /// those that end still detach. Without it links are taken from pods that run.
    #[arg(long)]
    pub wait_for_pods: bool,
    /// The node.
    #[command(flatten)]
    pub settings: Settings,
}

/// Where the configuration is, and what completes it. The same key in both is an error.
#[derive(Debug, Default, Args)]
pub struct Settings {
    /// The configuration, a TOML file.
    #[arg(
        long,
        value_name = "FILE",
        env = "SOTTO_NODE_CONFIG",
        default_value = "/etc/sotto/node.toml",
        conflicts_with = "settings"
    )]
    pub config: PathBuf,
    /// The configuration itself, in place of a file.
    #[arg(long, value_name = "TOML")]
    pub settings: Option<String>,
    /// This node's name, in place of `node_name`.
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// An address of this node that peers send to, in place of `endpoints`; repeat it, or separate
    /// several by commas.
    #[arg(long = "endpoint", value_name = "IP", value_delimiter = ',')]
    pub endpoints: Vec<String>,
    /// The pin of a trusted root, in place of `pins`; two during a change of root.
    #[arg(long = "pin", value_name = "PIN", value_delimiter = ',')]
    pub pins: Vec<String>,
    /// Without a pin, trust the first root that the store shows, from then on and for good.
    #[arg(long)]
    pub trust_on_first_use: bool,
}

/// Parses the process's arguments; prints usage and exits on a mistake.
pub fn parse() -> Arguments {
    Arguments::parse()
}
