//! Sotto's own programs in a lab: found, configured as an operator would, started.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use node_status::{NodeStatus, PeerStatus, RefusedStatus};

use super::PodFamilies;
use super::launch::Launch;
use super::node::{Node, STORE};
use super::place::Place;
use super::process::Process;
use crate::{isolation, wait};

/// Trust domain of all labs.
pub const TRUST_DOMAIN: &str = "sotto.test";
/// Lane 0's UDP port; lane i has this + i.
pub const TUNNEL_PORT: u16 = 51820;

/// How long a daemon may take from its start to a readable `node.json`.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// What the controller logs in a lab: of libraries what matters, of its own all.
const CONTROLLER_LOG: &str = "info,sotto_controller=debug,cluster_store=debug";
const CONTROLLER_STATE: &str = "/var/lib/sotto-controller";
const CONTROLLER_CONFIG: &str = "/etc/sotto/controller.toml";
pub(super) const NODE_CONFIG: &str = "/etc/sotto/node.toml";
const TOKEN: &str = "/etc/sotto/join-token";

/// Path of a program of ours: `$SOTTO_BIN_DIR`, else beside the running test.
///
/// # Errors
/// When it was not built.
pub fn program(name: &str) -> Result<String> {
    let folder = match std::env::var_os("SOTTO_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => beside_the_test()?,
    };
    let path = folder.join(name);
    ensure!(
        path.exists(),
        "{} is not built: run `cargo build --workspace --bins`",
        path.display()
    );
    Ok(path.display().to_string())
}

fn beside_the_test() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().context("the test has no folder")?;
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    Ok(folder.to_owned())
}

/// Path of the daemon whose tunnels do not encrypt: `$SOTTO_CONTROL_BIN`, else where `make` puts it.
///
/// # Errors
/// When it was not built.
pub fn control_program() -> Result<PathBuf> {
    let path = match std::env::var_os("SOTTO_CONTROL_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside_the_test()?.join("../plaintext-control/debug/sotto-node"),
    };
    ensure!(
        path.exists(),
        "{} is not built: run `make build`",
        path.display()
    );
    Ok(path)
}

/// What may differ between nodes of a lab.
#[derive(Debug, Clone)]
pub struct DaemonSettings {
    /// Lanes of the data path.
    pub lanes: u8,
    /// Program to run; the ordinary daemon unless the positive control is wanted.
    pub program: Option<PathBuf>,
    /// More lines for the configuration file.
    pub extra: String,
    /// `SOTTO_LOG` of the daemon.
    pub log_filter: String,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            lanes: 1,
            program: None,
            extra: String::new(),
            log_filter: "info,sotto_node=debug,tunnel_core=debug".to_owned(),
        }
    }
}

/// The controller: a root, a ledger, and the program that signs.
#[derive(Debug)]
pub struct Controller {
    place: Place,
    pin: String,
    launch: Launch,
}

impl Controller {
    pub(super) fn new(place: Place, store: &Path, pods: PodFamilies) -> Result<Self> {
        let ranges = pods.ranges();
        place.inside(|| {
            std::fs::create_dir_all(STORE)?;
            isolation::mount_bind(store, Path::new(STORE))
        })?;
        place.write(
            CONTROLLER_CONFIG,
            format!(
                r#"state_directory = "{CONTROLLER_STATE}"
store_directory = "{STORE}"
trust_domain = "{TRUST_DOMAIN}"
cluster_pod_ranges = {ranges}
underlay_ranges = ["198.51.100.0/24", "2001:db8::/64"]
service_ranges = []
"#
            ),
        )?;
        let pin = Self::make_root(&place, CONTROLLER_STATE)?;
        let launch = Launch::with_config(CONTROLLER_CONFIG);
        Ok(Self { place, pin, launch })
    }

    /// A controller whose settings come otherwise.
    pub(crate) fn with_launch(place: Place, pin: &str, launch: Launch) -> Self {
        Self {
            place,
            pin: pin.to_owned(),
            launch,
        }
    }

    /// Makes a root in a folder of a place and returns its pin.
    pub(crate) fn make_root(place: &Place, state: &str) -> Result<String> {
        let said = place.run(
            &program("sotto-controller")?,
            &[
                "root",
                "create",
                "--state",
                state,
                "--trust-domain",
                TRUST_DOMAIN,
            ],
        )?;
        let pin = said
            .split_whitespace()
            .find(|word| word.starts_with("sha256:"));
        let pin = pin.with_context(|| format!("root create printed no pin: {said}"))?;
        Ok(pin.to_owned())
    }

    /// The pin of its root.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// Where it runs.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Changes the settings among its arguments, for the next start.
    pub fn adapt(&mut self, change: impl Fn(&str) -> String) {
        for argument in &mut self.launch.arguments {
            *argument = change(argument);
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> Result<Process> {
        self.place.spawn_with(
            "controller",
            &program("sotto-controller")?,
            &self.launch.arguments,
            &self.launch.variables(("SOTTO_LOG", CONTROLLER_LOG)),
        )
    }

    /// Runs one of its commands with `--state`, such as `revoke bob`.
    ///
    /// # Errors
    /// What the command says.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut all = arguments.to_vec();
        all.extend(["--state", CONTROLLER_STATE]);
        self.place.run(&program("sotto-controller")?, &all)
    }

    /// Makes a join token for a node with these addresses.
    ///
    /// # Errors
    /// What the command says.
    pub fn token(&self, node: &str, addresses: &[IpAddr]) -> Result<String> {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let mut arguments = vec!["token", "create", "--node", node];
        for address in &addresses {
            arguments.extend(["--address", address]);
        }
        Ok(self.command(&arguments)?.trim().to_owned())
    }
}

impl Node {
    /// Writes the daemon's configuration and join token, as an operator would.
    ///
    /// # Errors
    /// When the token is refused or a file cannot be written.
    pub fn enrol(&self, controller: &Controller, settings: &DaemonSettings) -> Result<()> {
        let token = controller.token(self.name(), &[self.ipv4(), self.ipv6()])?;
        self.write(TOKEN, token + "\n")?;
        self.shell(&format!("chmod 600 {TOKEN}"))?;
        self.configure(controller.pin(), settings)
    }

    /// Writes the daemon's configuration alone.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, pin: &str, settings: &DaemonSettings) -> Result<()> {
        let (name, number) = (self.name(), self.number());
        // Machines of a lab share the hardware's identity, so each gets one of its own.
        self.write("/etc/sotto/machine-id", format!("{number:032x}\n"))?;
        let (ipv4, ipv6, lanes) = (self.ipv4(), self.ipv6(), settings.lanes);
        let extra = &settings.extra;
        let ranges = self.wires().pods.ranges();
        let text = format!(
            r#"node_name = "{name}"
trust_domain = "{TRUST_DOMAIN}"
pins = ["{pin}"]
join_token_file = "{TOKEN}"
store_directory = "{STORE}"
state_directory = "/var/lib/sotto"
runtime_directory = "/run/sotto"
cluster_pod_ranges = {ranges}
service_ranges = []
underlay_ranges = ["198.51.100.0/24", "2001:db8::/64"]
endpoints = ["{ipv4}", "{ipv6}"]
port = {TUNNEL_PORT}
lanes = {lanes}
machine_id_file = "/etc/sotto/machine-id"
{extra}
"#
        );
        self.write(NODE_CONFIG, text)?;
        self.set_launch(Launch::with_config(NODE_CONFIG))
    }

    /// Starts the daemon and returns at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&self, settings: &DaemonSettings) -> Result<Process> {
        let daemon = match &settings.program {
            Some(path) => path.display().to_string(),
            None => program("sotto-node")?,
        };
        let launch = self.how_to_launch()?;
        self.spawn_with(
            "daemon",
            &daemon,
            &launch.arguments,
            &launch.variables(("SOTTO_LOG", settings.log_filter.as_str())),
        )
    }

    /// Starts the daemon and waits until the plugin may attach pods.
    ///
    /// # Errors
    /// When it ends, or is not ready in 20 s.
    pub fn start(&self, settings: &DaemonSettings) -> Result<Process> {
        let daemon = self.launch(settings)?;
        let what = format!("{}'s daemon to be ready", self.name());
        let ended = wait::until_some(&what, READY_LIMIT, || {
            let running = daemon.is_running();
            if self.has("/run/sotto/node.json") && self.is_ready() {
                return Some(None);
            }
            (!running).then(|| Some(daemon.log()))
        })?;
        match ended {
            None => Ok(daemon),
            Some(log) => anyhow::bail!("{}'s daemon ended: {log}", self.name()),
        }
    }

    /// Whether the daemon says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.http("/readyz").is_ok()
    }

    /// Reads a page of the daemon's HTTP server.
    ///
    /// # Errors
    /// When it does not answer with success.
    pub fn http(&self, path: &str) -> Result<String> {
        let address = format!("http://127.0.0.1:9469{path}");
        self.run("curl", &["-sf", "--max-time", "2", &address])
    }

    /// Sum of a metric over its labels that contain `label`.
    ///
    /// # Errors
    /// When the metric is not there.
    pub fn metric(&self, name: &str, label: &str) -> Result<f64> {
        let page = self.http("/metrics")?;
        let values: Vec<f64> = page
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label))
            .filter(|line| {
                line.get(name.len()..)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        ensure!(!values.is_empty(), "no metric {name} with {label}: {page}");
        Ok(values.iter().sum())
    }

    /// Sum of the daemon's dropped packets for a reason; 0 before the first.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn drops(&self, reason: &str) -> Result<f64> {
        let label = format!("reason=\"{reason}\"");
        self.http("/metrics")?;
        Ok(self
            .metric("sotto_dropped_packets_total", &label)
            .unwrap_or(0.0))
    }

    /// What `sotto status` says.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn status(&self) -> Result<NodeStatus> {
        let text = self.run(&program("sotto")?, &["-o", "json", "status"])?;
        Ok(serde_json::from_str(&text)?)
    }

    /// What `sotto status` says of a peer, if it is believed.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn peer(&self, name: &str) -> Result<Option<PeerStatus>> {
        let peers = self.status()?.peers;
        Ok(peers.into_iter().find(|peer| peer.node == name))
    }

    /// Whom the daemon does not believe, each with the reason.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn refusals(&self) -> Result<Vec<String>> {
        let refused = self.status()?.refused;
        let text = |one: RefusedStatus| format!("{}: {}", one.node, one.reason);
        Ok(refused.into_iter().map(text).collect())
    }

    /// Waits until the daemon believes a peer.
    ///
    /// # Errors
    /// When it does not in 20 s.
    pub fn knows(&self, peer: &Node) -> Result<()> {
        let what = format!("{} to know {}", self.name(), peer.name());
        wait::until(&what, READY_LIMIT, || {
            matches!(self.peer(peer.name()), Ok(Some(_)))
        })
    }

    /// Runs `sotto-node` with the node's configuration, such as `uninstall`.
    ///
    /// # Errors
    /// What the command says.
    pub fn daemon_command(&self, verb: &str) -> Result<String> {
        let arguments = self.how_to_launch()?.of_verb(verb);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&program("sotto-node")?, &arguments)
    }
}
