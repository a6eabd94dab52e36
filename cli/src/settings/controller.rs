//! What an installed controller was told: its place and its arguments, in its Deployment.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use ipnetwork::IpNetwork;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodSpec;
use node_identity::Pin;
use serde::Deserialize;

use super::image::Image;
use crate::names::CONTROLLER;

/// The label of nodes that cluster administrators have, not workloads.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// What labels begin with that no kubelet can give its own node.
const RESTRICTED: &str = "node-restriction.kubernetes.io/";
/// Longest name behind the prefix, as Kubernetes has it.
const MAX_NAME: usize = 63;

/// The label of the nodes that the controller may run on: one that no kubelet can give itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeLabel(String);

impl Default for NodeLabel {
    fn default() -> Self {
        Self(CONTROL_PLANE.to_owned())
    }
}

impl FromStr for NodeLabel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_end = |end: Option<u8>| end.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let is_name = |name: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            name.len() <= MAX_NAME
                && name.bytes().all(allowed)
                && is_end(name.bytes().next())
                && is_end(name.bytes().next_back())
        };
        if text == CONTROL_PLANE || text.strip_prefix(RESTRICTED).is_some_and(is_name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{CONTROL_PLANE}, or a label under {RESTRICTED}, which no kubelet can give itself"
            ))
        }
    }
}

impl fmt::Display for NodeLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a node's pod range comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RangesFrom {
    /// From `Node.spec.podCIDRs`.
    #[default]
    Node,
    /// Given out by Sotto's controller.
    Controller,
}

impl fmt::Display for RangesFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Controller => "controller",
        })
    }
}

/// A folder of the controller's nodes with the root's key and certificate: of letters that end
/// nothing. Empty: they are in the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RootDirectory(String);

impl RootDirectory {
    /// The folder, if there is one.
    pub(crate) fn path(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|path| !path.is_empty())
    }
}

impl FromStr for RootDirectory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        let is_path = text.starts_with('/') && text.bytes().all(allowed);
        if text.is_empty() || (is_path && !text.split('/').any(|part| part == "..")) {
            Ok(Self(text.to_owned()))
        } else {
            Err("an absolute path of letters, digits and /._- is needed".to_owned())
        }
    }
}

/// The largest pod range that a node may have, in bits of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct PrefixLengths {
    pub(crate) ipv4: u8,
    pub(crate) ipv6: u8,
}

impl PrefixLengths {
    /// The length for the family of a range.
    pub(crate) fn of(self, range: &IpNetwork) -> u8 {
        if range.is_ipv4() {
            self.ipv4
        } else {
            self.ipv6
        }
    }
}

impl Default for PrefixLengths {
    fn default() -> Self {
        Self { ipv4: 24, ipv6: 64 }
    }
}

/// What an installed controller was told that this program has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InstalledController {
    /// Where it may run.
    pub(crate) node_label: NodeLabel,
    /// Where it has pod ranges from.
    pub(crate) ranges_from: RangesFrom,
    /// How large those may be.
    pub(crate) prefix_lengths: PrefixLengths,
    /// Where its root is, if not in its Secret.
    pub(crate) root_directory: RootDirectory,
    /// The root before this one, while it is changed.
    pub(crate) previous_pin: Option<Pin>,
    /// Whether nodes' ExternalIP addresses may be endpoints.
    pub(crate) external_addresses: bool,
}

/// The settings among the arguments, as far as they matter here.
#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    node_prefix_lengths: PrefixLengths,
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    #[serde(default)]
    pod_ranges_from: RangesFrom,
    previous_root: Option<String>,
    #[serde(default)]
    external_addresses: bool,
}

/// Reads a Deployment of ours.
///
/// # Errors
/// What about it is not as `sotto install` and the chart write it.
pub(crate) fn read(deployment: &Deployment) -> Result<InstalledController, String> {
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .ok_or("it has no pod")?;
    let container = pod.containers.iter().find(|one| one.name == CONTROLLER);
    let text = container
        .and_then(|container| super::argument(container, "--settings"))
        .ok_or_else(|| format!("no container {CONTROLLER} has an argument --settings"))?;
    let settings: Settings =
        toml::from_str(text).map_err(|error| format!("its settings: {}", error.message()))?;
    let label = label(pod).ok_or("it does not say by a label which nodes it may run on")?;
    let previous = settings.kubernetes.previous_root.as_deref();
    let previous = previous.map(str::parse::<Pin>).transpose();
    Ok(InstalledController {
        node_label: label.parse()?,
        ranges_from: settings.kubernetes.pod_ranges_from,
        prefix_lengths: settings.node_prefix_lengths,
        root_directory: root_directory(pod).unwrap_or_default().parse()?,
        previous_pin: previous.map_err(|error| error.to_string())?,
        external_addresses: settings.kubernetes.external_addresses,
    })
}

/// What runs in a Deployment of ours.
///
/// # Errors
/// When it has no such container, or it has no image.
pub(crate) fn image(deployment: &Deployment) -> Result<Image, String> {
    let spec = deployment.spec.as_ref();
    let pod = spec.and_then(|spec| spec.template.spec.as_ref());
    let mut containers = pod.iter().flat_map(|pod| &pod.containers);
    let container = containers.find(|one| one.name == CONTROLLER);
    let image = container.and_then(|one| one.image.as_deref());
    image.ok_or("it has no image")?.parse()
}

fn label(pod: &PodSpec) -> Option<&str> {
    let wanted = pod.affinity.as_ref()?.node_affinity.as_ref()?;
    let selector = &wanted.required_during_scheduling_ignored_during_execution;
    let term = selector.as_ref()?.node_selector_terms.first()?;
    Some(&term.match_expressions.as_ref()?.first()?.key)
}

/// The folder behind the volume of the root, as the chart names it.
fn root_directory(pod: &PodSpec) -> Option<&str> {
    let mut volumes = pod.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == "root")?;
    Some(&volume.host_path.as_ref()?.path)
}

#[cfg(test)]
mod tests {
    use super::{NodeLabel, RootDirectory};

    #[test]
    fn a_folder_of_the_root_is_an_absolute_path_and_ends_no_quotation() {
        for path in ["", "/etc/sotto-root", "/a/b.c"] {
            assert!(path.parse::<RootDirectory>().is_ok(), "{path:?}");
        }
        for path in ["root", "/a/../b", "/a b", "/a\"b", "/a\nb", "/a{b"] {
            assert!(path.parse::<RootDirectory>().is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_label_that_a_kubelet_could_give_itself_is_refused() {
        for label in [
            "node-restriction.kubernetes.io/sotto",
            "node-role.kubernetes.io/control-plane",
        ] {
            assert!(label.parse::<NodeLabel>().is_ok(), "{label}");
        }
        for label in [
            "kubernetes.io/os",
            "node-restriction.kubernetes.io/",
            "node-restriction.kubernetes.io/-a",
            "node-restriction.kubernetes.io/a\"b",
            "node-restriction.kubernetes.io/a\nb",
        ] {
            assert!(label.parse::<NodeLabel>().is_err(), "{label:?}");
        }
    }
}
