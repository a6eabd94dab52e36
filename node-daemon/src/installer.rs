//! Installs Sotto for the node's container runtime: the plugins, and the network configuration that
//! makes the runtime call them.
//!
//! The configuration comes last, when the plugins are whole, the guard stands and `node.json` is
//! written: from then on the runtime starts pods. Whatever stops this in between, the next look goes
//! on. Nothing of another network's is overwritten or removed: where one is in force, the daemon is
//! not ready and says why. `installer/judge.rs` decides that, `installer/place.rs` writes,
//! `installer/task.rs` looks every ten seconds. What is installed stays when the daemon ends.

mod configuration;
mod judge;
mod place;
mod remove;
mod task;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use thiserror::Error;

use judge::Refusal;
use kept_files::FileError;

pub(crate) use place::Place;
pub(crate) use remove::remove;
pub(crate) use task::{Supervised, supervise};

/// Our configuration's file: the runtime takes the first by name.
pub(crate) const CONFIGURATION_FILE: &str = "00-sotto.conflist";
/// The name of our network in it.
pub(crate) const NETWORK: &str = "sotto";
/// The plugin that attaches pods.
const MAIN_PLUGIN: &str = "sotto-cni";
/// The plugins that are chained, in their order; what the source folder has not is not chained.
const CHAIN: [&str; 3] = [MAIN_PLUGIN, "sotto-portmap", "sotto-bandwidth"];
/// All plugins. All but the first are the reference plugins under names of our own, so that nobody's
/// file is overwritten.
const PLUGINS: [&str; 4] = [CHAIN[0], CHAIN[1], CHAIN[2], OUR_LOOPBACK];
/// The plugin that containerd calls for every pod beside its network's. Its name is everybody's: where
/// nobody has it, it is a link to ours.
const LOOPBACK: &str = "loopback";
const OUR_LOOPBACK: &str = "sotto-loopback";

/// How far the daemon is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Pods cannot be served yet: plugins may be installed, the configuration not.
    #[default]
    Starting,
    /// Guard, tun and `node.json` are there.
    Serving,
}

/// What a look left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Installed {
    /// The plugins are there, the configuration waits for [`Phase::Serving`].
    Plugins,
    /// Everything is there.
    Everything {
        /// Configurations of others after ours, which the runtime does not look at.
        ignored: Vec<String>,
    },
}

/// Why Sotto is not installed.
#[derive(Debug, Error)]
pub(crate) enum InstallError {
    /// The image lacks the plugin.
    #[error("cni.plugin_source = {folder:?}: has no {MAIN_PLUGIN}, name the folder that has it")]
    NoSource {
        /// The folder.
        folder: PathBuf,
    },
    /// A file could not be written or read.
    #[error("install into {folder:?}: {cure}")]
    File {
        /// The folder.
        folder: PathBuf,
        /// What may help.
        cure: &'static str,
        /// What was done, and why not.
        #[source]
        source: FileError,
    },
    /// A plugin is other than what was copied.
    #[error("install {path:?}: what was written is not what was read, is the disk in order?")]
    Altered {
        /// The copy.
        path: PathBuf,
    },
    /// Another network is in force.
    #[error(transparent)]
    Refused(#[from] Refusal),
}
