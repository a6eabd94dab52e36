//! Objects into the cluster, server-side, each told when it is done. Every step may be repeated.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use cluster_client::Lenient;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};

use super::manifest::{self, kind};
use crate::cluster::{Cluster, explain, in_time, patiently};
use crate::names::FIELD_MANAGER;
use crate::printable::printable;
use crate::say;

/// An API server serves a new kind within a second or two.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(250);

/// How objects are applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// Whether the API server only checks.
    pub(crate) dry_run: bool,
    /// Whether fields that others set are taken over.
    pub(crate) force: bool,
}

/// What an object came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is as it was.
    Unchanged,
    /// It is new, or another than before.
    Changed,
}

/// Applies an object and says what that came to.
///
/// # Errors
/// When the API server does not answer or refuses.
pub(crate) async fn apply(
    cluster: &Cluster,
    object: &DynamicObject,
    mode: Mode,
) -> Result<Outcome> {
    let resource = manifest::resource(object)?;
    let namespace = object.metadata.namespace.as_deref();
    let name = object.name_any();
    let title = title(object);
    let api = cluster.dynamic(&resource, namespace);
    // Where the kind itself is new, this is a 404 too.
    let before = patiently(&title, api.get_opt(&name)).await?;
    let before = before.map(|found| read(found, &title)).transpose()?;
    let parameters = PatchParams {
        dry_run: mode.dry_run,
        force: mode.force,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Apply(object);
    let sent = api.patch(&name, &parameters, &patch);
    let after = match in_time(&title, sent).await? {
        // A dry run makes no namespace and no kind for what comes behind them.
        Err(kube::Error::Api(status)) if mode.dry_run && status.code == 404 => {
            say(&format!(
                "{title}: to be created (not checked, it needs others first)"
            ))?;
            return Ok(Outcome::Changed);
        }
        Err(kube::Error::Api(status)) if status.code == 409 => bail!(
            "apply {title}: somebody else set what this would change, --force-conflicts takes it \
             over ({})",
            status.message
        ),
        Ok(after) => read(after, &title)?,
        Err(error) => return Err(explain(&title, error)),
    };
    let (word, outcome) = match &before {
        None => ("created", Outcome::Changed),
        Some(before) if is_same(before, &after) => ("unchanged", Outcome::Unchanged),
        Some(_) => ("changed", Outcome::Changed),
    };
    let note = if mode.dry_run { " (dry run)" } else { "" };
    say(&format!("{title}: {word}{note}"))?;
    Ok(outcome)
}

fn read(object: Lenient<DynamicObject>, title: &str) -> Result<DynamicObject> {
    let read = object.0.ok();
    read.with_context(|| format!("apply {title}: it is there, but its metadata is malformed"))
}

/// What an object is called, in words fit for a terminal.
fn title(object: &DynamicObject) -> String {
    printable(&format!("{} {}", kind(object), object.name_any()))
}

fn is_same(before: &DynamicObject, after: &DynamicObject) -> bool {
    let bare = |object: &DynamicObject| {
        let mut object = object.clone();
        object.metadata.resource_version = None;
        object.metadata.generation = None;
        serde_json::to_value(object).ok()
    };
    before.metadata.resource_version == after.metadata.resource_version
        && bare(before) == bare(after)
}

/// Waits until the API server serves a new kind.
///
/// # Errors
/// When it does not in time.
pub(crate) async fn established(cluster: &Cluster, name: &str) -> Result<()> {
    let look = async {
        loop {
            let found = cluster.find::<CustomResourceDefinition>(None, name).await?;
            let conditions = found
                .and_then(|found| found.status)
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            let holds = conditions
                .iter()
                .any(|one| one.type_ == "Established" && one.status == "True");
            if holds {
                return anyhow::Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(ESTABLISHED_WITHIN, look)
        .await
        .with_context(|| {
            format!("wait for the kind {name}: the API server does not serve it; see its status")
        })?
}

/// Creates a Secret that must not be there: it is never replaced.
///
/// # Errors
/// When there is one, or the API server refuses.
pub(crate) async fn create_secret(cluster: &Cluster, secret: &Secret) -> Result<()> {
    let name = secret.name_any();
    let api: Api<Secret> = Api::namespaced(cluster.client(), &cluster.namespace);
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    patiently(
        &format!("a new Secret {name}"),
        api.create(&parameters, secret),
    )
    .await?;
    say(&format!("Secret {name}: created"))
}
