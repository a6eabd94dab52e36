//! The command line.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use node_identity::{NodeName, TrustDomain};

use crate::config::{ConfigError, Settings};

/// Longest life of a join token: it lies in files and terminals until it is used.
const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Sotto's key controller: who is which node, and which pod range is whose.
#[derive(Debug, Parser)]
#[command(name = "sotto-controller", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make or look at the root key.
    #[command(subcommand)]
    Root(RootVerb),
    /// Make or list join tokens.
    #[command(subcommand)]
    Token(TokenVerb),
    /// Run the controller until SIGTERM.
    Run(Given),
    /// Revoke a node: no peer talks to it any more, and its name is free for a new one.
    Revoke {
        #[command(flatten)]
        state: State,
        /// Name or UID of the node.
        node: String,
    },
    /// Let a live node change its identity key, after it has asked to.
    Approve {
        #[command(flatten)]
        state: State,
        /// Name or UID of the node.
        node: String,
    },
    /// List the nodes of the ledger.
    Nodes {
        #[command(flatten)]
        state: State,
    },
}

/// The settings of a running controller.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Given {
    /// The settings, a TOML file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The settings themselves, TOML: in a pod's arguments nobody else can change them.
    #[arg(long, value_name = "TOML")]
    settings: Option<String>,
}

impl Given {
    /// Reads the settings.
    pub(crate) fn read(&self) -> Result<Settings, ConfigError> {
        let text = self.settings.as_deref().unwrap_or_default();
        match &self.config {
            Some(path) => Settings::read(path),
            None => Settings::parse(Path::new("--settings"), text.as_bytes()),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootVerb {
    /// Make the root key and an empty ledger in an empty folder; prints the pin.
    Create {
        #[command(flatten)]
        state: State,
        /// Name of the cluster, as in the configuration.
        #[arg(long, value_name = "DOMAIN")]
        trust_domain: TrustDomain,
    },
    /// Print the pin of the root.
    Pin {
        #[command(flatten)]
        state: State,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a join token for one node and print it.
    Create {
        #[command(flatten)]
        state: State,
        /// The node's name.
        #[arg(long, value_name = "NAME")]
        node: NodeName,
        /// An underlay address that the node may have; may be repeated. Without any, all of the
        /// configured underlay ranges are allowed.
        #[arg(long = "address", value_name = "IP")]
        addresses: Vec<IpAddr>,
        /// How long the token can be used: 30s, 15m, 24h or 7d.
        #[arg(long, default_value = "24h", value_parser = lifetime)]
        ttl: Duration,
    },
    /// List the join tokens, without their secrets.
    List {
        #[command(flatten)]
        state: State,
    },
}

/// Where the controller keeps what only it may read.
#[derive(Debug, Args)]
pub(crate) struct State {
    /// The controller's state folder.
    #[arg(
        long = "state",
        value_name = "DIR",
        env = "SOTTO_CONTROLLER_STATE",
        default_value = "/var/lib/sotto-controller"
    )]
    directory: PathBuf,
    /// The configuration that names the state folder, instead of --state.
    #[arg(long, value_name = "FILE", conflicts_with = "directory")]
    config: Option<PathBuf>,
}

impl State {
    /// The settings, where a configuration is named.
    pub(crate) fn settings(&self) -> Result<Option<Settings>, ConfigError> {
        self.config.as_deref().map(Settings::read).transpose()
    }

    /// The state folder.
    pub(crate) fn folder(&self) -> Result<PathBuf, ConfigError> {
        let Some(settings) = self.settings()? else {
            return Ok(self.directory.clone());
        };
        settings.home.state_folder().ok_or(ConfigError::Keys {
            given: "[kubernetes]",
            cure: "this verb is for a state folder; use `sotto` with kubectl's access instead",
        })
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let expected = || "expected a whole number and a unit, such as 30s, 15m, 24h or 7d".to_owned();
    let split = text
        .find(|letter: char| !letter.is_ascii_digit())
        .ok_or_else(expected)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(expected)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    let lifetime = Duration::from_secs(number.saturating_mul(seconds));
    if lifetime.is_zero() || lifetime > MAX_TOKEN_LIFETIME {
        return Err("between 1s and 30d".to_owned());
    }
    Ok(lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;

        Arguments::command().debug_assert();
    }

    #[test]
    fn lifetimes_are_read_in_seconds_minutes_hours_and_days() {
        assert_eq!(lifetime("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(lifetime("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(lifetime("7d"), Ok(Duration::from_secs(7 * 86_400)));
    }

    #[test]
    fn lifetimes_of_nothing_and_of_years_are_refused() {
        for text in [
            "",
            "h",
            "24",
            "0s",
            "31d",
            "99999999999999999999d",
            "1w",
            "-1h",
            "1h1m",
            "1ä",
        ] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }
}
