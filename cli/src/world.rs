//! Who is asked: the cluster, or the daemon of this machine.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use node_status::STATUS_SOCKET;

use crate::arguments::Place;

/// Where daemons keep their socket if nothing else was said.
const RUNTIME_DIRECTORY: &str = "/run/sotto";

/// Who is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum World {
    /// The daemon with this runtime directory.
    Machine(PathBuf),
    /// The API server of the kubeconfig.
    Cluster,
}

/// What the choice depends on.
#[derive(Debug, Default)]
struct Signs<'a> {
    cluster_named: bool,
    runtime_directory: Option<&'a Path>,
    called_as_plugin: bool,
    kubeconfig_variable: bool,
    daemon_here: bool,
    kubeconfig_at_home: bool,
}

/// Finds out who is meant.
///
/// # Errors
/// When it could be neither.
pub(crate) fn choose(place: &Place, called_as_plugin: bool) -> Result<World> {
    let signs = Signs {
        cluster_named: place.kubeconfig.is_some() || place.context.is_some(),
        runtime_directory: place.runtime_directory.as_deref(),
        called_as_plugin,
        kubeconfig_variable: std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()),
        daemon_here: Path::new(RUNTIME_DIRECTORY).join(STATUS_SOCKET).exists(),
        kubeconfig_at_home: kubeconfig_at_home(),
    };
    judge(&signs)
}

fn kubeconfig_at_home() -> bool {
    std::env::var_os("HOME").is_some_and(|home| Path::new(&home).join(".kube/config").is_file())
}

fn judge(signs: &Signs<'_>) -> Result<World> {
    if signs.cluster_named {
        return Ok(World::Cluster);
    }
    if let Some(directory) = signs.runtime_directory {
        return Ok(World::Machine(directory.to_owned()));
    }
    if signs.called_as_plugin || signs.kubeconfig_variable {
        return Ok(World::Cluster);
    }
    if signs.daemon_here {
        return Ok(World::Machine(RUNTIME_DIRECTORY.into()));
    }
    if signs.kubeconfig_at_home {
        return Ok(World::Cluster);
    }
    bail!(
        "find whom to ask: no daemon runs here (there is no {RUNTIME_DIRECTORY}/{STATUS_SOCKET}: start it with \
         `sotto-node run`, or name its directory with --runtime-directory), and no cluster is \
         known (name one with --kubeconfig or $KUBECONFIG)"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Signs, World, judge};

    #[test]
    fn an_explicit_place_wins_over_what_is_found() {
        let signs = Signs {
            cluster_named: true,
            runtime_directory: Some(Path::new("/somewhere")),
            daemon_here: true,
            ..Signs::default()
        };
        assert_eq!(judge(&signs).unwrap(), World::Cluster);

        let signs = Signs {
            cluster_named: false,
            called_as_plugin: true,
            kubeconfig_variable: true,
            ..signs
        };
        assert_eq!(judge(&signs).unwrap(), World::Machine("/somewhere".into()));
    }

    #[test]
    fn a_plugin_and_a_kubeconfig_variable_mean_the_cluster_even_on_a_node() {
        for (called_as_plugin, kubeconfig_variable) in [(true, false), (false, true)] {
            let signs = Signs {
                called_as_plugin,
                kubeconfig_variable,
                daemon_here: true,
                ..Signs::default()
            };
            assert_eq!(judge(&signs).unwrap(), World::Cluster);
        }
    }

    #[test]
    fn a_daemon_here_is_asked_before_a_kubeconfig_at_home() {
        let mut signs = Signs {
            daemon_here: true,
            kubeconfig_at_home: true,
            ..Signs::default()
        };
        assert_eq!(judge(&signs).unwrap(), World::Machine("/run/sotto".into()));

        signs.daemon_here = false;
        assert_eq!(judge(&signs).unwrap(), World::Cluster);
    }

    #[test]
    fn with_neither_both_cures_are_told() {
        let error = judge(&Signs::default()).unwrap_err().to_string();

        assert!(error.contains("--runtime-directory"), "{error}");
        assert!(error.contains("--kubeconfig"), "{error}");
    }
}
