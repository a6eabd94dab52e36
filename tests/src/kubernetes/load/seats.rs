//! The objects of many nodes: what a [`Cluster`](super::super::Cluster) makes for one, with many
//! requests under way at a time, since kubectl would take minutes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use node_identity::SpiffeId;
use serde_json::{Value, json};

use super::super::{NAMESPACE, certificates};
use crate::lab::TRUST_DOMAIN;

/// Most nodes: so many /25 are in the cluster's pod range.
pub(super) const MOST: usize = 512;
/// Networks of the nodes, as the manifest has them: a /24 is too small, and nothing is sent there.
pub(super) const UNDERLAY: &str = r#"["198.18.0.0/16", "2001:db8::/64"]"#;
/// Requests under way at a time.
const AT_ONCE: usize = 16;
/// The DaemonSet and its ServiceAccount.
const DAEMON: &str = "sotto-node";
/// Where the daemons' tokens and kubeconfigs are.
const FOLDER: &str = "/run/daemons";

/// Where a daemon sits: its node, and how it reaches the API server.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) id: SpiffeId,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) pod_ranges: Vec<String>,
    pub(super) kubeconfig: PathBuf,
}

/// Makes Nodes, their daemons' Pods and tokens bound to those.
pub(super) async fn make(client: &Client, count: usize) -> Result<Vec<Seat>> {
    std::fs::create_dir_all(FOLDER)?;
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let set = sets.get(DAEMON).await.context("read the DaemonSet")?;
    let set = serde_json::to_value(set)?;
    let mut seats: Vec<Seat> = stream::iter(0..count)
        .map(|number| make_one(client, &set, number))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    seats.sort_by(|one, other| one.id.name.as_str().cmp(other.id.name.as_str()));
    Ok(seats)
}

async fn make_one(client: &Client, set: &Value, number: usize) -> Result<Seat> {
    let name = format!("node-{number:03}");
    let (addresses, pod_ranges) = (addresses(number)?, pod_ranges(number));
    let nodes = Api::<Node>::all(client.clone());
    let node = create(&nodes, node(&name, &addresses, &pod_ranges)).await?;
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    let pod = create(&pods, pod(set, &name)?).await?;
    let request: TokenRequest = serde_json::from_value(json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": [],
            "expirationSeconds": 7200,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()},
        },
    }))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let made = accounts
        .create_token_request(DAEMON, &PostParams::default(), &request)
        .await
        .with_context(|| format!("ask for the token of {name}"))?;
    let token = made.status.context("a token request without a token")?;
    let (token_file, kubeconfig) = (
        format!("{FOLDER}/{name}.token"),
        format!("{FOLDER}/{name}.conf"),
    );
    std::fs::write(&token_file, token.token)?;
    let user = format!("tokenFile: {token_file}");
    std::fs::write(&kubeconfig, certificates::kubeconfig(&user))?;
    Ok(Seat {
        id: SpiffeId {
            trust_domain: TRUST_DOMAIN.parse()?,
            uid: node.uid().context("a Node without UID")?.parse()?,
            name: name.parse()?,
        },
        addresses,
        pod_ranges,
        kubeconfig: kubeconfig.into(),
    })
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<K>
where
    K: serde::de::DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object)?;
    let made = api.create(&PostParams::default(), &object).await;
    made.context("create an object of a node")
}

fn addresses(number: usize) -> Result<Vec<IpAddr>> {
    let [high, low] = u16::try_from(number + 1)?.to_be_bytes();
    let ipv6 = Ipv6Addr::new(
        0x2001,
        0xdb8,
        0,
        0,
        0,
        1,
        0,
        u16::from_be_bytes([high, low]),
    );
    Ok(vec![Ipv4Addr::new(198, 18, high, low).into(), ipv6.into()])
}

fn pod_ranges(number: usize) -> Vec<String> {
    vec![
        format!("10.244.{}.{}/25", number / 2, number % 2 * 128),
        format!("fd00:10:244:0:{number:x}::/80"),
    ]
}

fn node(name: &str, addresses: &[IpAddr], ranges: &[String]) -> Value {
    let addresses = addresses.iter();
    let addresses: Vec<Value> = addresses
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDR": ranges.first(), "podCIDRs": ranges},
        "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn pod(set: &Value, node: &str) -> Result<Value> {
    let part = |path: &str| {
        let found = set.pointer(path).cloned();
        found.with_context(|| format!("the DaemonSet has no {path}"))
    };
    let mut spec = part("/spec/template/spec")?;
    let fields = spec.as_object_mut().context("a pod spec that is none")?;
    fields.insert("nodeName".to_owned(), json!(node));
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{DAEMON}-{node}"),
            "namespace": NAMESPACE,
            "labels": part("/spec/template/metadata/labels")?,
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "name": DAEMON,
                "uid": part("/metadata/uid")?,
                "controller": true,
            }],
        },
        "spec": spec,
    }))
}
