//! What is in the cluster before anything is applied.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use node_identity::RootCertificate;

use crate::cluster::Cluster;
use crate::names::{
    CONTROLLER, LEDGER, LEDGER_SECRET, NODE, ROOT_CERTIFICATE, ROOT_SECRET, UNINSTALL,
};
use crate::settings::controller::{self, InstalledController};
use crate::settings::image::Images;
use crate::settings::{self, Installed};

/// What there is.
pub(crate) struct Existing {
    /// What the daemons were told, where they are installed.
    pub(crate) installed: Option<Installed>,
    /// What the controller was told, where it is installed.
    pub(crate) controller: Option<InstalledController>,
    /// What both run, where both are installed.
    pub(crate) images: Option<Images>,
    /// The root in its Secret.
    pub(crate) root: Option<RootCertificate>,
    /// Its ledger.
    pub(crate) ledger: Ledger,
}

/// The controller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ledger {
    /// There is no Secret.
    Absent,
    /// There is a Secret without a ledger.
    Empty,
    /// A root has signed something.
    Written,
}

/// Looks at what there is.
///
/// # Errors
/// When Helm has installed it, this user may not look, or what there is was not made by Sotto.
pub(crate) async fn look(cluster: &Cluster) -> Result<Existing> {
    refuse_helm(cluster).await?;
    refuse_half(cluster).await?;
    let namespace = Some(cluster.namespace.as_str());
    let installed = cluster
        .find::<DaemonSet>(namespace, NODE)
        .await?
        .map(|daemon_set| settings::read(&daemon_set))
        .transpose()
        .map_err(anyhow::Error::msg)
        .context("read the DaemonSet sotto-node: was it made by something else?")?;
    let read = |deployment: Deployment| {
        let image = controller::image(&deployment)?;
        Ok((controller::read(&deployment)?, image))
    };
    let (controller, image) = cluster
        .find::<Deployment>(namespace, CONTROLLER)
        .await?
        .map(read)
        .transpose()
        .map_err(|error: String| anyhow::Error::msg(error))
        .context("read the Deployment sotto-controller: was it made by something else?")?
        .unzip();
    let images = installed
        .as_ref()
        .zip(image)
        .map(|(installed, controller)| Images {
            node: installed.image.clone(),
            controller,
        });
    let root = match cluster.find::<Secret>(namespace, ROOT_SECRET).await? {
        Some(secret) => Some(certificate(&secret)?),
        None => None,
    };
    let ledger = match cluster.find::<Secret>(namespace, LEDGER_SECRET).await? {
        None => Ledger::Absent,
        Some(secret) => {
            let written = secret.data.is_some_and(|data| data.contains_key(LEDGER));
            if written {
                Ledger::Written
            } else {
                Ledger::Empty
            }
        }
    };
    Ok(Existing {
        installed,
        controller,
        images,
        root,
        ledger,
    })
}

fn certificate(secret: &Secret) -> Result<RootCertificate> {
    let der = secret
        .data
        .as_ref()
        .and_then(|data| data.get(ROOT_CERTIFICATE));
    let der = der.with_context(|| {
        format!("read the Secret {ROOT_SECRET}: it has no {ROOT_CERTIFICATE}, put back its backup")
    })?;
    RootCertificate::from_der(&der.0)
        .with_context(|| format!("read the Secret {ROOT_SECRET}: put back its backup"))
}

/// The kinds do not tell: Helm leaves them, and says for ever that they are its own.
async fn refuse_helm(cluster: &Cluster) -> Result<()> {
    let namespace = Some(cluster.namespace.as_str());
    let daemon_set = ApiResource::erase::<DaemonSet>(&());
    let deployment = ApiResource::erase::<Deployment>(&());
    let role = ApiResource::erase::<ClusterRole>(&());
    for (kind, namespace, name) in [
        (&daemon_set, namespace, NODE),
        (&deployment, namespace, CONTROLLER),
        (&role, None, NODE),
        (&role, None, CONTROLLER),
    ] {
        let found = cluster.find_metadata(kind, namespace, name).await?;
        if let Some(release) = found.as_ref().and_then(helm_release) {
            bail!(
                "install Sotto: {} {name} belongs to Helm (release {release}); use `helm upgrade`, \
                 or `helm uninstall` first, which keeps identities and Secrets",
                kind.kind
            );
        }
    }
    Ok(())
}

/// Nodes that were cleaned have lost their keys: nothing could go on from there.
///
/// # Errors
/// When an uninstall has begun, or this user may not look.
pub(crate) async fn refuse_half(cluster: &Cluster) -> Result<()> {
    let namespace = Some(cluster.namespace.as_str());
    let uninstall = ApiResource::erase::<DaemonSet>(&());
    let uninstall = cluster
        .find_metadata(&uninstall, namespace, UNINSTALL)
        .await?;
    if uninstall.is_some() {
        bail!(
            "install Sotto: its uninstallation has begun; run `sotto uninstall` to its end first"
        );
    }
    Ok(())
}

/// The Helm release that an object belongs to.
fn helm_release(metadata: &ObjectMeta) -> Option<String> {
    let release = metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get("meta.helm.sh/release-name"));
    let managed = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("app.kubernetes.io/managed-by"))
        .is_some_and(|manager| manager == "Helm");
    match release {
        Some(release) => Some(release.clone()),
        None => managed.then(|| "unknown".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::helm_release;

    #[test]
    fn what_helm_owns_is_known_by_its_label_or_its_annotation() {
        let entry = |key: &str, value: &str| Some([(key.to_owned(), value.to_owned())].into());
        let mut metadata = ObjectMeta::default();
        assert_eq!(helm_release(&metadata), None);

        metadata.labels = entry("app.kubernetes.io/managed-by", "sotto");
        assert_eq!(helm_release(&metadata), None);

        metadata.labels = entry("app.kubernetes.io/managed-by", "Helm");
        assert_eq!(helm_release(&metadata).unwrap(), "unknown");

        metadata.annotations = entry("meta.helm.sh/release-name", "pods");
        assert_eq!(helm_release(&metadata).unwrap(), "pods");
    }
}
