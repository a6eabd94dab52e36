//! Checks of ranges, and of what else has to do with the pod network.

use ipnetwork::IpNetwork;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::{NetworkPolicy, ServiceCIDR};
use kube::ResourceExt;
use node_identity::{PodCidr, contains};

use super::{named, unseen};
use crate::cluster::{Listed, Seen};
use crate::doctor::{Check, Outcome};
use crate::install::ranges::{larger, outside, pod_ranges, service_ranges};
use crate::settings;
use crate::settings::controller::{InstalledController, PrefixLengths, RangesFrom};

const PODS_INSIDE: &str = "nodes' pod ranges lie in the daemons'";

/// DaemonSets of other pod networks, as their own manifests name them.
const OTHERS: [&str; 14] = [
    "antrea-agent",
    "aws-node",
    "azure-cni",
    "calico-node",
    "canal",
    "cilium",
    "cilium-envoy",
    "kindnet",
    "kube-flannel",
    "kube-flannel-ds",
    "kube-ovn-cni",
    "kube-router",
    "ovnkube-node",
    "weave-net",
];

/// Whether the daemons were told the ranges that the cluster uses.
pub(super) fn ranges(
    daemon_set: &Seen<Option<DaemonSet>>,
    nodes: &Seen<Listed<Node>>,
    services: &Seen<Listed<ServiceCIDR>>,
    controller: &InstalledController,
) -> Vec<Check> {
    let what = "the daemons' settings can be read";
    let installed = match daemon_set {
        Ok(Some(daemon_set)) => settings::read(daemon_set),
        // Told already by another check.
        Ok(None) | Err(_) => return Vec::new(),
    };
    let installed = match installed {
        Ok(installed) => installed,
        Err(reason) => {
            let found = format!("{reason}: was the DaemonSet changed by hand?");
            return vec![Check::new(what, Outcome::Warn, &found)];
        }
    };
    let pods: Vec<IpNetwork> = installed
        .pod_ranges
        .iter()
        .map(PodCidr::to_network)
        .collect();
    let mut checks = Vec::new();
    if installed.pins.is_empty() {
        let found = "no --pin is given: they trust the first root that they see";
        checks.push(Check::new(
            "the daemons trust a pinned root",
            Outcome::Warn,
            found,
        ));
    }
    // Where the controller gives out ranges, those of Nodes are another network's.
    if controller.ranges_from == RangesFrom::Node {
        checks.push(match nodes {
            Ok(nodes) => pods_inside(&nodes.objects, &pods, controller.prefix_lengths),
            Err(error) => unseen(PODS_INSIDE, error),
        });
    }
    checks.push(match services {
        Ok(services) => services_inside(&services.objects, &installed.service_ranges),
        Err(error) => unseen("Services lie in the daemons' ranges", error),
    });
    checks
}

fn pods_inside(nodes: &[Node], pods: &[IpNetwork], lengths: PrefixLengths) -> Check {
    let what = PODS_INSIDE;
    let of_nodes: Vec<_> = nodes.iter().map(pod_ranges).collect();
    let outside: Vec<String> = outside(&of_nodes, pods)
        .into_iter()
        .map(str::to_owned)
        .collect();
    if !outside.is_empty() {
        let found = format!(
            "those of {} do not: give all of them with `sotto install --pod-range` \
             (`clusterPodRanges` of the chart)",
            named(&outside)
        );
        return Check::new(what, Outcome::Fail, &found);
    }
    let large: Vec<String> = larger(&of_nodes, lengths)
        .into_iter()
        .map(str::to_owned)
        .collect();
    if large.is_empty() {
        return Check::new(what, Outcome::Ok, "");
    }
    let found = format!(
        "those of {} are larger than one node's may be: allow it with `sotto install \
         --node-prefix-length-ipv4` or `-ipv6` (`nodePrefixLengths` of the chart)",
        named(&large)
    );
    Check::new(what, Outcome::Fail, &found)
}

fn services_inside(objects: &[ServiceCIDR], told: &[IpNetwork]) -> Check {
    let what = "Services lie in the daemons' ranges";
    let covered = |range: &IpNetwork| told.iter().any(|outer| contains(*outer, *range));
    let missing: Vec<String> = service_ranges(objects)
        .iter()
        .filter(|range| !covered(range))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return Check::new(what, Outcome::Ok, "");
    }
    let found = format!(
        "{} do not: give all of them with `sotto install --service-range` (`serviceRanges` of the \
         chart)",
        named(&missing)
    );
    Check::new(what, Outcome::Fail, &found)
}

/// Whether another pod network is installed.
pub(super) fn others(found: &Seen<Listed<DaemonSet>>) -> Check {
    let what = "no other pod network is installed";
    let listed = match found {
        Ok(listed) => listed,
        Err(error) => return unseen(what, error),
    };
    let others: Vec<String> = listed
        .objects
        .iter()
        .filter(|one| OTHERS.contains(&one.name_any().as_str()))
        .map(|one| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any()))
        .collect();
    if others.is_empty() {
        return Check::new(what, Outcome::Ok, "");
    }
    let found = format!(
        "{} looks like one: which of them makes pods' links is decided by the first file in \
         /etc/cni/net.d",
        named(&others)
    );
    Check::new(what, Outcome::Warn, &found)
}

/// Whether somebody relies on policies that Sotto does not enforce.
pub(super) fn policies(found: &Seen<Listed<NetworkPolicy>>) -> Check {
    let what = "no NetworkPolicy waits to be enforced";
    let listed = match found {
        Ok(listed) => listed,
        Err(error) => return unseen(what, error),
    };
    let names: Vec<String> = listed
        .objects
        .iter()
        .map(|one| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any()))
        .collect();
    if names.is_empty() {
        return Check::new(what, Outcome::Ok, "");
    }
    let found = format!("{}: Sotto does not enforce them yet", named(&names));
    Check::new(what, Outcome::Warn, &found)
}
