//! What the doctor looks at. Each thing for itself: a right that this user lacks hides one alone.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cluster_api::{Peer, RevocationList};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::{NetworkPolicy, ServiceCIDR};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::core::ApiResource;

use crate::cluster::{Cluster, Kind, Listed, Seen, patiently, seen};
use crate::health::{self, Living};
use crate::names::{CONTROLLER, LEDGER_SECRET, NODE, ROOT_SECRET};
use crate::status::missing_policies;

/// Everything but the API server's version.
pub(crate) struct Facts {
    pub(crate) definitions: Vec<(String, Seen<Option<CustomResourceDefinition>>)>,
    pub(crate) missing_policies: Seen<Vec<String>>,
    pub(crate) missing_rights: Seen<Vec<String>>,
    /// Metadata of the Secrets that are there, by name.
    pub(crate) secrets: Seen<BTreeMap<&'static str, ObjectMeta>>,
    pub(crate) lease: Seen<Option<Lease>>,
    pub(crate) lists: Seen<Listed<RevocationList>>,
    pub(crate) daemon_sets: Seen<Listed<DaemonSet>>,
    pub(crate) deployment: Seen<Option<Deployment>>,
    pub(crate) nodes: Seen<Listed<Node>>,
    pub(crate) peers: Seen<Listed<Peer>>,
    /// Of the Nodes, however malformed, behind the peers.
    pub(crate) living: Living,
    pub(crate) service_ranges: Seen<Listed<ServiceCIDR>>,
    pub(crate) network_policies: Seen<Listed<NetworkPolicy>>,
    /// Where Sotto should be.
    pub(crate) namespace: String,
}

impl Facts {
    /// Whether nothing of Sotto is there, as far as can be seen.
    pub(crate) fn show_nothing(&self) -> bool {
        let mut definitions = self.definitions.iter();
        definitions.all(|(_, found)| matches!(found, Ok(None)))
            && matches!(self.deployment, Ok(None))
            && self.secrets.as_ref().is_ok_and(BTreeMap::is_empty)
    }
}

/// Major and minor version of the API server.
pub(crate) async fn version(cluster: &Cluster) -> Seen<(String, String)> {
    let client = cluster.client();
    let version = patiently("the cluster's version", client.apiserver_version()).await;
    seen(version.map(|version| (version.major, version.minor)))
}

/// Looks at everything else.
pub(crate) async fn look(cluster: &Cluster) -> Facts {
    let mut definitions = Vec::new();
    for definition in cluster_api::crds() {
        let name = definition.name_any();
        let found = seen(cluster.find(None, &name).await);
        definitions.push((name, found));
    }
    let namespace = Some(cluster.namespace.as_str());
    Facts {
        definitions,
        missing_policies: seen(missing_policies(cluster).await),
        missing_rights: seen(missing_rights(cluster).await),
        secrets: seen(secrets(cluster).await),
        lease: seen(cluster.find(namespace, CONTROLLER).await),
        lists: list(cluster).await,
        daemon_sets: list(cluster).await,
        deployment: seen(cluster.find(namespace, CONTROLLER).await),
        nodes: list(cluster).await,
        peers: list(cluster).await,
        living: health::living(cluster).await,
        service_ranges: list(cluster).await,
        network_policies: list(cluster).await,
        namespace: cluster.namespace.clone(),
    }
}

async fn list<K: Kind>(cluster: &Cluster) -> Seen<Listed<K>> {
    seen(cluster.list(ListParams::default()).await)
}

async fn missing_rights(cluster: &Cluster) -> Result<Vec<String>> {
    let namespace = Some(cluster.namespace.as_str());
    let accounts = ApiResource::erase::<ServiceAccount>(&());
    let cluster_roles = ApiResource::erase::<ClusterRole>(&());
    let cluster_bindings = ApiResource::erase::<ClusterRoleBinding>(&());
    let roles = ApiResource::erase::<Role>(&());
    let bindings = ApiResource::erase::<RoleBinding>(&());
    missing(
        cluster,
        &[
            (&accounts, namespace, NODE),
            (&accounts, namespace, CONTROLLER),
            (&cluster_roles, None, NODE),
            (&cluster_roles, None, CONTROLLER),
            (&cluster_bindings, None, NODE),
            (&cluster_bindings, None, CONTROLLER),
            (&roles, namespace, CONTROLLER),
            (&bindings, namespace, CONTROLLER),
        ],
    )
    .await
}

/// By their metadata: a doctor reads no keys.
async fn secrets(cluster: &Cluster) -> Result<BTreeMap<&'static str, ObjectMeta>> {
    let namespace = Some(cluster.namespace.as_str());
    let kind = ApiResource::erase::<Secret>(&());
    let mut found = BTreeMap::new();
    for name in [ROOT_SECRET, LEDGER_SECRET] {
        if let Some(metadata) = cluster.find_metadata(&kind, namespace, name).await? {
            found.insert(name, metadata);
        }
    }
    Ok(found)
}

async fn missing(
    cluster: &Cluster,
    wanted: &[(&ApiResource, Option<&str>, &str)],
) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (kind, namespace, name) in wanted {
        let found = cluster.find_metadata(kind, *namespace, name).await;
        if found
            .with_context(|| format!("look for {} {name}", kind.kind))?
            .is_none()
        {
            missing.push(format!("{} {name}", kind.kind));
        }
    }
    Ok(missing)
}
