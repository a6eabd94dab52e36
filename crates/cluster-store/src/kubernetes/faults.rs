//! What the API server said, as a [`StoreError`] that names the object and a cure.

use std::error::Error;

use cluster_client::Lenient;
use kube::Resource;
use kube::core::Status;

use crate::error::StoreError;

/// Makes the error of a call that should have done `verb` on `object`.
pub(super) fn failed(
    verb: &'static str,
    object: impl Into<String>,
) -> impl FnOnce(kube::Error) -> StoreError {
    move |error| StoreError::Api {
        verb,
        object: object.into(),
        is_refusal: is_refusal(&error),
        cure: cure(&error),
        source: said(error),
    }
}

/// The object, if it can be read.
pub(super) fn readable<K>(object: Lenient<K>) -> Result<K, StoreError>
where
    K: Resource<DynamicType = ()>,
{
    object.0.map_err(|which| StoreError::Unreadable {
        object: format!("{} {}", K::plural(&()), which.name.unwrap_or_default()),
    })
}

/// Whether the object is not there. A 404 that is none of the API server's own (a missing kind, a
/// proxy) does not say that.
pub(super) fn is_absent(error: &kube::Error) -> bool {
    status(error).is_some_and(Status::is_not_found)
}

/// Whether somebody else was faster: a fresh look and another try will do.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409)
}

/// Whether the server refuses this very request, and neither for what somebody else did meanwhile nor
/// because it is busy: others may fare better.
pub(super) fn is_refusal(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| !matches!(status.code, 404 | 409 | 429 | 502..=504))
}

fn status(error: &kube::Error) -> Option<&Status> {
    if let kube::Error::Api(status) = error {
        Some(status)
    } else {
        None
    }
}

pub(super) fn cure(error: &kube::Error) -> &'static str {
    match status(error).map(|status| status.code) {
        Some(401) => "is the token expired, or of another cluster?",
        Some(403) => "allow this verb in the role of this account",
        Some(404) => "is the CustomResourceDefinition installed?",
        Some(409) => "somebody else kept writing it, it is tried again",
        Some(422) => "the schema refuses it, are the CustomResourceDefinitions of this version?",
        Some(429) => "the API server is busy, it is tried again",
        Some(_) => "the API server could not do it",
        None => "is the API server reachable?",
    }
}

/// The cause, without what the client wraps around it and would print twice.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the client's enum, not ours"
)]
fn said(error: kube::Error) -> Box<dyn Error + Send + Sync> {
    match error {
        kube::Error::Api(status) => status,
        kube::Error::Service(error) => error,
        kube::Error::HyperError(error) => Box::new(error),
        other => Box::new(other),
    }
}
