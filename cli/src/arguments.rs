//! What can be asked on the command line.

mod install;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use node_identity::{IkHash, NodeName, Pin, TrustDomain};

pub(crate) use install::{InstallArguments, UninstallArguments};

use crate::names::NAMESPACE;
use crate::output::Output;

/// Looks at Sotto: a whole cluster, or the node daemon of this machine.
///
/// Asked is the cluster, with the kubeconfig's user, if --kubeconfig, --context or $KUBECONFIG is
/// given, if the program is called kubectl-sotto, or if no daemon runs here and there is a
/// ~/.kube/config. Asked is this machine's daemon if --runtime-directory is given or a daemon runs
/// here. `identity`, `revoke`, `approve`, `install` and `uninstall` are about a cluster always,
/// `root create` asks nobody.
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
    Install(Box<InstallArguments>),
    /// Takes Sotto out of a cluster: from its nodes, then from its API.
    Uninstall(UninstallArguments),
}

/// What to do with a root.
#[derive(Debug, Subcommand)]
pub(crate) enum RootVerb {
    /// Makes a root, offline. Its two Secrets go to stdout as YAML and its pin is the last line of
    /// stderr; with --out-directory the pin is all of stdout.
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
            &["sotto", "install", "--image-tag", "a\"b"],
            &["sotto", "install", "--lanes", "0"],
            &["sotto", "install", "--cni-plugin-directory", ""],
            &["sotto", "install", "--api-server-host", "a b"],
            &["sotto", "install", "--image-pull-secret", "A"],
            &["sotto", "root", "create", "--trust-domain", "a b"],
        ] {
            assert!(Arguments::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
