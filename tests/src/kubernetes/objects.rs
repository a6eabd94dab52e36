//! The objects that a kubelet, a cloud or the DaemonSet controller would make.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::kubectl::text;
use super::{ApiServer, NAMESPACE};
use crate::lab::Node;

/// A pod of Sotto's own: its name, UID and the node it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPod {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// What the API server gets to know of a machine.
pub(super) fn node(machine: &Node, name: &str) -> Value {
    let number = machine.number();
    let addresses: Vec<Value> = [machine.ipv4(), machine.ipv6()]
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .collect();
    let ranges = [
        format!("10.244.{number}.0/24"),
        format!("fd00:10:244:{number:x}::/64"),
    ];
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDR": ranges.first(), "podCIDRs": ranges},
        "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

impl ApiServer {
    /// Makes a pod from the template of a workload of Sotto, owned by it and bound to a node.
    ///
    /// # Errors
    /// What the API server says.
    pub fn own_pod(&self, workload: (&str, &str), node: &str) -> Result<OwnPod> {
        let (kind, owner) = workload;
        let parent = self.read(&[kind, owner, "--namespace", NAMESPACE])?;
        let template = parent.pointer("/spec/template").context("no template")?;
        let mut pod = template.clone();
        let name = format!("{owner}-{node}");
        let mut spec = template.get("spec").context("no pod spec")?.clone();
        spec["nodeName"] = json!(node);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["spec"] = spec;
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!(NAMESPACE);
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1",
            "kind": text(&parent, "/kind")?,
            "name": owner,
            "uid": text(&parent, "/metadata/uid")?,
            "controller": true,
        }]);
        let made = self.create(&pod)?;
        let status = json!({"status": {"phase": "Running"}}).to_string();
        let patch = [
            "patch",
            "pod",
            &name,
            "--namespace",
            NAMESPACE,
            "--subresource=status",
        ];
        self.kubectl(&[&patch[..], &["--type=merge", "--patch", &status]].concat())?;
        let uid = text(&made, "/metadata/uid")?.to_owned();
        Ok(OwnPod { name, uid })
    }
}
