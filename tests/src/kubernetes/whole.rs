//! A whole Kubernetes on one machine: every host boots, runs containerd, kubelet and kube-proxy, and
//! pods run in containers; nothing is played by the tests.
//!
//! ```text
//!   switch (Eve) ── .250 control: etcd, kube-apiserver, -controller-manager, -scheduler, and a tainted node
//!                ├─ .1 alice    ├─ .2 bob
//! ```
//! Dual stack: pods 10.244.0.0/16 and fd00:10:244::/56, Services 10.96.0.0/16 and fd00:10:96::/112.
//! There is no registry: images are imported. Until a CNI is installed the nodes are NotReady.

mod at_rest;
mod control_plane;
mod credentials;
mod node;
mod sotto;
mod space;
mod trio;
mod web;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{ADMIN, ApiServer, folder_of, version};
use crate::lab::{Host, Lab};
use crate::wait;

pub use node::ProxyMode;
pub use space::{AGNHOST, Space, TOOLS};
pub use trio::{MALLORY, Trio, Watch};
pub use web::{WEB_PORT, url, web_container};

/// The host of the control plane.
pub const CONTROL: &str = "control";

const DNS: &str = include_str!("../../cluster/coredns.yaml");

/// From the start of a kubelet to its Node object; 6 s were seen.
const REGISTER_LIMIT: Duration = Duration::from_secs(90);

/// A cluster.
#[derive(Debug)]
pub struct Whole {
    /// Its API server.
    pub api: ApiServer,
    control: Host,
    proxies: ProxyMode,
    images: Vec<PathBuf>,
}

impl Whole {
    /// Raises the control plane, whose host is a node too, tainted as kubeadm does it.
    ///
    /// # Errors
    /// When something is not built or does not start.
    pub fn raise(lab: &Lab, proxies: ProxyMode) -> Result<Self> {
        let control = lab.host(CONTROL, super::NUMBER)?;
        let api = control_plane::start(&control)?;
        let whole = Self {
            api,
            control,
            proxies,
            images: images()?,
        };
        whole.settle(&whole.control)?;
        // What kubeadm does; no kubelet may do it itself.
        let label = "node-role.kubernetes.io/control-plane=";
        whole.api.kubectl(&["label", "node", CONTROL, label])?;
        Ok(whole)
    }

    /// Plugs in a host, boots it and waits until it is a node; `number` is the last byte of its address.
    ///
    /// # Errors
    /// When a service does not start.
    pub fn node(&self, lab: &Lab, name: &str, number: u8) -> Result<Host> {
        let host = lab.host(name, number)?;
        self.settle(&host)?;
        Ok(host)
    }

    /// [`Whole::node`] whose kubelet starts once the images are there: its Node is made already, so that
    /// its daemon is started at once.
    ///
    /// # Errors
    /// As [`Whole::node`].
    pub fn announced_node(&self, lab: &Lab, name: &str, number: u8) -> Result<Host> {
        let host = lab.host(name, number)?;
        self.install(&host)?;
        let place = host.place()?;
        place.write("/run/host/stopped/kubelet", "")?;
        host.start_services()?;
        let runtime = "/run/containerd/containerd.sock";
        wait::until("the runtime", REGISTER_LIMIT, || place.has(runtime))?;
        self.import(&host, &self.images)?;
        self.import_sotto(&host)?;
        place.shell("rm /run/host/stopped/kubelet")?;
        Ok(host)
    }

    fn settle(&self, host: &Host) -> Result<()> {
        self.install(host)?;
        host.start_services()?;
        self.is_registered(host.name())?;
        self.import(host, &self.images)
    }

    fn is_registered(&self, name: &str) -> Result<()> {
        let what = format!("node {name} to register");
        wait::until(&what, REGISTER_LIMIT, || {
            self.api.kubectl(&["get", "node", name]).is_ok()
        })
    }

    /// Installs cluster DNS, which works once pods have a network.
    ///
    /// # Errors
    /// What the API server says.
    pub fn install_dns(&self) -> Result<()> {
        let apply = ["apply", "--server-side", "--filename=-"];
        self.api.kubectl_with_input(&apply, DNS).map(drop)
    }

    /// Waits until cluster DNS answers.
    ///
    /// # Errors
    /// When it does not; the text holds what the cluster says.
    pub fn has_dns(&self) -> Result<()> {
        let wait = ["wait", "deployment/coredns", "--namespace=kube-system"];
        let until = ["--for=condition=Available", "--timeout=60s"];
        let waited = self.api.kubectl(&[&wait[..], &until].concat());
        waited.map(drop).with_context(|| self.state())
    }

    /// Runs a shell line as the administrator, with `kubectl` at hand.
    ///
    /// # Errors
    /// When it fails; the text holds what it said.
    pub fn shell(&self, line: &str) -> Result<String> {
        let folder = folder_of(&format!("{}/kubectl", version()))?;
        let line = format!("export KUBECONFIG={ADMIN} PATH={folder}:$PATH\n{line}");
        self.control.place()?.shell(&line)
    }

    /// The control plane's host.
    pub fn control(&self) -> &Host {
        &self.control
    }
}

/// The images of the tests, from `tests/cluster/images.sh`.
fn images() -> Result<Vec<PathBuf>> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cluster/images.sh");
    let said = Command::new(script).arg(version()).output()?;
    ensure!(
        said.status.success(),
        "the cluster's images could not be made: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    let printed = String::from_utf8(said.stdout)?;
    let folder = printed
        .lines()
        .last()
        .context("images.sh printed nothing")?;
    let archives = std::fs::read_dir(folder)?;
    archives.map(|entry| Ok(entry?.path())).collect()
}
