//! `NodeIdentity`: what the controller and the node itself publish of a node.
//!
//! Each part is read by itself: a node that spoils its own status must not hide that an operator
//! wants it revoked.

use cluster_api::{NodeIdentity, NodeIdentitySpec, decode, encode};
use cluster_client::Lenient;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use node_identity::{NodeCertificate, NodeName, NodeUid};
use serde_json::json;

use super::faults::{failed, is_absent, is_conflict, is_refusal};
use super::objects::{ATTEMPTS, contended, remove};
use super::shelf::{Found, Kept};
use super::watches::guarded;
use crate::MAX_ENVELOPES;
use crate::error::StoreError;
use crate::published::{PublishedNode, Refusal};

/// Largest certificate, as text, that the schema allows; of envelopes it allows half.
const MAX_TEXT: usize = 16_384;

impl Kept for PublishedNode {
    const KIND: &'static str = "nodeidentities";
    /// Twice the largest cluster planned for.
    const MOST: usize = 20_000;
    /// Twice what the largest cluster planned for publishes.
    const MOST_BYTES: usize = 64 << 20;

    fn bytes(&self) -> usize {
        let envelopes: usize = self.envelopes.iter().map(Vec::len).sum();
        envelopes + self.certificate.as_ref().map_or(0, Vec::len) + size_of::<Self>()
    }
}

/// What is published of a node.
pub(super) fn read(object: Lenient<NodeIdentity>) -> Found<PublishedNode> {
    guarded(object, |object| {
        let uid = object.spec.node_uid.parse::<NodeUid>();
        let (Ok(uid), Ok(name)) = (uid, object.name_any().parse::<NodeName>()) else {
            return Found::refused(Refusal::ForeignName);
        };
        let mut refused = None;
        let certificate = object
            .spec
            .certificate
            .and_then(|text| bytes(&text).map_err(|reason| refused = Some(reason)).ok());
        let statements = object.status.unwrap_or_default().statements;
        let envelopes = envelopes(&statements).unwrap_or_else(|reason| {
            refused = Some(reason);
            Vec::new()
        });
        let entry = PublishedNode {
            uid,
            name: Some(name),
            certificate,
            envelopes,
            revocation_wanted: object.spec.revoked,
        };
        Found {
            entry: Some(entry),
            refused,
        }
    })
}

fn envelopes(statements: &[String]) -> Result<Vec<Vec<u8>>, Refusal> {
    if statements.len() > MAX_ENVELOPES {
        return Err(Refusal::TooLarge);
    }
    statements.iter().map(|text| bytes(text)).collect()
}

pub(super) fn bytes(text: &str) -> Result<Vec<u8>, Refusal> {
    if text.len() > MAX_TEXT {
        return Err(Refusal::TooLarge);
    }
    decode(text).map_err(|_| Refusal::Malformed)
}

/// The name that a certificate is published under.
pub(super) fn certified_name(uid: &NodeUid, certificate: &[u8]) -> Result<NodeName, StoreError> {
    let certificate =
        NodeCertificate::from_der(certificate).map_err(|source| StoreError::Certificate {
            node: uid.to_string(),
            source,
        })?;
    Ok(certificate.terms().identity.name.clone())
}

/// Makes `certificate` the one of the object; an object of that name that is another node's makes
/// way, and so does one that cannot be written, for somebody filled it up to the last byte.
pub(super) async fn publish_certificate(
    client: &kube::Client,
    uid: &NodeUid,
    name: &NodeName,
    certificate: &[u8],
) -> Result<(), StoreError> {
    let api: Api<Lenient<NodeIdentity>> = Api::all(client.clone());
    let name = name.as_str();
    let what = || format!("nodeidentities {name}");
    let certificate = encode(certificate);
    for _ in 0..ATTEMPTS {
        let found = api.get_opt(name).await.map_err(failed("get", what()))?;
        let written = match found {
            None => create(&api, uid, name, &certificate, false).await,
            Some(Lenient(Ok(found))) if found.spec.node_uid == uid.to_string() => {
                if found.spec.certificate.as_ref() == Some(&certificate) {
                    return Ok(());
                }
                let patch = json!({
                    "metadata": { "uid": found.meta().uid },
                    "spec": { "certificate": certificate },
                });
                let patch = Patch::Merge(&patch);
                match api.patch(name, &PatchParams::default(), &patch).await {
                    Err(error) if is_refusal(&error) => {
                        let revoked = found.spec.revoked;
                        remove(&api, &Lenient(Ok(found))).await?;
                        create(&api, uid, name, &certificate, revoked).await
                    }
                    patched => patched.map(drop).map_err(|error| ("patch", error)),
                }
            }
            Some(other) => {
                remove(&api, &other).await?;
                continue;
            }
        };
        match written {
            Ok(()) => return Ok(()),
            Err((_, error)) if is_conflict(&error) || is_absent(&error) => {}
            Err((verb, error)) => return Err(failed(verb, what())(error)),
        }
    }
    Err(contended("create", what()))
}

async fn create(
    api: &Api<Lenient<NodeIdentity>>,
    uid: &NodeUid,
    name: &str,
    certificate: &str,
    revoked: bool,
) -> Result<(), (&'static str, kube::Error)> {
    let spec = NodeIdentitySpec {
        node_uid: uid.to_string(),
        certificate: Some(certificate.to_owned()),
        revoked,
    };
    let object = Lenient(Ok(NodeIdentity::new(name, spec)));
    api.create(&PostParams::default(), &object)
        .await
        .map(drop)
        .map_err(|error| ("create", error))
}

/// Takes a revoked node's certificate away and marks it revoked. What stands under its name for
/// another node stays.
pub(super) async fn withdraw_certificate(
    client: &kube::Client,
    uid: &NodeUid,
    name: &NodeName,
) -> Result<(), StoreError> {
    let api: Api<Lenient<NodeIdentity>> = Api::all(client.clone());
    let name = name.as_str();
    let what = || format!("nodeidentities {name}");
    for _ in 0..ATTEMPTS {
        let found = api.get_opt(name).await.map_err(failed("get", what()))?;
        let Some(Lenient(Ok(found))) = found else {
            return Ok(());
        };
        let is_done = found.spec.revoked && found.spec.certificate.is_none();
        if found.spec.node_uid != uid.to_string() || is_done {
            return Ok(());
        }
        let patch = json!({
            "metadata": { "uid": found.meta().uid },
            "spec": { "certificate": null, "revoked": true },
        });
        let patch = Patch::Merge(&patch);
        match api.patch(name, &PatchParams::default(), &patch).await {
            Ok(_) => return Ok(()),
            Err(error) if is_conflict(&error) || is_absent(&error) => {}
            Err(error) if is_refusal(&error) => return remove(&api, &Lenient(Ok(found))).await,
            Err(error) => return Err(failed("patch", what())(error)),
        }
    }
    Err(contended("patch", what()))
}

/// Removes the object of a node that is gone; what stands under its name for another node stays.
pub(super) async fn remove_identity(
    client: &kube::Client,
    uid: &NodeUid,
    name: &NodeName,
) -> Result<(), StoreError> {
    let api: Api<Lenient<NodeIdentity>> = Api::all(client.clone());
    let what = || format!("nodeidentities {name}");
    let found = api
        .get_opt(name.as_str())
        .await
        .map_err(failed("get", what()))?;
    match found {
        Some(found) if claims(&found, uid) => remove(&api, &found).await,
        Some(_) | None => Ok(()),
    }
}

fn claims(object: &Lenient<NodeIdentity>, uid: &NodeUid) -> bool {
    let claimed = object.0.as_ref().map(|object| &object.spec.node_uid);
    claimed.is_ok_and(|claimed| *claimed == uid.to_string())
}

/// Replaces the envelopes of the object, which the controller must have made.
pub(super) async fn publish_envelopes(
    client: &kube::Client,
    name: &NodeName,
    envelopes: &[Vec<u8>],
) -> Result<(), StoreError> {
    let what = || format!("nodeidentities/status {name}");
    let statements: Vec<String> = envelopes.iter().map(|bytes| encode(bytes)).collect();
    let patch = json!({ "status": { "statements": statements } });
    let patched = Api::<Lenient<NodeIdentity>>::all(client.clone())
        .patch_status(
            name.as_str(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await;
    match patched {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Err(StoreError::NotThere { object: what() }),
        Err(error) => Err(failed("patch", what())(error)),
    }
}
