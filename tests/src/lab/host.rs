//! A host: a whole machine, with process ids, control groups, a disk, a first process, and power.
//!
//! A [`Place`] of `lab.node` is enough for one daemon; a kubelet and a container runtime want the rest.
//! `tests/cluster/start.sh` and `init.sh` lay it out. Cutting the power kills the first process, and
//! with it the kernel takes every process, mount and interface; the disk stays.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};

use super::place::{self, Place};
use super::{Lab, Process, link};
use crate::{isolation, wait};

/// From power to a network; half a second was seen.
const BOOT_LIMIT: Duration = Duration::from_secs(30);

/// A whole machine.
#[derive(Debug)]
pub struct Host {
    name: String,
    number: u8,
    folder: PathBuf,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    first: Process,
    place: Arc<Place>,
}

impl Host {
    pub(super) fn new(lab: &Lab, name: &str, number: u8) -> Result<Self> {
        let folder = lab.folder().join(name);
        std::fs::create_dir_all(folder.join("disk"))?;
        Ok(Self {
            name: name.to_owned(),
            number,
            folder,
            running: Mutex::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the underlay.
    pub fn ipv4(&self) -> String {
        format!("198.51.100.{}", self.number)
    }

    /// Its IPv6 address on the underlay.
    pub fn ipv6(&self) -> String {
        format!("2001:db8::{:x}", self.number)
    }

    /// Its inside, from this boot on until the next.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn place(&self) -> Result<Arc<Place>> {
        let running = self.running()?;
        let running = running.as_ref();
        let running = running.with_context(|| format!("{} is switched off", self.name))?;
        Ok(Arc::clone(&running.place))
    }

    /// Switches it on: boots from its disk and plugs it into the switch. Its services start with
    /// [`Host::start_services`].
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn power_on(&self, lab: &Lab) -> Result<()> {
        let group = format!("{}/{}-{}", isolation::control_group()?, lab.name, self.name);
        let log = self.folder.join(format!("{}-init.log", self.name));
        let out = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)?;
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster");
        let child = Command::new("bash")
            .arg(scripts.join("start.sh"))
            .arg(&group)
            .arg(self.folder.join("disk"))
            .arg(&self.name)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .with_context(|| format!("switch {} on", self.name))?;
        let first = lab
            .registry
            .add(format!("{}-init", self.name), log, child)?;
        let init = wait::until_some(&format!("{} to boot", self.name), BOOT_LIMIT, || {
            let booted =
                |init: &i32| Path::new(&format!("/proc/{init}/root/run/host/booted")).exists();
            let init = only_child(first.pid()).filter(booted);
            (init.is_some() || !first.is_running()).then_some(init)
        })?
        .with_context(|| format!("{} did not boot: {}", self.name, first.log()))?;
        let place = Place::of_process(&self.name, init, &self.folder, &lab.registry)?;
        place.publish(&format!("{}-{}", lab.name, self.name))?;
        link::plug_in(&lab.switch, &place, self.number, lab.wires)
            .with_context(|| format!("plug {} into the switch", self.name))?;
        let place = Arc::new(place);
        *self.running()? = Some(Running { first, place });
        Ok(())
    }

    /// Lets its first process start the services in `/etc/host/services`.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn start_services(&self) -> Result<()> {
        self.place()?.write("/run/host/network", "")
    }

    /// Makes a command line a service, from the next start of services on.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn add_service(&self, name: &str, line: &str) -> Result<()> {
        let path = format!("/etc/host/services/{name}");
        self.place()?.write(&path, line)
    }

    /// Cuts the power: nothing gets to say goodbye.
    ///
    /// # Errors
    /// When it was switched off.
    pub fn cut_power(&self, lab: &Lab) -> Result<()> {
        let running = self.running()?.take();
        let running = running.with_context(|| format!("{} is switched off", self.name))?;
        running.first.kill9()?;
        self.unplug(lab)
    }

    /// Shuts it down: every process is asked to end, and killed a second later.
    ///
    /// # Errors
    /// When it was switched off, or does not end.
    pub fn shut_down(&self, lab: &Lab) -> Result<()> {
        let running = self.running()?.take();
        let running = running.with_context(|| format!("{} is switched off", self.name))?;
        running.place.shell("kill -TERM 1")?;
        running.first.wait()?;
        self.unplug(lab)
    }

    /// The switch's end of the cable goes at once; the kernel takes its time with the other.
    fn unplug(&self, lab: &Lab) -> Result<()> {
        let line = format!("ip link del p{} 2>/dev/null || true", self.number);
        lab.switch.shell(&line).map(drop)
    }

    /// Whether it is switched on.
    pub fn is_on(&self) -> bool {
        self.running().is_ok_and(|running| running.is_some())
    }

    fn running(&self) -> Result<MutexGuard<'_, Option<Running>>> {
        self.running.lock().map_err(|_| place::poisoned())
    }
}

/// The process that `unshare` has forked: the first of the host.
fn only_child(parent: i32) -> Option<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).ok()?;
    text.split_whitespace().next()?.parse().ok()
}
