//! Eve on a cluster that stands: `tcpdump` on the switch between its hosts.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lab::Lab;

/// What she leaves out unless told otherwise: the API server's and kubelets' own TLS would hide the rest.
const NOT_OF_PODS: &str = "not arp and not icmp6 and not tcp port 6443 and not tcp port 10250";

/// Becomes `tcpdump`, which a signal ends; the arguments are its own.
pub(super) fn listen(holder: i32, arguments: &[String]) -> Result<()> {
    let inside = inside(holder)?;
    let switch = format!("{}-switch", Lab::FIRST);
    let mut command = Command::new("nsenter");
    command.args(["--target", &inside, "--mount", "--"]);
    command.args(["ip", "netns", "exec", &switch]);
    command.args(["tcpdump", "--interface=br0", "-n", "-l"]);
    if arguments.is_empty() {
        command.args(["-A", NOT_OF_PODS]);
    } else {
        command.args(arguments);
    }
    Err(command.exec()).context("run nsenter, which util-linux brings")
}

/// The process that lives in the cluster's namespaces: the holder's only child.
fn inside(holder: i32) -> Result<String> {
    for thread in std::fs::read_dir(format!("/proc/{holder}/task"))? {
        let children = std::fs::read_to_string(thread?.path().join("children"))?;
        if let Some(child) = children.split_whitespace().next() {
            return Ok(child.to_owned());
        }
    }
    bail!("process {holder} holds no cluster (yet): see `make cluster`")
}
