//! Where pods, Services and nodes are, as far as a cluster tells.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::ResourceExt;
use kube::api::ListParams;
use node_identity::{contains, overlap, parse_network};

use crate::cluster::{Cluster, Listed, seen};
use crate::settings::controller::PrefixLengths;

/// The smallest range that is proposed for the nodes' own addresses: a guess at a subnet.
const SUBNET: (u8, u8) = (24, 64);

/// Ranges, and how they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The ranges, none if nothing is known.
    pub(crate) ranges: Vec<IpNetwork>,
    /// How.
    pub(crate) source: String,
    /// Whether that is the cluster's own word, or a guess to be asked about.
    pub(crate) certain: bool,
}

impl Found {
    /// The ranges as a person would give them.
    pub(crate) fn proposed(&self) -> String {
        let texts: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
        texts.join(",")
    }
}

/// Everything that a cluster tells about its addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    /// Where pods are.
    pub(crate) pods: Found,
    /// Where Services are.
    pub(crate) services: Found,
    /// Where nodes are.
    pub(crate) underlay: Found,
    /// The pod ranges of each node.
    pub(crate) of_nodes: Vec<(String, Vec<IpNetwork>)>,
}

/// Asks the cluster.
///
/// # Errors
/// When nodes cannot be listed. Whatever else this user may not see is then not known.
pub(crate) async fn look(cluster: &Cluster) -> Result<Addresses> {
    let nodes: Listed<Node> = cluster.list(ListParams::default()).await?;
    let services = seen(cluster.list::<ServiceCIDR>(ListParams::default()).await);
    let selected = ListParams::default().labels("component=kube-controller-manager");
    let managers = seen(cluster.list::<Pod>(selected).await);
    let of_nodes: Vec<_> = nodes.objects.iter().map(pod_ranges).collect();
    let from_managers = managers.map(|pods| manager_ranges(&pods.objects));
    let pods = match from_managers {
        Ok(ranges) if !ranges.is_empty() => Found {
            ranges,
            source: "--cluster-cidr of kube-controller-manager".to_owned(),
            certain: true,
        },
        Ok(_) | Err(_) => Found {
            ranges: covering(
                of_nodes.iter().flat_map(|(_, ranges)| ranges).copied(),
                (32, 128),
            ),
            source: "covers what the nodes have now; later nodes may need more".to_owned(),
            certain: false,
        },
    };
    let services = Found {
        ranges: services.map_or_else(|_| Vec::new(), |listed| service_ranges(&listed.objects)),
        source: "ServiceCIDR objects".to_owned(),
        certain: true,
    };
    let underlay = Found {
        ranges: covering(nodes.objects.iter().flat_map(addresses), SUBNET),
        source: "covers the nodes' addresses now; later nodes may need more".to_owned(),
        certain: false,
    };
    Ok(Addresses {
        pods,
        services,
        underlay,
        of_nodes,
    })
}

/// A node's name and its pod ranges; what is none is left out.
pub(crate) fn pod_ranges(node: &Node) -> (String, Vec<IpNetwork>) {
    let texts = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.clone());
    let texts = texts.unwrap_or_default();
    let ranges = texts.iter().filter_map(|text| parse_network(text).ok());
    (node.name_any(), ranges.collect())
}

/// All ranges of Services.
pub(crate) fn service_ranges(objects: &[ServiceCIDR]) -> Vec<IpNetwork> {
    let mut ranges: Vec<IpNetwork> = objects
        .iter()
        .filter_map(|object| object.spec.as_ref())
        .flat_map(|spec| spec.cidrs.iter().flatten())
        .filter_map(|text| parse_network(text).ok())
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

fn manager_ranges(pods: &[Pod]) -> Vec<IpNetwork> {
    let arguments = pods
        .iter()
        // Labels can be given to any pod; that namespace is the administrators' own.
        .filter(|pod| pod.metadata.namespace.as_deref() == Some("kube-system"))
        .filter_map(|pod| pod.spec.as_ref())
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.command.iter().chain(&container.args).flatten());
    let mut ranges: Vec<IpNetwork> = arguments
        .filter_map(|argument| argument.strip_prefix("--cluster-cidr="))
        .flat_map(|value| value.split(','))
        .filter_map(|text| parse_network(text).ok())
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

fn addresses(node: &Node) -> Vec<IpNetwork> {
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_deref());
    addresses
        .unwrap_or_default()
        .iter()
        .filter(|address| address.type_ == "InternalIP")
        .filter_map(|address| address.address.parse::<IpAddr>().ok())
        .map(IpNetwork::from)
        .collect()
}

/// The smallest range of each family that covers all of these, no smaller than `(IPv4, IPv6)`.
fn covering(ranges: impl Iterator<Item = IpNetwork>, longest: (u8, u8)) -> Vec<IpNetwork> {
    let (mut ipv4, mut ipv6) = (None, None);
    for range in ranges {
        let (cover, longest) = match range {
            IpNetwork::V4(_) => (&mut ipv4, longest.0),
            IpNetwork::V6(_) => (&mut ipv6, longest.1),
        };
        let shortened = shorten(range, longest.min(range.prefix()));
        *cover = Some(cover.map_or(shortened, |cover| join(cover, shortened)));
    }
    ipv4.into_iter()
        .chain(ipv6)
        // Nodes at both ends of the address space: no range is better than all addresses.
        .filter(|range| range.prefix() > 0)
        .collect()
}

fn join(one: IpNetwork, other: IpNetwork) -> IpNetwork {
    let mut cover = one;
    while !contains(cover, other) && cover.prefix() > 0 {
        cover = shorten(cover, cover.prefix() - 1);
    }
    cover
}

fn shorten(range: IpNetwork, prefix: u8) -> IpNetwork {
    IpNetwork::new(range.ip(), prefix)
        .and_then(|wide| IpNetwork::new(wide.network(), prefix))
        .unwrap_or(range)
}

/// Two ranges of different purposes that share an address.
pub(crate) fn first_overlap(all: &[(&str, &[IpNetwork])]) -> Option<String> {
    let flat: Vec<(&str, IpNetwork)> = all
        .iter()
        .flat_map(|(what, ranges)| ranges.iter().map(move |range| (*what, *range)))
        .collect();
    for (position, (what, range)) in flat.iter().enumerate() {
        let hit = flat
            .iter()
            .skip(position + 1)
            .find(|(_, other)| overlap(*range, *other));
        if let Some((other_what, other)) = hit {
            return Some(format!("{what} {range} and {other_what} {other} overlap"));
        }
    }
    None
}

/// The nodes with a pod range outside of these.
pub(crate) fn outside<'a>(
    of_nodes: &'a [(String, Vec<IpNetwork>)],
    ranges: &[IpNetwork],
) -> Vec<&'a str> {
    let covered = |range: &IpNetwork| ranges.iter().any(|outer| contains(*outer, *range));
    of_nodes
        .iter()
        .filter(|(_, own)| !own.iter().all(covered))
        .map(|(name, _)| name.as_str())
        .collect()
}

/// The nodes with a pod range larger than one node may have.
pub(crate) fn larger(of_nodes: &[(String, Vec<IpNetwork>)], lengths: PrefixLengths) -> Vec<&str> {
    let is_large = |range: &IpNetwork| range.prefix() < lengths.of(range);
    of_nodes
        .iter()
        .filter(|(_, own)| own.iter().any(is_large))
        .map(|(name, _)| name.as_str())
        .collect()
}

/// How large a pod range of a node may be where nothing was said: as usual, or, in a family in which
/// every node's is as large as every other's, as these are.
pub(crate) fn common_lengths(of_nodes: &[(String, Vec<IpNetwork>)]) -> PrefixLengths {
    let usual = PrefixLengths::default();
    let common = |is_ipv4: bool, usual: u8| {
        let ranges = of_nodes.iter().flat_map(|(_, own)| own);
        let mut lengths = ranges
            .filter(|range| range.is_ipv4() == is_ipv4)
            .map(IpNetwork::prefix);
        let first = lengths.next().unwrap_or(usual);
        if lengths.all(|length| length == first) {
            usual.min(first)
        } else {
            usual
        }
    };
    PrefixLengths {
        ipv4: common(true, usual.ipv4),
        ipv6: common(false, usual.ipv6),
    }
}

#[cfg(test)]
mod tests {
    use ipnetwork::IpNetwork;
    use k8s_openapi::api::core::v1::Pod;

    use super::{covering, first_overlap, manager_ranges, outside};

    fn networks(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn cover(texts: &[&str], longest: (u8, u8)) -> Vec<String> {
        let cover = covering(networks(texts).into_iter(), longest);
        cover.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_cover_is_the_smallest_of_each_family() {
        let nodes = [
            "10.244.0.0/24",
            "10.244.3.0/24",
            "fd00:10:244::/64",
            "fd00:10:244:1::/64",
        ];
        assert_eq!(
            cover(&nodes, (32, 128)),
            ["10.244.0.0/22", "fd00:10:244::/63"]
        );
        assert_eq!(cover(&["10.244.1.0/24"], (32, 128)), ["10.244.1.0/24"]);
        assert_eq!(
            cover(&["198.51.100.7/32", "2001:db8::7/128"], (24, 64)),
            ["198.51.100.0/24", "2001:db8::/64"]
        );
        assert!(cover(&["10.0.0.0/24", "198.51.100.0/24"], (32, 128)).is_empty());
        assert!(cover(&[], (32, 128)).is_empty());
    }

    #[test]
    fn only_the_administrators_own_pods_are_believed_about_the_pod_range() {
        let pod = |namespace: &str| -> Pod {
            serde_json::from_value(serde_json::json!({
                "metadata": { "name": "kcm", "namespace": namespace },
                "spec": { "containers": [{
                    "name": "kcm",
                    "command": ["kube-controller-manager", "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56"],
                }] },
            }))
            .unwrap()
        };

        assert!(manager_ranges(&[pod("mallory")]).is_empty());
        assert_eq!(
            manager_ranges(&[pod("kube-system"), pod("kube-system")]),
            networks(&["10.244.0.0/16", "fd00:10:244::/56"])
        );
    }

    #[test]
    fn overlaps_and_nodes_outside_are_named() {
        let (pods, services) = (networks(&["10.0.0.0/8"]), networks(&["10.96.0.0/12"]));
        let text = first_overlap(&[("pod range", &pods), ("Service range", &services)]);
        assert_eq!(
            text.unwrap(),
            "pod range 10.0.0.0/8 and Service range 10.96.0.0/12 overlap"
        );
        assert_eq!(first_overlap(&[("pod range", &pods)]), None);

        let of_nodes = [
            ("alice".to_owned(), networks(&["10.244.1.0/24"])),
            ("bob".to_owned(), networks(&["10.245.1.0/24"])),
        ];
        assert_eq!(outside(&of_nodes, &networks(&["10.244.0.0/16"])), ["bob"]);
    }
}
