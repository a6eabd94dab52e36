//! A machine on the switch; a node once a daemon runs on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::launch::Launch;
use super::place::Place;
use super::pod::Pod;
use super::{Wires, link, place, sotto};
use crate::isolation;

/// Where every machine of the lab sees the store.
pub(super) const STORE: &str = "/var/lib/sotto-store";

/// The network configuration that the runtime gives the plugin.
const NETWORK: &str = r#"{"cniVersion":"1.1.0","name":"sotto","type":"sotto-cni"}"#;

/// A machine with an uplink to the switch.
#[derive(Debug)]
pub struct Node {
    place: Place,
    number: u8,
    store: PathBuf,
    wires: Wires,
    launch: Mutex<Launch>,
}

impl Node {
    pub(super) fn new(place: Place, number: u8, store: &Path, wires: Wires) -> Result<Self> {
        let node = Self {
            place,
            number,
            store: store.to_owned(),
            wires,
            launch: Mutex::new(Launch::with_config(sotto::NODE_CONFIG)),
        };
        node.give_store()?;
        node.give_boot_id()?;
        Ok(node)
    }

    /// Its place in the order of machines, which is the last byte of its addresses.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Sets how its daemon is started from here on.
    ///
    /// # Errors
    /// When another thread failed meanwhile.
    pub fn set_launch(&self, launch: Launch) -> Result<()> {
        let mut kept = self.launch.lock().map_err(|_| place::poisoned())?;
        *kept = launch;
        Ok(())
    }

    /// How its daemon is started.
    ///
    /// # Errors
    /// When another thread failed meanwhile.
    pub fn how_to_launch(&self) -> Result<Launch> {
        let kept = self.launch.lock().map_err(|_| place::poisoned())?;
        Ok(kept.clone())
    }

    /// How its uplink is.
    pub fn wires(&self) -> Wires {
        self.wires
    }

    /// Its address on the underlay.
    pub fn ipv4(&self) -> IpAddr {
        Ipv4Addr::new(198, 51, 100, self.number).into()
    }

    /// Its IPv6 address on the underlay.
    pub fn ipv6(&self) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, self.number.into()).into()
    }

    /// Gives the machine a boot of its own: all share the kernel's, which daemon and plugin read.
    fn give_boot_id(&self) -> Result<()> {
        let number = self.number;
        let file = Path::new("/run/boot-id");
        self.place.inside(|| {
            std::fs::write(file, format!("00000000-0000-4000-8000-{number:012x}\n"))?;
            isolation::mount_bind(file, Path::new("/proc/sys/kernel/random/boot_id"))
        })
    }

    fn give_store(&self) -> Result<()> {
        self.place.inside(|| {
            std::fs::create_dir_all(STORE)?;
            isolation::mount_bind(&self.store, Path::new(STORE))
        })
    }

    /// Takes the store away, as when an API server is down: the folder is empty and nothing can be
    /// written to it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take_store(&self) -> Result<()> {
        self.place.inside(|| {
            let nothing = Some("tmpfs");
            let flags = nix::mount::MsFlags::MS_RDONLY;
            nix::mount::mount(nothing, STORE, nothing, flags, None::<&str>)
                .context("take the store away")
        })
    }

    /// Gives the store back.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn return_store(&self) -> Result<()> {
        self.place.inside(|| {
            let flags = nix::mount::MntFlags::MNT_DETACH;
            nix::mount::umount2(STORE, flags).context("give the store back")
        })
    }

    /// Attaches a pod with the real plugin, as a container runtime does.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let place = self.place.pod(name)?;
        place.shell("ip link set lo up")?;
        let container = format!("{name}-0123456789abcdef");
        let answer = self.cni("ADD", &container, name, NETWORK)?;
        let result: Value = serde_json::from_str(&answer)
            .with_context(|| format!("read the plugin's result: {answer}"))?;
        Ok(Pod::new(place, addresses_in(&result)?, &container))
    }

    /// Makes a pod's network namespace that no plugin has attached.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bare_pod(&self, name: &str) -> Result<Pod> {
        let place = self.place.pod(name)?;
        place.shell("ip link set lo up")?;
        let container = format!("{name}-0123456789abcdef");
        Ok(Pod::new(place, Vec::new(), &container))
    }

    /// Executes the plugin: a verb, a container, the pod's name and the configuration.
    ///
    /// # Errors
    /// What the plugin answers, with its exit status.
    pub fn cni(&self, verb: &str, container: &str, pod: &str, network: &str) -> Result<String> {
        let output = self.cni_output(verb, container, pod, network)?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(answer);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "sotto-cni {verb} for {pod} on {}: {}: {answer}{said}",
            self.name(),
            output.status
        )
    }

    /// Executes the plugin and returns its status and output, failed or not.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn cni_output(
        &self,
        verb: &str,
        container: &str,
        pod: &str,
        network: &str,
    ) -> Result<std::process::Output> {
        let plugin = sotto::program("sotto-cni")?;
        let namespace = format!("/run/netns/{pod}");
        let environment = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", container),
            ("CNI_NETNS", namespace.as_str()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        self.place.output(&plugin, &[], &environment, network)
    }

    /// Detaches a pod with the real plugin; its namespace lives on.
    ///
    /// # Errors
    /// What the plugin answers.
    pub fn detach(&self, pod: &Pod) -> Result<()> {
        self.cni("DEL", pod.container(), pod.name(), NETWORK)
            .map(drop)
    }

    /// Wires a pod by hand, without Sotto: a veth, its addresses, and routes in the node.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plain_pod(&self, name: &str, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Result<Pod> {
        let place = self.place.pod(name)?;
        let port = format!("v{name}");
        self.place.shell(&format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
            ip link add {port} type veth peer name eth0 netns {name}
            ip link set {port} addrgenmode none up
            ip address add 169.254.1.1/32 dev {port}
            ip address add fe80::1/64 dev {port} nodad
            ip route add {ipv4}/32 dev {port}
            ip -6 route add {ipv6}/128 dev {port}"
        ))?;
        place.shell(&format!(
            "ip link set lo up
            ip address add {ipv4}/32 dev eth0
            ip address add {ipv6}/128 dev eth0 nodad
            ip link set eth0 up
            ip route add 169.254.1.1/32 dev eth0
            ip route add default via 169.254.1.1 dev eth0
            ip -6 route add default via fe80::1 dev eth0"
        ))?;
        Ok(Pod::new(
            place,
            vec![ipv4.into(), ipv6.into()],
            &format!("plain-{name}"),
        ))
    }

    /// Routes a pod's addresses at another node in clear: the network without Sotto.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plain_route(&self, pod: &Pod, to: &Node) -> Result<()> {
        for address in pod.addresses() {
            let (family, length, via) = match address {
                IpAddr::V4(_) => ("-4", 32, to.ipv4()),
                IpAddr::V6(_) => ("-6", 128, to.ipv6()),
            };
            let destination = format!("{address}/{length}");
            let route = [family, "route", "add", &destination, "via"];
            let mut arguments: Vec<&str> = route.to_vec();
            let via = via.to_string();
            arguments.push(&via);
            self.place.run("ip", &arguments)?;
        }
        Ok(())
    }

    /// Takes the uplink down or up: a cut cable.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_uplink(&self, state: link::Uplink) -> Result<()> {
        link::set_uplink(&self.place, state)
    }
}

impl Deref for Node {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

fn addresses_in(result: &Value) -> Result<Vec<IpAddr>> {
    let ips = result.get("ips").and_then(Value::as_array);
    let ips = ips.context("the plugin's result has no ips")?;
    let mut addresses = ips
        .iter()
        .map(|ip| {
            let text = ip.get("address").and_then(Value::as_str);
            let text = text.context("an ip of the plugin's result has no address")?;
            let address = text.split('/').next().unwrap_or(text);
            Ok(address.parse()?)
        })
        .collect::<Result<Vec<IpAddr>>>()?;
    addresses.sort_by_key(IpAddr::is_ipv6);
    Ok(addresses)
}
