//! What a test of a pod network asks: pods that answer with who asked, Services in front of them.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::text;
use super::space::{Space, TOOLS, merged, of_family};
use crate::wait;

/// From a Service's creation, or a change of its pods, to kube-proxies that know: a second as a rule.
const KNOWN_LIMIT: Duration = Duration::from_secs(30);

/// Answers each GET with `<address of the client> <path>`, and logs the same.
const NGINX: &str = "printf 'pid /tmp/nginx.pid; error_log /dev/stderr; events {} http { \
     log_format who \"$remote_addr $request_uri\"; access_log /dev/stdout who; \
     server { listen PORT; listen [::]:PORT; location / { return 200 \"$remote_addr $request_uri\\\\n\"; } } }' \
     >/tmp/nginx.conf; exec nginx -c /tmp/nginx.conf -g 'daemon off;'";

/// The TCP port of [`Space::web`].
pub const WEB_PORT: u16 = 8080;

impl Space<'_> {
    /// A pod with a shell, perl and curl that answers each HTTP request on [`WEB_PORT`] with the address
    /// of who asks and the path.
    ///
    /// # Errors
    /// As [`Space::pod`].
    pub fn web(&self, name: &str, node: &str) -> Result<()> {
        self.web_with(name, node, WEB_PORT, &json!({}), &json!({}))
    }

    /// [`Space::web`] on another port; `container` and `spec` are merged into those.
    ///
    /// # Errors
    /// As [`Space::pod`].
    pub fn web_with(
        &self,
        name: &str,
        node: &str,
        port: u16,
        container: &Value,
        spec: &Value,
    ) -> Result<()> {
        let all = merged(&web_container(port), container);
        self.pod(name, node, &all, spec)
    }

    /// A dual-stack Service in front of the pods with `app=<app>`: TCP 80 to [`WEB_PORT`], UDP 81 to 8081.
    /// `more` is merged into its spec.
    ///
    /// # Errors
    /// What the API server says.
    pub fn service(&self, name: &str, app: &str, more: &Value) -> Result<()> {
        let spec = json!({
            "selector": {"app": app},
            "ipFamilyPolicy": "RequireDualStack",
            "ports": [
                {"name": "http", "port": 80, "targetPort": WEB_PORT},
                {"name": "udp", "port": 81, "targetPort": 8081, "protocol": "UDP"},
            ],
        });
        let spec = merged(&spec, more);
        let metadata = json!({"name": name});
        let service =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
        self.create(&service.to_string())
    }

    /// A Service's cluster address of a family.
    ///
    /// # Errors
    /// When it has none.
    pub fn service_address(&self, name: &str, ipv6: bool) -> Result<String> {
        let service = self.read(&["service", name])?;
        let addresses = service
            .pointer("/spec/clusterIPs")
            .and_then(Value::as_array);
        let texts = addresses.into_iter().flatten();
        of_family(texts.filter_map(Value::as_str), ipv6)
    }

    /// The port that a Service has on nodes; `port` is its index.
    ///
    /// # Errors
    /// When it has none.
    pub fn node_port(&self, name: &str, port: usize) -> Result<u16> {
        let service = self.read(&["service", name])?;
        let found = service.pointer(&format!("/spec/ports/{port}/nodePort"));
        let found = found.and_then(Value::as_u64).context("no node port")?;
        Ok(u16::try_from(found)?)
    }

    /// What a pod gets from [`Space::web`] at a URL: who it is there. Tried until it has an answer, for
    /// kube-proxy may still be learning.
    ///
    /// # Errors
    /// When there is none.
    pub fn fetch(&self, pod: &str, url: &str) -> Result<String> {
        let line = format!("curl -sSgf --connect-timeout 2 --max-time 5 '{url}'");
        let mut last = String::new();
        let found = wait::until_some(&format!("{pod} to fetch {url}"), KNOWN_LIMIT, || {
            let said = self.shell(pod, &line);
            said.map_err(|error| last = format!("{error:#}")).ok()
        });
        found.with_context(|| last)
    }

    /// Deletes an object and waits until it is gone.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn delete(&self, what: &[&str]) -> Result<()> {
        self.kubectl(&[&["delete", "--timeout=60s"], what].concat())
            .map(drop)
    }

    /// The node of a pod.
    ///
    /// # Errors
    /// When it has none.
    pub fn node_of(&self, pod: &str) -> Result<String> {
        let pod = self.read(&["pod", pod])?;
        text(&pod, "/spec/nodeName").map(str::to_owned)
    }
}

/// The container of [`Space::web`], for templates; Ready once it answers.
pub fn web_container(port: u16) -> Value {
    let ready = json!({"tcpSocket": {"port": port}, "periodSeconds": 1});
    let line = NGINX.replace("PORT", &port.to_string());
    json!({
        "name": "main", "image": TOOLS, "command": ["bash", "-ec", line], "readinessProbe": ready,
    })
}

/// `http://<address>:<port><path>`, with the brackets that IPv6 wants.
pub fn url(address: &str, port: u16, path: &str) -> String {
    if address.contains(':') {
        format!("http://[{address}]:{port}{path}")
    } else {
        format!("http://{address}:{port}{path}")
    }
}
