//! Where Sotto is installed for the container runtime of this node, if the daemon is to do it.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use super::check::absolute;

/// Folders of the installation.
#[derive(Debug, Clone)]
pub(crate) struct Cni {
    /// Where the plugins come from.
    pub(crate) plugin_source: PathBuf,
    /// Where the runtime looks for plugins.
    pub(crate) plugin_directory: PathBuf,
    /// Where the runtime looks for network configurations.
    pub(crate) configuration_directory: PathBuf,
}

/// The table `[cni]` of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CniTable {
    #[serde(default = "plugin_source")]
    plugin_source: PathBuf,
    #[serde(default = "plugin_directory")]
    plugin_directory: PathBuf,
    #[serde(default = "configuration_directory")]
    configuration_directory: PathBuf,
}

fn plugin_source() -> PathBuf {
    PathBuf::from("/usr/libexec/sotto/cni")
}

fn plugin_directory() -> PathBuf {
    PathBuf::from("/opt/cni/bin")
}

fn configuration_directory() -> PathBuf {
    PathBuf::from("/etc/cni/net.d")
}

/// What the table says.
///
/// # Errors
/// When a path is not a full one.
pub(super) fn cni(table: CniTable) -> Result<Cni, ConfigError> {
    Ok(Cni {
        plugin_source: absolute("cni.plugin_source", table.plugin_source)?,
        plugin_directory: absolute("cni.plugin_directory", table.plugin_directory)?,
        configuration_directory: absolute(
            "cni.configuration_directory",
            table.configuration_directory,
        )?,
    })
}
