//! A namespace of the cluster for one test: its pods, what they print, and what runs in them.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::{ApiServer, text};
use super::Whole;
use crate::wait;

/// From a pod's creation to Ready: a second or two when nothing else goes on.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// Image with a shell, curl, nc, ip, ping, nginx.
pub const TOOLS: &str = "ubuntu:focal";
/// Image of the end-to-end tests' servers and clients.
pub const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.53";

/// A namespace; it is deleted when dropped, without waiting.
#[derive(Debug)]
pub struct Space<'a> {
    api: &'a ApiServer,
    name: String,
}

impl Whole {
    /// Makes a namespace.
    ///
    /// # Errors
    /// What the API server says.
    pub fn space(&self, name: &str) -> Result<Space<'_>> {
        let name = name.replace('_', "-");
        self.api.kubectl(&["create", "namespace", &name])?;
        // Pods are refused without it.
        wait::until("the default ServiceAccount", READY_LIMIT, || {
            let account = ["get", "serviceaccount", "default", "--namespace", &name];
            self.api.kubectl(&account).is_ok()
        })?;
        Ok(Space {
            api: &self.api,
            name,
        })
    }

    /// Waits until a namespace is gone, pods and all.
    ///
    /// # Errors
    /// When it is not.
    pub fn has_no_namespace(&self, name: &str) -> Result<()> {
        wait::until(&format!("namespace {name} to be gone"), READY_LIMIT, || {
            let all = self.api.kubectl(&["get", "namespaces", "-o", "name"]);
            all.is_ok_and(|all| !all.lines().any(|line| line == format!("namespace/{name}")))
        })
    }
}

impl Space<'_> {
    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// kubectl in this namespace.
    ///
    /// # Errors
    /// What it says.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let all = [&["--namespace", &self.name], arguments].concat();
        self.api.kubectl(&all)
    }

    /// Creates objects of a manifest (YAML or JSON) here.
    ///
    /// # Errors
    /// What the API server says.
    pub fn create(&self, manifest: &str) -> Result<()> {
        let verb = ["--namespace", &self.name, "create", "--filename=-"];
        self.api.kubectl_with_input(&verb, manifest).map(drop)
    }

    /// Creates a pod on a node and waits until it is Ready. `more` is merged into its spec.
    ///
    /// # Errors
    /// When it does not become Ready; the text holds its events.
    pub fn pod(&self, name: &str, node: &str, container: &Value, more: &Value) -> Result<()> {
        self.start(name, node, container, more)?;
        self.is_ready(name)
    }

    /// Creates a pod on a node.
    ///
    /// # Errors
    /// What the API server says.
    pub fn start(&self, name: &str, node: &str, container: &Value, more: &Value) -> Result<()> {
        let container = merged(container, &json!({"name": "main"}));
        let spec = json!({
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        });
        let spec = merged(&spec, more);
        let labels = json!({"app": name});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": labels}, "spec": spec,
        });
        self.create(&pod.to_string())
    }

    /// A pod that sleeps, for what is run in it with [`Space::shell`].
    ///
    /// # Errors
    /// As [`Space::pod`].
    pub fn shell_pod(&self, name: &str, node: &str) -> Result<()> {
        let container = json!({"image": TOOLS, "command": ["sleep", "infinity"]});
        self.pod(name, node, &container, &json!({}))
    }

    /// A pod that answers on TCP 8080 (HTTP: `/hostname`, `/clientip`, `/echo?msg=`) and UDP 8081.
    ///
    /// # Errors
    /// As [`Space::pod`].
    pub fn server(&self, name: &str, node: &str) -> Result<()> {
        let ready = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1});
        let container = json!({
            "image": AGNHOST, "args": ["netexec"], "readinessProbe": ready,
        });
        self.pod(name, node, &container, &json!({}))
    }

    /// Waits until a pod is Ready.
    ///
    /// # Errors
    /// When it does not become so; the text holds its events.
    pub fn is_ready(&self, pod: &str) -> Result<()> {
        let limit = format!("--timeout={}s", READY_LIMIT.as_secs());
        let wait = ["wait", "pod", pod, "--for=condition=Ready", &limit];
        self.kubectl(&wait).map(drop).with_context(|| {
            let events = ["describe", "pod", pod];
            self.kubectl(&events)
                .unwrap_or_else(|error| format!("{error:#}"))
        })
    }

    /// Runs a shell line in a pod that has a shell.
    ///
    /// # Errors
    /// When it fails; the text holds what it said.
    pub fn shell(&self, pod: &str, line: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "bash", "-ec", line])
    }

    /// An object of this namespace, such as `["pod", "web"]`.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn read(&self, what: &[&str]) -> Result<Value> {
        self.api
            .read(&[&["--namespace", &self.name], what].concat())
    }

    /// A pod's address of a family.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self, pod: &str, ipv6: bool) -> Result<String> {
        let pod = self.read(&["pod", pod])?;
        let addresses = pod.pointer("/status/podIPs").and_then(Value::as_array);
        let texts = addresses.into_iter().flatten();
        of_family(texts.filter_map(|it| text(it, "/ip").ok()), ipv6)
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "namespace", &self.name, "--wait=false"];
        let _ = self.api.kubectl(&delete);
    }
}

/// The first address of a family.
pub(super) fn of_family<'a>(
    mut addresses: impl Iterator<Item = &'a str>,
    ipv6: bool,
) -> Result<String> {
    let found = addresses.find(|address| address.contains(':') == ipv6);
    found.map(str::to_owned).context("no such address")
}

/// An object with the fields of another in place of its own.
pub(super) fn merged(object: &Value, more: &Value) -> Value {
    let mut fields = object.as_object().cloned().unwrap_or_default();
    fields.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(fields)
}
