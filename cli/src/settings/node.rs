//! What an installed daemon was told beside what all parts are told alike.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use node_identity::NodeName;
use serde::Deserialize;

use super::controller::RootDirectory;

/// The variables by which a pod finds the API server.
const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";
/// Where API servers listen mostly.
const API_SERVER_PORT: u16 = 6443;

/// A folder: of letters that end nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder(String);

/// The name or address of an API server, or empty: that of the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Host(String);

/// The name of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PullSecret(String);

impl FromStr for Folder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<RootDirectory>()?.path() {
            Some(path) => Ok(Self(path.to_owned())),
            None => Err("an absolute path is needed".to_owned()),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".:-".contains(&byte);
        if text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a DNS name or an address without brackets is needed".to_owned())
        }
    }
}

impl FromStr for PullSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Both are named as DNS is.
        let name = text
            .parse::<NodeName>()
            .map_err(|error| error.to_string())?;
        Ok(Self(name.to_string()))
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PullSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Host {
    /// Whether there is one.
    pub(crate) fn is_some(&self) -> bool {
        !self.0.is_empty()
    }
}

/// What an installed daemon was told of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstalledNode {
    /// UDP port of the first lane.
    pub(crate) port: u16,
    /// How many there are.
    pub(crate) lanes: u16,
    /// Where the runtime looks for plugins.
    pub(crate) plugin_directory: Folder,
    /// Where it looks for configurations.
    pub(crate) configuration_directory: Folder,
    /// Where the API server is.
    pub(crate) api_server: Host,
    /// Its port.
    pub(crate) api_server_port: u16,
    /// Credentials for the registry.
    pub(crate) pull_secrets: Vec<PullSecret>,
}

impl Default for InstalledNode {
    fn default() -> Self {
        Self {
            port: 51820,
            lanes: 1,
            plugin_directory: Folder("/opt/cni/bin".to_owned()),
            configuration_directory: Folder("/etc/cni/net.d".to_owned()),
            api_server: Host::default(),
            api_server_port: API_SERVER_PORT,
            pull_secrets: Vec::new(),
        }
    }
}

/// The settings among the arguments, as far as they matter here.
#[derive(Deserialize)]
struct Settings {
    port: Option<u16>,
    lanes: Option<u16>,
    cni: Option<Cni>,
}

#[derive(Deserialize)]
struct Cni {
    plugin_directory: Option<String>,
    configuration_directory: Option<String>,
}

/// Reads the daemon's pod; `settings` are among its arguments.
///
/// # Errors
/// What about it is not as `sotto install` and the chart write it.
pub(super) fn read(
    pod: &PodSpec,
    container: &Container,
    settings: &str,
) -> Result<InstalledNode, String> {
    let settings: Settings =
        toml::from_str(settings).map_err(|error| format!("its settings: {}", error.message()))?;
    let usual = InstalledNode::default();
    let folder = |text: Option<&String>, usual: Folder| text.map_or(Ok(usual), |text| text.parse());
    let cni = settings.cni.as_ref();
    let api_server = variable(container, HOST).unwrap_or_default().parse()?;
    let api_server_port = variable(container, PORT).map(str::parse).transpose();
    let secrets = pod.image_pull_secrets.iter().flatten();
    Ok(InstalledNode {
        port: settings.port.unwrap_or(usual.port),
        lanes: settings.lanes.unwrap_or(usual.lanes),
        plugin_directory: folder(
            cni.and_then(|cni| cni.plugin_directory.as_ref()),
            usual.plugin_directory,
        )?,
        configuration_directory: folder(
            cni.and_then(|cni| cni.configuration_directory.as_ref()),
            usual.configuration_directory,
        )?,
        api_server,
        api_server_port: api_server_port
            .map_err(|_| format!("its {PORT} is no port"))?
            .unwrap_or(usual.api_server_port),
        pull_secrets: secrets
            .map(|secret| secret.name.parse())
            .collect::<Result<_, _>>()?,
    })
}

fn variable<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let mut all = container.env.iter().flatten();
    all.find(|one| one.name == name)?.value.as_deref()
}
