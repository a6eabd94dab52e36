//! Sotto in a cluster: installed from its manifest, with a controller and nodes.

use anyhow::{Context, Result};
use serde_json::Value;

use super::kubectl::text;
use super::objects::{self, OwnPod};
use super::{ApiServer, Caller, NAMESPACE, REQUESTS, UP_LIMIT, request, service_account};
use crate::cluster::{Admits, Member, join};
use crate::lab::{Controller, DaemonSettings, Lab, Launch, Node, Place, Process, TRUST_DOMAIN};
use crate::wait;

/// The manifest that `sotto install` applies.
const MANIFEST: &str = include_str!("../../../deploy/sotto.yaml");
/// What lines have not without a previous root, without a root as files, and without an image, which the
/// daemon would install plugins from.
const NOT_HERE: [&str; 9] = [
    "previous_root",
    "/etc/sotto/root",
    "root-directory.invalid",
    "[cni]",
    "plugin_directory",
    "configuration_directory",
    "KUBERNETES_SERVICE_",
    "api-server.invalid",
    "\"65535\"",
];
const NO_PIN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// Where the lab's administrator makes the root.
const ROOT: &str = "/var/lib/root";
/// Last byte of the first controller's addresses; others count down from it.
const CONTROLLER: u8 = 240;

/// An API server with Sotto installed.
#[derive(Debug)]
pub struct Cluster {
    /// The API server.
    pub api: ApiServer,
    pin: String,
}

/// A cluster with a controller, Alice and Bob.
#[derive(Debug)]
pub struct KubernetesPair {
    /// The cluster.
    pub cluster: Cluster,
    /// The controller.
    pub controller: Controller,
    /// The controller's process.
    pub controller_process: Process,
    /// The first node; its pod is the client.
    pub alice: Member,
    /// The second node; its pod is the server.
    pub bob: Member,
}

impl Cluster {
    /// Starts an API server and installs Sotto: the manifest, and a new root's two Secrets.
    ///
    /// # Errors
    /// When a step is refused.
    pub fn raise(lab: &Lab) -> Result<Self> {
        let api = ApiServer::start(lab)?;
        let pin = Controller::make_root(api.place(), ROOT)?;
        let cluster = Self { api, pin };
        cluster.install().context("install Sotto")?;
        Ok(cluster)
    }

    fn install(&self) -> Result<()> {
        self.apply(&self.manifest())?;
        self.secret("sotto-root", Some(ROOT))?;
        self.secret("sotto-ledger", None)?;
        self.is_in_force()
    }

    /// Makes a Secret: empty, or of the root in a folder.
    fn secret(&self, name: &str, root: Option<&str>) -> Result<()> {
        let entries = root.map_or_else(Vec::new, |folder| {
            ["root.key", "root.der"]
                .map(|file| format!("--from-file={folder}/{file}"))
                .to_vec()
        });
        let line = [
            "create",
            "secret",
            "generic",
            name,
            "--namespace",
            NAMESPACE,
        ];
        let all: Vec<&str> = line
            .into_iter()
            .chain(entries.iter().map(String::as_str))
            .collect();
        self.api.kubectl(&all).map(drop)
    }

    /// Makes another root in a folder, puts it in place of the one there is, and returns its pin.
    ///
    /// # Errors
    /// When a step is refused.
    pub fn change_root(&self, folder: &str) -> Result<String> {
        let pin = Controller::make_root(self.api.place(), folder)?;
        let old = ["delete", "secret", "sotto-root", "--namespace", NAMESPACE];
        self.api.kubectl(&old)?;
        self.secret("sotto-root", Some(folder))?;
        Ok(pin)
    }

    /// Waits until the API server serves our kinds and enforces our policies.
    ///
    /// # Errors
    /// When it does not in 30 s.
    pub fn is_in_force(&self) -> Result<()> {
        let wait = [
            "wait",
            "crd",
            "--for=condition=Established",
            "--timeout=30s",
        ];
        let label = ["--selector=app.kubernetes.io/part-of=sotto"];
        self.api.kubectl(&[&wait[..], &label].concat())?;
        let (who, path) = (Caller::Administrator, format!("{REQUESTS}?dryRun=All"));
        let foreign = request(&self.api, "sotto.dev/node")?;
        wait::until("the policies to be enforced", UP_LIMIT, || {
            let answer = self.api.call(&who, "POST", &path, &foreign);
            // A kind whose storage is being set up answers 429 for a while.
            let kinds = ["get", "peers,nodeidentities,revocationlists"];
            answer.is_ok_and(|answer| answer.code == 403) && self.api.kubectl(&kinds).is_ok()
        })
    }

    /// The manifest with this cluster's values, as `sotto install` fills them in.
    pub fn manifest(&self) -> String {
        MANIFEST
            .replace(NO_PIN, &self.pin)
            .replace("trust-domain.invalid", TRUST_DOMAIN)
            .replace(
                r#"["203.0.113.0/26"]"#,
                r#"["10.244.0.0/16", "fd00:10:244::/56"]"#,
            )
            .replace(
                r#"["203.0.113.64/26"]"#,
                r#"["10.96.0.0/16", "fd00:10:96::/112"]"#,
            )
            .replace(
                r#"["203.0.113.128/26"]"#,
                r#"["198.51.100.0/24", "2001:db8::/64"]"#,
            )
            .lines()
            .filter(|line| !NOT_HERE.iter().any(|word| line.contains(word)))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// Applies objects, as an administrator.
    ///
    /// # Errors
    /// What the API server says.
    pub fn apply(&self, objects: &str) -> Result<String> {
        let verb = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--filename=-",
        ];
        self.api.kubectl_with_input(&verb, objects)
    }

    /// The pin of its root.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// Makes a controller on a control-plane node of its own; `nth` counts from 0.
    ///
    /// # Errors
    /// When an object is refused.
    pub fn controller(&self, lab: &Lab, nth: u8) -> Result<Controller> {
        let name = format!("controller-{nth}");
        let place = lab.station(&name, CONTROLLER.saturating_sub(nth))?;
        let workload = ("deployment", "sotto-controller");
        self.api.create(&serde_json::json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"node-role.kubernetes.io/control-plane": ""}},
        }))?;
        let pod = self.api.own_pod(workload, &name)?;
        self.give_token(&place, "sotto-controller", &pod)?;
        let launch = self.launch(workload, &[("POD_NAME", &pod.name)], |settings| settings)?;
        Ok(Controller::with_launch(place, &self.pin, launch))
    }

    /// Puts a new token of a pod where its program looks for it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn give_token(&self, place: &Place, account: &str, pod: &OwnPod) -> Result<()> {
        let token = self.api.token(account, (&pod.name, &pod.uid))?;
        self.api.mount_token(place, &token)
    }

    /// Puts a new token where a program looks for it: `workload` is the kind of its owner and its
    /// node, as `daemonset/alice`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn renew_token(&self, place: &Place, workload: &str) -> Result<()> {
        let (kind, node) = workload.split_once('/').context("kind and node")?;
        let account = match kind {
            "daemonset" => "sotto-node",
            _ => "sotto-controller",
        };
        let name = format!("{account}-{node}");
        let pod = self.api.read(&["pod", &name, "--namespace", NAMESPACE])?;
        let uid = text(&pod, "/metadata/uid")?.to_owned();
        self.give_token(place, account, &OwnPod { name, uid })
    }

    /// Makes the Node object of a machine and its daemon's pod, and gives it the pod's token.
    ///
    /// # Errors
    /// When an object is refused.
    pub fn register(&self, machine: &Node) -> Result<OwnPod> {
        self.api
            .create(&objects::node(machine.name(), machine.number()))?;
        self.give_pod(machine)
    }

    /// Makes the daemon's pod on a node and gives the machine the pod's token.
    ///
    /// # Errors
    /// When an object is refused.
    pub fn give_pod(&self, machine: &Node) -> Result<OwnPod> {
        let pod = self
            .api
            .own_pod(("daemonset", "sotto-node"), machine.name())?;
        self.give_token(machine, "sotto-node", &pod)?;
        Ok(pod)
    }

    /// Sets how a machine's daemon is started: as its pod template says, with what a lab needs.
    ///
    /// # Errors
    /// When the template cannot be read.
    pub fn configure(&self, machine: &Node, settings: &DaemonSettings) -> Result<()> {
        let number = machine.number();
        machine.write("/etc/sotto/machine-id", format!("{number:032x}\n"))?;
        let (lanes, extra) = (settings.lanes, &settings.extra);
        let addresses = format!("{},{}", machine.ipv4(), machine.ipv6());
        let variables = [
            ("NODE_NAME", machine.name()),
            ("HOST_IPS", addresses.as_str()),
        ];
        let launch = self.launch(("daemonset", "sotto-node"), &variables, |text| {
            let text = text.replace("lanes = 1\n", &format!("lanes = {lanes}\n"));
            format!("machine_id_file = \"/etc/sotto/machine-id\"\n{extra}\n{text}")
        })?;
        machine.set_launch(launch)
    }

    /// Arguments and environment of a workload's container. The one with many lines is its settings.
    fn launch(
        &self,
        workload: (&str, &str),
        variables: &[(&str, &str)],
        adapt: impl Fn(String) -> String,
    ) -> Result<Launch> {
        let parent = self
            .api
            .read(&[workload.0, workload.1, "--namespace", NAMESPACE])?;
        let container = parent.pointer("/spec/template/spec/containers/0");
        let container = container.context("the workload has no container")?;
        let arguments = container.get("args").and_then(Value::as_array);
        let arguments = arguments.context("the container has no arguments")?;
        let arguments = arguments
            .iter()
            .map(|argument| {
                let text = argument.as_str().context("an argument that is no text")?;
                let text = service_account::expand(text, variables)?;
                Ok(if text.contains('\n') {
                    adapt(text)
                } else {
                    text
                })
            })
            .collect::<Result<Vec<String>>>()?;
        let mut environment = service_account::environment();
        let own = variables.iter();
        environment.extend(own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Ok(Launch {
            arguments,
            environment,
        })
    }

    /// Waits until a text stands in what `kubectl get` prints.
    ///
    /// # Errors
    /// When it does not in 30 s.
    pub fn shows(&self, what: &[&str], wanted: &str) -> Result<()> {
        let all = [&["get"], what].concat();
        let limit = std::time::Duration::from_secs(30);
        wait::until(
            &format!("{wanted:?} in kubectl {}", all.join(" ")),
            limit,
            || {
                self.api
                    .kubectl(&all)
                    .is_ok_and(|said| said.contains(wanted))
            },
        )
    }

    /// UID of a Node object.
    ///
    /// # Errors
    /// When there is none.
    pub fn node_uid(&self, name: &str) -> Result<String> {
        let node = self.api.read(&["node", name])?;
        Ok(text(&node, "/metadata/uid")?.to_owned())
    }
}

impl Admits for Cluster {
    fn admit(&self, node: &Node, settings: &DaemonSettings) -> Result<()> {
        self.register(node)?;
        self.configure(node, settings)
    }
}

impl KubernetesPair {
    /// Starts everything and waits until both nodes know each other.
    ///
    /// # Errors
    /// When a part does not get ready.
    pub fn raise(lab: &Lab) -> Result<Self> {
        let settings = DaemonSettings::default();
        let cluster = Cluster::raise(lab)?;
        let controller = cluster.controller(lab, 0)?;
        let controller_process = controller.start()?;
        let alice = join(lab.node("alice")?, "client", &cluster, &settings)?;
        let bob = join(lab.node("bob")?, "server", &cluster, &settings)?;
        alice.node.knows(&bob.node)?;
        bob.node.knows(&alice.node)?;
        Ok(Self {
            cluster,
            controller,
            controller_process,
            alice,
            bob,
        })
    }
}
