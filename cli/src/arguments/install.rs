//! What `sotto install` and `sotto uninstall` can be told.

use clap::{Args, value_parser};
use ipnetwork::IpNetwork;
use node_identity::{NodeName, Pin, PodCidr, TrustDomain, parse_network};

use crate::settings::controller::{NodeLabel, RangesFrom, RootDirectory};
use crate::settings::image::{Repository, Tag};
use crate::settings::node::{Folder, Host, PullSecret};

/// What to install.
#[derive(Debug, Args)]
pub(crate) struct InstallArguments {
    /// The name of the cluster inside every node's identity; that of the root if there is one.
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: Option<TrustDomain>,
    /// The pin of the root that nodes trust. Repeatable while a root is changed.
    #[arg(long = "pin", value_name = "PIN", conflicts_with = "new_root")]
    pub(crate) pins: Vec<Pin>,
    /// While a root is changed: the pin of the one before, whose ledger the controller takes over.
    /// As installed, as long as nodes trust it.
    #[arg(long, value_name = "PIN", conflicts_with = "new_root")]
    pub(crate) previous_pin: Option<Pin>,
    /// Make a root and put it into the cluster, where there is none.
    #[arg(long)]
    pub(crate) new_root: bool,
    /// A range that all pods' addresses lie in; found if not given.
    #[arg(long = "pod-range", value_name = "CIDR", value_delimiter = ',')]
    pub(crate) pod_ranges: Vec<PodCidr>,
    /// A range of Services' addresses; found if not given.
    #[arg(long = "service-range", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub(crate) service_ranges: Vec<IpNetwork>,
    /// A range that nodes' own addresses lie in; proposed if not given.
    #[arg(long = "underlay-range", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub(crate) underlay_ranges: Vec<IpNetwork>,
    /// Where a node's pod range comes from: from the Node, or given out by Sotto. As installed, else
    /// `node`.
    #[arg(long, value_enum, value_name = "WHO")]
    pub(crate) pod_ranges_from: Option<RangesFrom>,
    /// The largest IPv4 pod range that a node may have, and the size of those that Sotto gives out, in
    /// bits of its prefix. As installed, else as all nodes have it, else 24.
    #[arg(long, value_name = "BITS", value_parser = value_parser!(u8).range(1..=30))]
    pub(crate) node_prefix_length_ipv4: Option<u8>,
    /// The same of IPv6. As installed, else as all nodes have it, else 64.
    #[arg(long, value_name = "BITS", value_parser = value_parser!(u8).range(1..=126))]
    pub(crate) node_prefix_length_ipv6: Option<u8>,
    /// The label of the nodes that the controller may run on, under node-restriction.kubernetes.io/,
    /// where control-plane nodes take no pods. As installed, else control-plane nodes.
    #[arg(long, value_name = "LABEL")]
    pub(crate) controller_node_label: Option<NodeLabel>,
    /// A folder on those nodes with root.key and root.der, in place of the Secret sotto-root: the API
    /// server then never holds the root key. Folder and files are user 65532's alone. As installed, else
    /// the Secret; "" for the Secret again.
    #[arg(long, value_name = "DIR", conflicts_with = "new_root")]
    pub(crate) controller_root_directory: Option<RootDirectory>,
    /// Where the images sotto-node and sotto-controller are. As installed, else ghcr.io/sotto-dev.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) image_repository: Option<Repository>,
    /// Their tag. As installed in another repository, else this program's version.
    #[arg(long, value_name = "TAG")]
    pub(crate) image_tag: Option<Tag>,
    /// A Secret in the namespace with credentials for the registry. Repeatable. As installed.
    #[arg(long = "image-pull-secret", value_name = "NAME")]
    pub(crate) image_pull_secrets: Vec<PullSecret>,
    /// The API server as nodes reach it, where what makes Services work waits for the pod network. As
    /// installed, else the Service `kubernetes`; "" for the Service again.
    #[arg(long, value_name = "HOST")]
    pub(crate) api_server_host: Option<Host>,
    /// Its port. As installed, else 6443.
    #[arg(long, value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    pub(crate) api_server_port: Option<u16>,
    /// UDP port of the first lane; each further lane has the next. As installed, else 51820.
    #[arg(long, value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Threads of a node that move packets. As installed, else 1.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=64))]
    pub(crate) lanes: Option<u16>,
    /// Whether a node's ExternalIP addresses may be tunnel endpoints too. As installed, else false.
    #[arg(long, value_name = "BOOL")]
    pub(crate) external_addresses: Option<bool>,
    /// Where nodes' container runtime looks for CNI plugins. As installed, else /opt/cni/bin.
    #[arg(long, value_name = "DIR")]
    pub(crate) cni_plugin_directory: Option<Folder>,
    /// Where it looks for network configurations. As installed, else /etc/cni/net.d.
    #[arg(long, value_name = "DIR")]
    pub(crate) cni_configuration_directory: Option<Folder>,
    /// Install though another pod network seems to be in force. Its nodes stay with it until its
    /// configuration is gone from them.
    #[arg(long)]
    pub(crate) beside_other_network: bool,
    /// Wait until the nodes are ready, which is done on a terminal anyhow.
    #[arg(long, conflicts_with_all = ["no_wait", "dry_run", "print"])]
    pub(crate) wait: bool,
    /// Do not wait.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Have the API server check everything and change nothing.
    #[arg(long, conflicts_with = "print")]
    pub(crate) dry_run: bool,
    /// Print the manifest, for GitOps; change nothing.
    #[arg(long)]
    pub(crate) print: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Take over fields that others have set.
    #[arg(long)]
    pub(crate) force_conflicts: bool,
}

/// What to take out.
#[derive(Debug, Args)]
pub(crate) struct UninstallArguments {
    /// Delete the pods of the pod network, so that they leave their nodes in order; whoever manages
    /// them makes them anew, where they wait for another pod network. Asked on a terminal.
    #[arg(long)]
    pub(crate) delete_pods: bool,
    /// A node that never comes back: do not wait for it. Repeatable. What Sotto made there stays.
    #[arg(long = "ignore-node", value_name = "NODE")]
    pub(crate) ignored_nodes: Vec<NodeName>,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}
