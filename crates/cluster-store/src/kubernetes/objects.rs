//! Writing objects that others write too.

use std::fmt::Debug;

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::faults::{failed, is_absent, is_conflict};
use crate::error::StoreError;

/// How often a write is tried again after a fresh look (a guess: two writers meet once, not five
/// times).
pub(super) const ATTEMPTS: usize = 5;

/// Somebody else was faster each time.
pub(super) fn contended(verb: &'static str, object: String) -> StoreError {
    StoreError::Contended {
        verb,
        object,
        attempts: ATTEMPTS,
    }
}

/// Removes exactly this object, whatever finalizers somebody gave it; finds it gone, or another
/// one in its place, just as well.
pub(super) async fn remove<K>(api: &Api<K>, object: &K) -> Result<(), StoreError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let name = object.name_any();
    let what = || format!("{} {name}", K::plural(&()));
    if !object.finalizers().is_empty() {
        let patch = json!({ "metadata": { "uid": object.uid(), "finalizers": null } });
        let patch = Patch::Merge(&patch);
        match api.patch(&name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            Err(error) if is_absent(&error) || is_conflict(&error) => return Ok(()),
            Err(error) => return Err(failed("patch", what())(error)),
        }
    }
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&name, &parameters).await {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) || is_conflict(&error) => Ok(()),
        Err(error) => Err(failed("delete", what())(error)),
    }
}
