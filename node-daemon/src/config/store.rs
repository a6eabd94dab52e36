//! Which store the node uses: a folder, or the API of a Kubernetes cluster.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use super::check::absolute;
use super::file::ConfigFile;

/// What all nodes and the controller share.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    /// A folder.
    Directory {
        /// Where it is.
        directory: PathBuf,
        /// The one-time token for the first enrolment; needed only until then.
        join_token_file: Option<PathBuf>,
    },
    /// Objects of an API server.
    Kubernetes(Kubernetes),
}

/// How the node reaches the API server and who it is there.
#[derive(Debug, Clone)]
pub(crate) struct Kubernetes {
    /// Whom to ask and as whom; in a pod nothing, as everything is mounted there.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The pod's ServiceAccount token, whose claims name the node.
    pub(crate) token_file: PathBuf,
}

/// The table `[kubernetes]` of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesTable {
    kubeconfig: Option<PathBuf>,
    #[serde(default = "token_file")]
    token_file: PathBuf,
}

fn token_file() -> PathBuf {
    PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token")
}

/// The store that the file names.
///
/// # Errors
/// When it names none or two, or something of one that the other has no use for.
pub(super) fn store(file: &mut ConfigFile) -> Result<Store, ConfigError> {
    let token = file
        .join_token_file
        .take()
        .map(|path| absolute("join_token_file", path))
        .transpose()?;
    match (file.store_directory.take(), file.kubernetes.take()) {
        (Some(directory), None) => Ok(Store::Directory {
            directory: absolute("store_directory", directory)?,
            join_token_file: token,
        }),
        (None, Some(table)) => match token {
            None => kubernetes(table).map(Store::Kubernetes),
            Some(path) => Err(ConfigError::value(
                "join_token_file",
                format!("{:?}", path.display().to_string()),
                "has no use with [kubernetes], where the pod's token tells who asks: remove it",
            )),
        },
        (Some(directory), Some(_)) => Err(ConfigError::value(
            "store_directory",
            format!("{:?}", directory.display().to_string()),
            "[kubernetes] is there too: choose one store",
        )),
        (None, None) => Err(ConfigError::value(
            "store_directory",
            "(absent)",
            "name the folder that all nodes share, or add the table [kubernetes]",
        )),
    }
}

fn kubernetes(table: KubernetesTable) -> Result<Kubernetes, ConfigError> {
    Ok(Kubernetes {
        kubeconfig: table
            .kubeconfig
            .map(|path| absolute("kubernetes.kubeconfig", path))
            .transpose()?,
        token_file: absolute("kubernetes.token_file", table.token_file)?,
    })
}
