//! What an installed daemon was told: the arguments in its DaemonSet.

pub(crate) mod controller;
pub(crate) mod image;
pub(crate) mod node;

use ipnetwork::IpNetwork;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Container;
use node_identity::{Pin, PodCidr, TrustDomain, parse_network};
use serde::Deserialize;

use crate::names::NODE;
use image::Image;
use node::InstalledNode;

/// What daemons were told that this program has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// The roots that they trust.
    pub(crate) pins: Vec<Pin>,
    /// The name of the cluster.
    pub(crate) trust_domain: TrustDomain,
    /// Where pods are.
    pub(crate) pod_ranges: Vec<PodCidr>,
    /// Where Services are.
    pub(crate) service_ranges: Vec<IpNetwork>,
    /// Where nodes are.
    pub(crate) underlay_ranges: Vec<IpNetwork>,
    /// What they run.
    pub(crate) image: Image,
    /// What they were told of their nodes.
    pub(crate) node: InstalledNode,
}

/// The settings among the arguments, as far as they matter here.
#[derive(Deserialize)]
struct Settings {
    trust_domain: String,
    cluster_pod_ranges: Vec<String>,
    #[serde(default)]
    service_ranges: Vec<String>,
    underlay_ranges: Vec<String>,
}

/// Reads a DaemonSet of ours.
///
/// # Errors
/// What about it is not as `sotto install` and the chart write it.
pub(crate) fn read(daemon_set: &DaemonSet) -> Result<Installed, String> {
    let pod = daemon_set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .ok_or("it has no pod")?;
    // Among the latter where it takes a node's part away.
    let mut containers = pod
        .containers
        .iter()
        .chain(pod.init_containers.iter().flatten());
    let container = containers
        .find(|one| one.name == NODE)
        .ok_or_else(|| format!("it has no container {NODE}"))?;
    let arguments = container.args.as_deref().unwrap_or_default();
    let text = argument(container, "--settings").ok_or("it has no argument --settings")?;
    let settings: Settings =
        toml::from_str(text).map_err(|error| format!("its settings: {}", error.message()))?;
    let pins = arguments
        .iter()
        .filter_map(|argument| argument.strip_prefix("--pin="))
        .map(|pin| pin.parse::<Pin>().map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    Ok(Installed {
        pins,
        trust_domain: settings
            .trust_domain
            .parse()
            .map_err(|error: node_identity::NameError| error.to_string())?,
        pod_ranges: pods(&settings.cluster_pod_ranges)?,
        service_ranges: networks(&settings.service_ranges)?,
        underlay_ranges: networks(&settings.underlay_ranges)?,
        image: container.image.as_deref().unwrap_or_default().parse()?,
        node: node::read(pod, container, text)?,
    })
}

/// What follows an argument.
fn argument<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let arguments = container.args.as_deref().unwrap_or_default().iter();
    let mut from = arguments.skip_while(|argument| *argument != name);
    from.nth(1).map(String::as_str)
}

/// Reads pod ranges.
///
/// # Errors
/// The first that is none.
pub(crate) fn pods(texts: &[String]) -> Result<Vec<PodCidr>, String> {
    let ranges = texts.iter().map(|text| text.parse::<PodCidr>());
    ranges
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Reads ranges of Services or nodes.
///
/// # Errors
/// The first that is none.
pub(crate) fn networks(texts: &[String]) -> Result<Vec<IpNetwork>, String> {
    let read = |text: &String| parse_network(text).map_err(|error| format!("{text}: {error}"));
    texts.iter().map(read).collect()
}
