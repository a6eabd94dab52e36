//! A host: a whole machine, with process ids, control groups, a disk, a first process, and power.
//!
//! A [`Place`] of `lab.node` is enough for one daemon; a kubelet and a container runtime want the rest.
//! `tests/cluster/start.sh` and `init.sh` lay it out. Cutting the power kills the first process, and
//! with it the kernel takes every process, mount and interface; the disk stays.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use node_status::{NodeStatus, PeerStatus};

use super::place::{self, Place};
use super::{Lab, Pod, Process, link, program};
use crate::{isolation, wait};

/// From power to a network; half a second was seen.
const BOOT_LIMIT: Duration = Duration::from_secs(30);
/// From a service's end to its next start; a second or two were seen.
const SERVICE_LIMIT: Duration = Duration::from_secs(30);

/// The link group by which guard and plugin know pods' links.
const POD_LINKS: &str = "21331";

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
    /// What waits for the host's end, outside of it.
    starter: Process,
    /// The host's first process, by its id outside.
    init: i32,
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

    /// Its address on the underlay, of a family.
    pub fn address(&self, ipv6: bool) -> String {
        if ipv6 { self.ipv6() } else { self.ipv4() }
    }

    /// Its address on the tun device: it speaks from there to pods elsewhere.
    ///
    /// # Errors
    /// When there is none.
    pub fn tun_address(&self, ipv6: bool) -> Result<String> {
        let family = if ipv6 { "-6" } else { "-4" };
        let show = ["-o", family, "address", "show", "sotto0", "scope", "global"];
        let said = self.place()?.run("ip", &show)?;
        let address = said.split_whitespace().nth(3).context("a tun address")?;
        Ok(address.split('/').next().unwrap_or(address).to_owned())
    }

    /// Names of the kernel's links for pods, in order.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn pod_links(&self) -> Result<Vec<String>> {
        let show = ["-o", "link", "show", "group", POD_LINKS];
        let said = self.place()?.run("ip", &show)?;
        let name = |line: &str| Some(line.split(['@', ':']).nth(1)?.trim().to_owned());
        let mut names: Vec<String> = said.lines().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Lets containerd read its configurations of networks anew: it overlooks a file that is renamed into
    /// their folder, and notices one that goes.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn nudge_runtime(&self) -> Result<()> {
        let file = "/etc/cni/net.d/x";
        self.place()?
            .shell(&format!("touch {file}; rm {file}"))
            .map(drop)
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
        let starting = place::starting();
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
        drop(starting);
        let starter = lab
            .registry
            .add(format!("{}-init", self.name), log, child)?;
        let init = wait::until_some(&format!("{} to boot", self.name), BOOT_LIMIT, || {
            let booted =
                |init: &i32| Path::new(&format!("/proc/{init}/root/run/host/booted")).exists();
            let init = only_child(starter.pid()).filter(booted);
            (init.is_some() || !starter.is_running()).then_some(init)
        })?
        .with_context(|| format!("{} did not boot: {}", self.name, starter.log()))?;
        let place = Place::of_process(&self.name, init, &self.folder, &lab.registry)?;
        place.publish(&format!("{}-{}", lab.name, self.name))?;
        link::plug_in(&lab.switch, &place, self.number, lab.wires)
            .with_context(|| format!("plug {} into the switch", self.name))?;
        let place = Arc::new(place);
        *self.running()? = Some(Running {
            starter,
            init,
            place,
        });
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
        // Its last process is gone before the one that waits for it.
        kill(Pid::from_raw(running.init), Signal::SIGKILL).context("cut the power")?;
        running.starter.wait()?;
        self.unplug(lab)
    }

    /// Shuts it down: every process is asked to end, and killed a second later.
    ///
    /// # Errors
    /// When it was switched off, or does not end.
    pub fn shut_down(&self, lab: &Lab) -> Result<()> {
        let running = self.running()?.take();
        let running = running.with_context(|| format!("{} is switched off", self.name))?;
        // From outside: who asks from inside is ended too, before the asking has.
        kill(Pid::from_raw(running.init), Signal::SIGTERM).context("shut down")?;
        running.starter.wait()?;
        self.unplug(lab)
    }

    /// Kills a service's process; the first process starts it again within two seconds.
    ///
    /// # Errors
    /// When it does not run, or none comes after it.
    pub fn kill_service(&self, name: &str) -> Result<()> {
        let place = self.place()?;
        let file = format!("/run/host/{name}.pid");
        let before = place.read(&file)?;
        place.shell(&format!("kill -KILL {}", String::from_utf8_lossy(&before)))?;
        wait::until(&format!("{name} to start again"), SERVICE_LIMIT, || {
            place.read(&file).is_ok_and(|now| now != before)
        })
    }

    /// A pod that its runtime made here, by its addresses: for traffic that tests count.
    ///
    /// # Errors
    /// When no network namespace has its first address.
    pub fn pod(&self, name: &str, addresses: Vec<IpAddr>) -> Result<Pod> {
        let first = addresses.first().context("a pod without an address")?;
        let place = self.place()?;
        let found = place.shell(&format!(
            "for file in /run/netns/*; do
              if nsenter --net=$file ip -o address | grep -qF ' {first}/'; then echo $file; fi
            done"
        ))?;
        let path = found.lines().next();
        let path = path.with_context(|| format!("no pod of {} has {first}", self.name))?;
        Ok(Pod::new(place.namespace(name, path)?, addresses, name))
    }

    /// What its daemon says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<NodeStatus> {
        let text = self
            .place()?
            .run(&program("sotto")?, &["-o", "json", "status"])?;
        serde_json::from_str(&text).context("read the status")
    }

    /// What its daemon says of a peer, if it is believed.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn peer(&self, name: &str) -> Result<Option<PeerStatus>> {
        let peers = self.status()?.peers;
        Ok(peers.into_iter().find(|peer| peer.node == name))
    }

    /// The switch's end of the cable goes at once; the kernel takes its time with the other.
    fn unplug(&self, lab: &Lab) -> Result<()> {
        let line = format!("ip link del p{} 2>/dev/null || true", self.number);
        lab.switch.shell(&line).map(drop)
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
