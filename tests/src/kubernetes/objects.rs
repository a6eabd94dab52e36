//! The objects that a kubelet, a cloud or the DaemonSet controller would make.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::kubectl::text;
use super::{ApiServer, NAMESPACE};

/// A pod of Sotto's own: its name, UID and the node it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPod {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// A Node object: its addresses and pod ranges follow from its number, as machines' do.
pub fn node(name: &str, number: u8) -> Value {
    let addresses = [
        format!("198.51.100.{number}"),
        format!("2001:db8::{number:x}"),
    ];
    let internal = |address: &String| json!({"type": "InternalIP", "address": address});
    let addresses: Vec<Value> = addresses.iter().map(internal).collect();
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

/// Where requests for certificates are.
pub const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request for a certificate, as an API object.
///
/// # Errors
/// When `openssl` refuses.
pub fn request(api: &ApiServer, signer: &str) -> Result<Value> {
    let pem = api.place().shell(
        "openssl req -new -newkey ed25519 -nodes -keyout /dev/null -subj / \
          -addext subjectAltName=URI:spiffe://sotto.test/node/x 2>/dev/null | base64 -w0",
    )?;
    Ok(json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "sotto-test-"},
        "spec": {"request": pem, "signerName": signer, "usages": ["digital signature"]},
    }))
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
        let name = format!("{owner}-{node}");
        let mut spec = template.get("spec").context("no pod spec")?.clone();
        let fields = spec.as_object_mut().context("a spec without fields")?;
        fields.insert("nodeName".to_owned(), json!(node));
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": template.pointer("/metadata/labels"),
                "ownerReferences": [{
                    "apiVersion": "apps/v1",
                    "kind": text(&parent, "/kind")?,
                    "name": owner,
                    "uid": text(&parent, "/metadata/uid")?,
                    "controller": true,
                }],
            },
            "spec": spec,
        });
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
