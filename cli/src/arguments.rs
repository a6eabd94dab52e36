//! What can be asked on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use ipnetwork::IpNetwork;
use node_identity::{IkHash, NodeName, Pin, PodCidr, TrustDomain, parse_network};

use crate::names::NAMESPACE;
use crate::output::Output;
use crate::settings::controller::{NodeLabel, RangesFrom, RootDirectory};

/// Looks at Sotto: a whole cluster, or the node daemon of this machine.
///
/// Asked is the cluster, with the kubeconfig's user, if --kubeconfig, --context or $KUBECONFIG is
/// given, if the program is called kubectl-sotto, or if no daemon runs here and there is a
/// ~/.kube/config. Asked is this machine's daemon if --runtime-directory is given or a daemon runs
/// here. `identity`, `revoke`, `approve` and `install` are about a cluster always, `root create`
/// asks nobody.
///
/// Exit codes: 0 all is well, 1 something is wrong or failed, 2 wrong arguments, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "sotto", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) place: Place,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Ask this machine's daemon, by its runtime directory (/run/sotto).
    #[arg(
        long,
        global = true,
        env = "SOTTO_RUNTIME_DIRECTORY",
        value_name = "DIR"
    )]
    pub(crate) runtime_directory: Option<PathBuf>,
    /// Ask the cluster of this kubeconfig file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Ask the cluster of this context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The namespace that Sotto is installed in.
    #[arg(short, long, global = true, default_value = NAMESPACE, value_parser = namespace)]
    pub(crate) namespace: String,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// At a glance: roots, nodes, controller, policies, who is not well; on a machine: this node.
    Status,
    /// The nodes and their tunnels, as `kubectl get peers`; on a machine: the other nodes.
    Peers {
        /// Only this node, as a report (cluster only).
        node: Option<NodeName>,
    },
    /// Who a node is, in words, from the root down, each step verified here.
    Identity {
        /// The node.
        node: NodeName,
        /// The pin of a root to trust; without, the cluster can only vouch for itself.
        #[arg(long = "pin", value_name = "PIN")]
        pins: Vec<Pin>,
    },
    /// Revokes a node for good: no peer believes it any more. Cannot be taken back.
    Revoke {
        /// The node.
        node: NodeName,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        /// Do not wait until the controller has done it.
        #[arg(long)]
        no_wait: bool,
    },
    /// Lets a node have the new identity key that it asks for.
    Approve {
        /// The node.
        node: NodeName,
        /// The hash of the key to approve; needed where its requests show different keys.
        #[arg(long, value_name = "HASH")]
        key: Option<IkHash>,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    /// Checks everything that Sotto needs, and says how to mend what is wrong.
    Doctor,
    /// The root of trust.
    Root {
        #[command(subcommand)]
        verb: RootVerb,
    },
    /// Installs Sotto into a cluster, or brings an installation to this version.
    Install(InstallArguments),
}

/// What to do with a root.
#[derive(Debug, Subcommand)]
pub(crate) enum RootVerb {
    /// Makes a root, offline: its two Secrets as YAML, its pin as the last line of stderr.
    Create(RootArguments),
}

/// Where a new root goes.
#[derive(Debug, Args)]
pub(crate) struct RootArguments {
    /// The name of the cluster inside every node's identity.
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    pub(crate) trust_domain: TrustDomain,
    /// Write into a new file here, readable by this user alone, instead of to standard output.
    #[arg(long, value_name = "DIR", conflicts_with = "print")]
    pub(crate) out_directory: Option<PathBuf>,
    /// Print to standard output (what happens without --out-directory) even on a terminal.
    #[arg(long)]
    pub(crate) print: bool,
}

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
    /// Make a root and put it into the cluster.
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
    /// The image of the daemon and the controller.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
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

/// A DNS label, as namespaces are named.
fn namespace(text: &str) -> Result<String, String> {
    let fits = text.len() <= 63 && !text.contains('.') && text.parse::<NodeName>().is_ok();
    if fits {
        Ok(text.to_owned())
    } else {
        Err("a namespace is named by 1 to 63 of a-z, 0-9 and hyphen".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn foreign_spellings_are_refused_before_anything_is_asked() {
        for line in [
            ["sotto", "identity", "Alice"].as_slice(),
            &["sotto", "identity", "alice", "--pin", "sha256:00"],
            &["sotto", "status", "--namespace", "../x"],
            &["sotto", "install", "--pod-range", "10.244.0.1/16"],
            &["sotto", "install", "--controller-node-label", "app"],
            &["sotto", "install", "--controller-root-directory", "root"],
            &["sotto", "install", "--node-prefix-length-ipv4", "31"],
            &["sotto", "root", "create", "--trust-domain", "a b"],
        ] {
            assert!(Arguments::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
