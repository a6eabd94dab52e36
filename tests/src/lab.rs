//! The lab: a switch and the machines on it, each in namespaces of its own.
//!
//! ```text
//!                 ┌──────────── switch (Eve listens here) ────────────┐
//!                 │ br0  198.51.100.254  2001:db8::fe                 │
//!                 └──┬───────────────────┬───────────────────┬────────┘
//!         eth0  .1 ::1            eth0 .2 ::2          eth0 .3 ::3
//!          alice (node)            bob (node)           mallory (machine)
//!        sotto0 ├ pod client     sotto0 ├ pod server
//! ```
//! Machines use the production paths: `/run`, `/etc`, `/var` and `/opt` of each are its own.
//! The switch answers for the default gateway, so a packet that takes the default route is seen.

mod host;
mod launch;
mod link;
mod node;
mod place;
mod pod;
mod process;
mod sotto;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use anyhow::{Context, Result};

pub use host::Host;
pub use launch::Launch;
pub use link::{Segmentation, Uplink};
pub use node::Node;
pub use place::{Place, starting};
pub use pod::Pod;
pub use process::Process;
pub use sotto::{Controller, DaemonSettings, TRUST_DOMAIN, TUNNEL_PORT, control_program, program};

use crate::isolation;

/// Counts labs of this program: several may stand at once.
static LABS: AtomicU32 = AtomicU32::new(0);

/// How the wires of a lab are.
#[derive(Debug, Clone, Copy)]
pub struct Wires {
    /// Largest packet on the underlay.
    pub mtu: u32,
    /// Whether the uplinks carry super-packets, as no real wire does.
    pub segmentation: Segmentation,
    /// What the cluster's pods have.
    pub pods: PodFamilies,
}

/// Address families of a cluster's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodFamilies {
    /// IPv4 and IPv6.
    Both,
    /// IPv4 alone: for underlays too narrow for IPv6 inside a tunnel.
    Ipv4,
}

impl PodFamilies {
    /// The cluster's pod ranges, as configuration files have them.
    pub(crate) fn ranges(self) -> &'static str {
        match self {
            Self::Both => r#"["10.244.0.0/16", "fd00:10:244::/56"]"#,
            Self::Ipv4 => r#"["10.244.0.0/16"]"#,
        }
    }
}

impl Default for Wires {
    fn default() -> Self {
        Self {
            mtu: 1500,
            segmentation: Segmentation::Off,
            pods: PodFamilies::Both,
        }
    }
}

/// A switch, its machines, and everything that runs on them; gone when dropped.
#[derive(Debug)]
pub struct Lab {
    name: String,
    folder: PathBuf,
    wires: Wires,
    switch: Place,
    registry: Arc<process::Registry>,
    machines: AtomicU8,
}

impl Lab {
    /// The name of a program's first lab.
    pub(crate) const FIRST: &str = "so-0";

    /// Builds a switch without machines.
    ///
    /// # Errors
    /// When [`isolation::enter`] was not called or the kernel refuses.
    pub fn new() -> Result<Self> {
        Self::with_wires(Wires::default())
    }

    /// Builds a switch whose wires are special.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn with_wires(wires: Wires) -> Result<Self> {
        let name = format!("so-{}", LABS.fetch_add(1, Ordering::Relaxed));
        let folder = isolation::base()?.join(&name);
        std::fs::create_dir_all(folder.join("store"))?;
        let registry = Arc::new(process::Registry::default());
        let switch = Place::machine("switch", &folder.join("switch"), &registry)?;
        switch.publish(&format!("{name}-switch"))?;
        link::raise_switch(&switch, wires.mtu).context("raise the switch")?;
        Ok(Self {
            name,
            folder,
            wires,
            switch,
            registry,
            machines: AtomicU8::new(0),
        })
    }

    /// Plugs a new machine into the switch: the first gets 198.51.100.1 and 2001:db8::1.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn node(&self, name: &str) -> Result<Node> {
        self.node_of(name, &self.store())
    }

    /// Plugs in a machine that sees another store as its own: Mallory's.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn node_of(&self, name: &str, store: &Path) -> Result<Node> {
        std::fs::create_dir_all(store)?;
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        Node::new(self.station(name, number)?, number, store, self.wires)
    }

    /// Plugs in a machine that is no node, such as an API server; `number` is the last byte of its
    /// addresses, from 200 on, above those of nodes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn station(&self, name: &str, number: u8) -> Result<Place> {
        let place = Place::machine(name, &self.folder.join(name), &self.registry)?;
        place.publish(&format!("{}-{name}", self.name))?;
        link::plug_in(&self.switch, &place, number, self.wires)
            .with_context(|| format!("plug {name} into the switch"))?;
        Ok(place)
    }

    /// Plugs in a host, which is a whole machine, and switches it on; `number` is the last byte of its
    /// addresses.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn host(&self, name: &str, number: u8) -> Result<Host> {
        let host = Host::new(self, name, number)?;
        host.power_on(self)?;
        Ok(host)
    }

    /// The switch: what Eve's `tcpdump` sees on its `br0` is what crosses it.
    pub fn switch(&self) -> &Place {
        &self.switch
    }

    /// How its wires are.
    pub fn wires(&self) -> Wires {
        self.wires
    }

    /// The folder that is the store of the lab's controller and nodes.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// The folder for files of the test itself; on no disk, gone with the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The end of each program's log, for a failure.
    pub fn report(&self) -> String {
        self.registry.report()
    }

    /// Makes a root and a controller in a namespace without network.
    ///
    /// # Errors
    /// When `sotto-controller` refuses.
    pub fn controller(&self) -> Result<Controller> {
        self.controller_of("controller", &self.store())
    }

    /// Makes a root and a controller that publish to another store: Mallory's.
    ///
    /// # Errors
    /// When `sotto-controller` refuses.
    pub fn controller_of(&self, name: &str, store: &Path) -> Result<Controller> {
        std::fs::create_dir_all(store)?;
        let place = Place::machine(name, &self.folder.join(name), &self.registry)?;
        place.publish(&format!("{}-{name}", self.name))?;
        Controller::new(place, store, self.wires.pods)
    }

    /// Ends every program; machines and wires go when the last handle on them goes.
    pub fn end(&self) {
        self.registry.end_all();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
