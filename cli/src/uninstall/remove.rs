//! Objects out of the API, each told when it goes. Every step may be repeated.

use std::time::Duration;

use anyhow::Result;
use cluster_api::SIGNER_NAME;
use cluster_client::Lenient;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PropagationPolicy};
use kube::core::ApiResource;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::PAUSE;
use crate::cluster::{Cluster, explain, in_time};
use crate::install::manifest::{self, kind};
use crate::printable::printable;
use crate::say;

/// A namespace takes seconds, unless something that it waits for is away.
const GONE_WITHIN: Duration = if cfg!(test) {
    Duration::from_millis(50)
} else {
    Duration::from_secs(120)
};

/// In reverse: who needs others goes before them, the namespace and the kinds go last.
fn all() -> Result<Vec<(ApiResource, DynamicObject)>> {
    let objects = manifest::all()?.into_iter().rev();
    let with_resource = |object: DynamicObject| Ok((manifest::resource(&object)?, object));
    objects.map(with_resource).collect()
}

/// What is there, in words.
///
/// # Errors
/// When the API server does not answer or refuses.
pub(super) async fn there(cluster: &Cluster) -> Result<Vec<String>> {
    let mut there = Vec::new();
    for (resource, object) in all()? {
        let namespace = object.metadata.namespace.as_deref();
        let name = object.name_any();
        let found = cluster.find_metadata(&resource, namespace, &name);
        if found.await?.is_some() {
            there.push(format!("{} {name}", kind(&object)));
        }
    }
    Ok(there)
}

/// Deletes a DaemonSet or Deployment of ours.
///
/// # Errors
/// When the API server does not answer or refuses.
pub(super) async fn workload<K>(cluster: &Cluster, name: &str) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
{
    let kind = ApiResource::erase::<K>(&());
    delete(cluster, &kind, Some(&cluster.namespace), name).await
}

/// Deletes the requests for certificates that nodes have made.
///
/// # Errors
/// When the API server does not answer or refuses.
pub(super) async fn requests(cluster: &Cluster) -> Result<()> {
    let selected = ListParams::default().fields(&format!("spec.signerName={SIGNER_NAME}"));
    let listed = cluster.list::<CertificateSigningRequest>(selected).await?;
    let kind = ApiResource::erase::<CertificateSigningRequest>(&());
    let ours = |one: &&CertificateSigningRequest| one.spec.signer_name == SIGNER_NAME;
    for request in listed.objects.iter().filter(ours) {
        delete(cluster, &kind, None, &request.name_any()).await?;
    }
    Ok(())
}

/// Deletes everything that `sotto install` or the chart applies, and with the namespace what the
/// controller and Helm keep in it.
///
/// # Errors
/// When the API server does not answer or refuses.
pub(super) async fn objects(cluster: &Cluster) -> Result<()> {
    for (resource, object) in all()? {
        let namespace = object.metadata.namespace.as_deref();
        delete(cluster, &resource, namespace, &object.name_any()).await?;
    }
    Ok(())
}

async fn delete(
    cluster: &Cluster,
    kind: &ApiResource,
    namespace: Option<&str>,
    name: &str,
) -> Result<()> {
    let title = printable(&format!("{} {name}", kind.kind));
    let api: Api<Lenient<DynamicObject>> = cluster.dynamic(kind, namespace);
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match in_time(&title, api.delete(name, &parameters)).await? {
        Ok(_) => say(&format!("{title}: deleted")),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        // It is going already.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(explain(&title, error)),
    }
}

/// Waits until all is gone; says what is not.
///
/// # Errors
/// When the API server does not answer or refuses.
pub(super) async fn gone(cluster: &Cluster) -> Result<Option<String>> {
    let until = Instant::now() + GONE_WITHIN;
    loop {
        let left = there(cluster).await?;
        if left.is_empty() {
            return Ok(None);
        }
        if Instant::now() >= until {
            let why = why(cluster).await?;
            return Ok(Some(format!(
                "Deleted, and not gone yet: {}.{why} It goes by itself when nothing holds it any more.",
                left.join(", ")
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What keeps the namespace: mostly an API whose own pods have no network now.
async fn why(cluster: &Cluster) -> Result<String> {
    let found = cluster.find::<Namespace>(None, &cluster.namespace).await?;
    let status = found.and_then(|namespace| namespace.status);
    let conditions = status.and_then(|status| status.conditions);
    let held: Vec<String> = conditions
        .unwrap_or_default()
        .into_iter()
        .filter(|one| one.status == "True")
        .filter_map(|one| one.message)
        .map(|message| format!(" {}.", printable(message.trim_end_matches('.'))))
        .collect();
    Ok(held.concat())
}
