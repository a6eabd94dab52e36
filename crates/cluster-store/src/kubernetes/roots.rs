//! `RevocationList`: a root and what it has revoked, named after the root's pin.

use cluster_api::{RevocationList, RevocationListSpec, encode, object_name};
use cluster_client::Lenient;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use node_identity::{Pin, SignedRevocationList, UnixTime};
use serde_json::{Map, Value, json};

use super::faults::{failed, is_absent, is_conflict};
use super::identities::bytes;
use super::objects::{ATTEMPTS, contended};
use super::shelf::{Found, Kept};
use super::watches::guarded;
use crate::error::StoreError;
use crate::published::{PublishedRoot, Refusal};

/// Largest list as text; the schema allows no more.
const MAX_LIST_TEXT: usize = 1_000_000;

impl Kept for PublishedRoot {
    const KIND: &'static str = "revocationlists";
    /// One root, two while it is changed; the rest is room for what people forget to delete.
    const MOST: usize = 16;
    /// As much as so many of the largest.
    const MOST_BYTES: usize = 16 << 20;

    fn bytes(&self) -> usize {
        let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        length(&self.certificate) + length(&self.revocations) + size_of::<Self>()
    }
}

/// What is published of a root.
pub(super) fn read(object: Lenient<RevocationList>) -> Found<PublishedRoot> {
    guarded(object, |object| {
        let Some(pin) = pin(&object.name_any()) else {
            return Found::refused(Refusal::ForeignName);
        };
        let mut refused = None;
        let mut part = |found: Result<Vec<u8>, Refusal>| match found {
            Ok(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
            Err(reason) => {
                refused = Some(reason);
                None
            }
        };
        let entry = PublishedRoot {
            pin,
            certificate: part(bytes(&object.spec.root_certificate)),
            revocations: part(list(&object.spec.signed_list)),
        };
        Found {
            entry: Some(entry),
            refused,
        }
    })
}

fn pin(name: &str) -> Option<Pin> {
    let pin: Pin = name.replacen('-', ":", 1).parse().ok()?;
    (object_name(&pin) == name).then_some(pin)
}

fn list(text: &str) -> Result<Vec<u8>, Refusal> {
    if text.len() > MAX_LIST_TEXT {
        return Err(Refusal::TooLarge);
    }
    cluster_api::decode(text).map_err(|_| Refusal::Malformed)
}

/// Writes what is given of a root, and leaves the rest as it is.
pub(super) async fn publish(client: &kube::Client, root: &PublishedRoot) -> Result<(), StoreError> {
    let api: Api<Lenient<RevocationList>> = Api::all(client.clone());
    let name = object_name(&root.pin);
    let what = || format!("revocationlists {name}");
    let spec = spec(root)?;
    for _ in 0..ATTEMPTS {
        let found = api.get_opt(&name).await.map_err(failed("get", what()))?;
        let (verb, written) = if let Some(found) = found {
            if read(found.clone()).entry.as_ref() == Some(root) {
                return Ok(());
            }
            let patch = json!({
                "metadata": { "uid": found.meta().uid },
                "spec": fields(root, &spec),
            });
            let patch = Patch::Merge(&patch);
            let written = api.patch(&name, &PatchParams::default(), &patch).await;
            ("patch", written.map(drop))
        } else {
            let object = Lenient(Ok(RevocationList::new(&name, spec.clone())));
            let written = api.create(&PostParams::default(), &object).await;
            ("create", written.map(drop))
        };
        match written {
            Ok(()) => return Ok(()),
            Err(error) if is_conflict(&error) || is_absent(&error) && verb == "patch" => {}
            Err(error) => return Err(failed(verb, what())(error)),
        }
    }
    Err(contended("patch", what()))
}

/// The fields of `spec` that the given parts of the root make.
fn fields(root: &PublishedRoot, spec: &RevocationListSpec) -> Map<String, Value> {
    let mut fields = Map::new();
    if root.certificate.is_some() {
        let certificate = json!(spec.root_certificate);
        fields.insert("rootCertificate".to_owned(), certificate);
    }
    if root.revocations.is_some() {
        fields.insert("signedList".to_owned(), json!(spec.signed_list));
        fields.insert("number".to_owned(), json!(spec.number));
        fields.insert("entries".to_owned(), json!(spec.entries));
        fields.insert("nextUpdate".to_owned(), json!(spec.next_update));
    }
    fields
}

fn spec(root: &PublishedRoot) -> Result<RevocationListSpec, StoreError> {
    let revocations = root.revocations.as_deref().unwrap_or_default();
    let signed_list = encode(revocations);
    if signed_list.len() > MAX_LIST_TEXT {
        return Err(StoreError::TooLarge {
            name: format!("revocationlists/{}", object_name(&root.pin)),
            length: revocations.len(),
            limit: MAX_LIST_TEXT / 4 * 3,
        });
    }
    let mut spec = RevocationListSpec {
        root_certificate: encode(root.certificate.as_deref().unwrap_or_default()),
        signed_list,
        ..RevocationListSpec::default()
    };
    if let Ok(signed) = SignedRevocationList::from_der(revocations) {
        let list = signed.list();
        spec.number = i64::try_from(list.number).unwrap_or(i64::MAX);
        spec.entries = i64::try_from(list.entries.len()).unwrap_or(i64::MAX);
        spec.next_update = time(list.next_update);
    }
    Ok(spec)
}

/// The moment as Kubernetes writes it; none if it lies beyond its calendar.
pub(super) fn time(moment: UnixTime) -> Option<Time> {
    let seconds = i64::try_from(moment.0).ok()?;
    Timestamp::from_second(seconds).ok().map(Time)
}
