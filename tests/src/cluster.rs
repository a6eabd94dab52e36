//! The cluster that most tests want: a controller, nodes with daemons that know each other, and a
//! pod on each.

use anyhow::{Context, Result};

use crate::lab::{Controller, DaemonSettings, Lab, Node, Pod, Process};

/// A node with its daemon and one pod.
#[derive(Debug)]
pub struct Member {
    /// The machine.
    pub node: Node,
    /// Its daemon.
    pub daemon: Process,
    /// Its pod.
    pub pod: Pod,
}

/// Alice, whose pod is the client, and Bob, whose pod is the server.
#[derive(Debug)]
pub struct Pair {
    /// The controller.
    pub controller: Controller,
    /// The controller's process.
    pub controller_process: Process,
    /// The first node.
    pub alice: Member,
    /// The second node.
    pub bob: Member,
}

impl Pair {
    /// Starts everything and waits until both nodes know each other.
    ///
    /// # Errors
    /// When a part does not get ready.
    pub fn raise(lab: &Lab) -> Result<Self> {
        Self::raise_with(lab, &DaemonSettings::default(), &DaemonSettings::default())
    }

    /// [`Pair::raise`] with settings for each node.
    ///
    /// # Errors
    /// When a part does not get ready.
    pub fn raise_with(lab: &Lab, alice: &DaemonSettings, bob: &DaemonSettings) -> Result<Self> {
        let controller = lab.controller()?;
        let controller_process = controller.start()?;
        let alice = join(lab.node("alice")?, "client", &controller, alice)?;
        let bob = join(lab.node("bob")?, "server", &controller, bob)?;
        alice.node.knows(&bob.node)?;
        bob.node.knows(&alice.node)?;
        Ok(Self {
            controller,
            controller_process,
            alice,
            bob,
        })
    }
}

/// What lets a node in: a controller with a join token, or a Kubernetes cluster.
pub trait Admits {
    /// Gives a machine all that its daemon needs to enrol when it is started.
    ///
    /// # Errors
    /// When a step fails.
    fn admit(&self, node: &Node, settings: &DaemonSettings) -> Result<()>;
}

impl Admits for Controller {
    fn admit(&self, node: &Node, settings: &DaemonSettings) -> Result<()> {
        node.enrol(self, settings)
    }
}

/// Enrols a node, starts its daemon, attaches a pod.
///
/// # Errors
/// When a step fails.
pub fn join(
    node: Node,
    pod: &str,
    home: &impl Admits,
    settings: &DaemonSettings,
) -> Result<Member> {
    home.admit(&node, settings)?;
    let daemon = node.start(settings)?;
    let pod = node
        .pod(pod)
        .with_context(|| format!("attach {pod} on {}", node.name()))?;
    Ok(Member { node, daemon, pod })
}
