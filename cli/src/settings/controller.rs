//! What an installed controller was told: its place and its arguments, in its Deployment.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodSpec;
use serde::Deserialize;

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

/// What an installed controller was told that this program has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InstalledController {
    /// Where it may run.
    pub(crate) node_label: NodeLabel,
    /// Where it has pod ranges from.
    pub(crate) ranges_from: RangesFrom,
}

/// The settings among the arguments, as far as they matter here.
#[derive(Deserialize)]
struct Settings {
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    #[serde(default)]
    pod_ranges: RangesFrom,
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
    Ok(InstalledController {
        node_label: label.parse()?,
        ranges_from: settings.kubernetes.pod_ranges,
    })
}

fn label(pod: &PodSpec) -> Option<&str> {
    let wanted = pod.affinity.as_ref()?.node_affinity.as_ref()?;
    let selector = &wanted.required_during_scheduling_ignored_during_execution;
    let term = selector.as_ref()?.node_selector_terms.first()?;
    Some(&term.match_expressions.as_ref()?.first()?.key)
}

#[cfg(test)]
mod tests {
    use super::NodeLabel;

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
