//! What else in the cluster Sotto would get in the way of, or not do: another pod network, and
//! NetworkPolicies.

use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::ListParams;

use crate::cluster::{Cluster, Seen, seen};
use crate::printable::printable;

/// What other pod networks' nodes run, by its usual name.
const DAEMON_SETS: [&str; 14] = [
    "antrea-agent",
    "aws-node",
    "azure-cns",
    "calico-node",
    "canal",
    "cilium",
    "kilo",
    "kindnet",
    "kube-flannel-ds",
    "kube-ovn-cni",
    "kube-router",
    "ovnkube-node",
    "weave-net",
    "netd",
];
/// What they say about a node that they serve.
const REASONS: [&str; 5] = [
    "CalicoIsUp",
    "CiliumIsUp",
    "FlannelIsUp",
    "WeaveIsUp",
    "KubeRouterIsUp",
];
/// How many names are shown of a list.
const SHOWN: usize = 5;

/// Looks for another pod network.
///
/// # Errors
/// When nodes cannot be listed.
pub(super) async fn network(cluster: &Cluster) -> Result<Option<String>> {
    let daemons = cluster.list::<DaemonSet>(ListParams::default()).await;
    let daemons = daemons.map(|listed| listed.objects).unwrap_or_default();
    let known = |one: &&DaemonSet| DAEMON_SETS.contains(&one.name_any().as_str());
    if let Some(found) = daemons.iter().find(known) {
        let namespace = found.namespace().unwrap_or_default();
        let name = found.name_any();
        return Ok(Some(printable(&format!(
            "the DaemonSet {namespace}/{name}"
        ))));
    }
    let nodes = cluster.list::<Node>(ListParams::default()).await?.objects;
    Ok(nodes.iter().find_map(|node| {
        let reason = served(node)?;
        Some(printable(&format!("{reason} of node {}", node.name_any())))
    }))
}

fn served(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let mut network = conditions
        .iter()
        .filter(|one| one.type_ == "NetworkUnavailable" && one.status == "False");
    let reason = network.find_map(|one| one.reason.as_deref())?;
    REASONS.contains(&reason).then_some(reason)
}

/// Refuses to install beside another network, unless somebody said that this is meant, or Sotto is
/// there already.
///
/// # Errors
/// As above.
pub(super) fn judge(found: Option<String>, is_meant: bool) -> Result<Option<String>> {
    match found {
        Some(found) if !is_meant => bail!(
            "install Sotto: another pod network seems to be in force ({found}). Only one can be: take it \
             away first, as docs/install.md says; if it is away, or nodes are moved one by one, give \
             --beside-other-network"
        ),
        Some(found) => Ok(Some(format!(
            "another pod network seems to be in force ({found}): a node stays with it as long as its \
             configuration lies there"
        ))),
        None => Ok(None),
    }
}

/// Says that NetworkPolicies do nothing, and which.
pub(super) async fn policies(cluster: &Cluster) -> String {
    let listed = seen(cluster.list::<NetworkPolicy>(ListParams::default()).await);
    warning(listed.map(|listed| listed.objects))
}

fn warning(policies: Seen<Vec<NetworkPolicy>>) -> String {
    let text = "Sotto does not enforce NetworkPolicies";
    let policies = match policies {
        Ok(policies) => policies,
        Err(why) => return format!("{text}; whether there are any is not known ({why})"),
    };
    if policies.is_empty() {
        return format!("{text}; this cluster has none");
    }
    let name =
        |one: &NetworkPolicy| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any());
    let shown: Vec<String> = policies.iter().take(SHOWN).map(name).collect();
    let more = if policies.len() > SHOWN { ", …" } else { "" };
    format!(
        "{text}: the {} of this cluster ({}{more}) have no effect",
        policies.len(),
        shown.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use crate::fake::{Fake, wait};

    use super::{judge, network, policies};

    #[test]
    fn another_network_is_known_by_its_daemons_or_by_what_nodes_say() {
        let found = |fake: &Fake| wait(async { network(&fake.cluster()).await }).unwrap();
        let fake = Fake::default();
        let put_node = |name: &str, reason: &str| {
            fake.put(
                &format!("/api/v1/nodes/{name}"),
                &format!(
                    r#"{{"metadata": {{"name": "{name}"}}, "status": {{"conditions": [{{
                        "type": "NetworkUnavailable", "status": "False", "reason": "{reason}"}}]}}}}"#
                ),
            );
        };
        put_node("alice", "RouteCreated");
        assert_eq!(found(&fake), None);

        put_node("bob", "FlannelIsUp");
        assert_eq!(found(&fake).unwrap(), "FlannelIsUp of node bob");

        fake.put(
            "/apis/apps/v1/namespaces/kube-system/daemonsets/cilium",
            r#"{"metadata": {"name": "cilium", "namespace": "kube-system"}}"#,
        );
        let other = found(&fake);
        assert_eq!(other.as_deref(), Some("the DaemonSet kube-system/cilium"));
        let refused = judge(other.clone(), false).unwrap_err().to_string();
        assert!(refused.contains("--beside-other-network"), "{refused}");
        assert!(judge(other, true).unwrap().is_some());
    }

    #[test]
    fn policies_that_have_no_effect_are_named() {
        let fake = Fake::default();
        let said = |fake: &Fake| wait(async { policies(&fake.cluster()).await });
        assert!(said(&fake).ends_with("has none"), "{}", said(&fake));

        fake.put(
            "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/deny",
            r#"{"metadata": {"name": "deny", "namespace": "shop"}, "spec": {"podSelector": {}}}"#,
        );
        assert!(said(&fake).contains("shop/deny"), "{}", said(&fake));
    }
}
