//! Where the controller lives: in two folders, or in Kubernetes. One of both, never a mixture.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use cluster_api::names::NAMESPACE;
use node_identity::Pin;
use serde::Deserialize;

use super::ConfigError;

/// Where health and metrics are served in Kubernetes.
const HTTP_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9470);

/// Where root, ledger and store are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// In folders.
    Folders {
        /// Folder with the root key and the ledger. Only the controller may read it.
        state: PathBuf,
        /// Folder that controller and nodes share.
        store: PathBuf,
    },
    /// In an API server.
    Kubernetes(InKubernetes),
}

/// Settings of a controller in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InKubernetes {
    /// Namespace of Sotto. Default sotto-system.
    pub(crate) namespace: String,
    /// How to reach the API server; default: as the pod's ServiceAccount.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Who says which pod ranges a node has. Default node.
    pub(crate) pod_ranges_from: PodRangesFrom,
    /// Whether a Node's ExternalIPs are certified too. Default no.
    pub(crate) external_addresses: bool,
    /// Folder with the root's key and certificate, in place of the Secret.
    pub(crate) root_directory: Option<PathBuf>,
    /// Pin of the root that this one takes the place of: its ledger is taken over.
    pub(crate) previous_root: Option<Pin>,
}

/// Who says which pod ranges a node has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PodRangesFrom {
    /// Kubernetes, in `spec.podCIDRs` of the Node.
    #[default]
    Node,
    /// The controller, out of `cluster_pod_ranges`.
    Controller,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileKubernetes {
    namespace: Option<String>,
    kubeconfig: Option<PathBuf>,
    #[serde(default)]
    pod_ranges_from: PodRangesFrom,
    #[serde(default)]
    external_addresses: bool,
    root_directory: Option<PathBuf>,
    previous_root: Option<String>,
}

/// The keys that say where.
pub(super) struct FileHome {
    pub(super) state_directory: Option<PathBuf>,
    pub(super) store_directory: Option<PathBuf>,
    pub(super) kubernetes: Option<FileKubernetes>,
}

impl TryFrom<FileHome> for Home {
    type Error = ConfigError;

    fn try_from(file: FileHome) -> Result<Self, ConfigError> {
        match (file.state_directory, file.store_directory, file.kubernetes) {
            (Some(state), Some(store), None) => folders(state, store),
            (None, None, Some(table)) => table.checked().map(Self::Kubernetes),
            (None, None, None) => Err(ConfigError::Keys {
                given: "neither folders nor [kubernetes]",
                cure: "give state_directory and store_directory, or the table [kubernetes]",
            }),
            (_, _, Some(_)) => Err(ConfigError::Keys {
                given: "[kubernetes]",
                cure: "root, ledger and store are there: remove state_directory and store_directory",
            }),
            (None, Some(_), None) => Err(ConfigError::Keys {
                given: "store_directory",
                cure: "missing field `state_directory`, the folder with the root key",
            }),
            (Some(_), None, None) => Err(ConfigError::Keys {
                given: "state_directory",
                cure: "missing field `store_directory`, the folder that nodes share",
            }),
        }
    }
}

impl FileKubernetes {
    fn checked(self) -> Result<InKubernetes, ConfigError> {
        let namespace = self.namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_inside = !namespace.starts_with('-') && !namespace.ends_with('-');
        if namespace.is_empty()
            || namespace.len() > 63
            || !namespace.bytes().all(is_name)
            || !is_inside
        {
            return Err(ConfigError::Value {
                key: "kubernetes.namespace",
                value: namespace,
                cure: "1 to 63 lower-case letters, digits and, inside, hyphens".to_owned(),
            });
        }
        let pin = |text: String| match text.parse() {
            Ok(pin) => Ok(pin),
            Err(_) => Err(ConfigError::Value {
                key: "kubernetes.previous_root",
                value: text,
                cure: "a pin, `sha256:` and 64 hexadecimal digits".to_owned(),
            }),
        };
        let all = |key, path: Option<PathBuf>| path.map(|path| absolute(key, path)).transpose();
        Ok(InKubernetes {
            namespace,
            kubeconfig: all("kubernetes.kubeconfig", self.kubeconfig)?,
            pod_ranges_from: self.pod_ranges_from,
            external_addresses: self.external_addresses,
            root_directory: all("kubernetes.root_directory", self.root_directory)?,
            previous_root: self.previous_root.map(pin).transpose()?,
        })
    }
}

impl Home {
    /// The controller's own folder, if it lives in one.
    pub(crate) fn state_folder(&self) -> Option<PathBuf> {
        match self {
            Self::Folders { state, .. } => Some(state.clone()),
            Self::Kubernetes(_) => None,
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folders { state, store } => {
                write!(
                    f,
                    "state in {}, store in {}",
                    state.display(),
                    store.display()
                )
            }
            Self::Kubernetes(home) => write!(
                f,
                "namespace {}, pod ranges from {}, external addresses {}",
                home.namespace,
                match home.pod_ranges_from {
                    PodRangesFrom::Node => "nodes",
                    PodRangesFrom::Controller => "the controller",
                },
                if home.external_addresses {
                    "too"
                } else {
                    "not"
                }
            ),
        }
    }
}

/// Where health and metrics are served: where nobody but this machine can ask.
pub(super) fn http_address(
    home: &Home,
    given: Option<SocketAddr>,
) -> Result<Option<SocketAddr>, ConfigError> {
    if let Some(address) = given.filter(|address| !address.ip().is_loopback()) {
        return Err(ConfigError::Value {
            key: "http_address",
            value: address.to_string(),
            cure: "a loopback address, such as 127.0.0.1:9470".to_owned(),
        });
    }
    Ok(match home {
        Home::Folders { .. } => given,
        Home::Kubernetes(_) => given.or(Some(HTTP_ADDRESS)),
    })
}

fn folders(state: PathBuf, store: PathBuf) -> Result<Home, ConfigError> {
    let state = absolute("state_directory", state)?;
    let store = absolute("store_directory", store)?;
    if state.starts_with(&store) || store.starts_with(&state) {
        return Err(ConfigError::Value {
            key: "store_directory",
            value: store.display().to_string(),
            cure: "it is, holds or lies in state_directory, which nodes must not reach: \
                   give them two folders apart"
                .to_owned(),
        });
    }
    Ok(Home::Folders { state, store })
}

fn absolute(key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() {
        return Ok(path);
    }
    let value = path.display().to_string();
    Err(ConfigError::Value {
        key,
        value,
        cure: "give an absolute path".to_owned(),
    })
}
