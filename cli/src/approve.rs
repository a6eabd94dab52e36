//! `sotto approve NODE`: lets a living node change its identity key, by an operator's decision.
//!
//! The decision is an `Approved` condition on the request that shows the new key. It answers the
//! one question that the controller leaves to people; all its other rules still apply.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail};
use cluster_api::{
    AWAITS_APPROVAL, NodeIdentity, OPERATOR_APPROVED, PENDING_CONDITION, REQUEST_LABEL,
    SIGNER_NAME, pem,
};
use cluster_client::Lenient;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use node_identity::{CertificateRequest, IkHash, NodeCertificate, NodeName};
use serde_json::json;

use crate::ask::{Consent, confirm};
use crate::cluster::{Cluster, patiently};
use crate::names::FIELD_MANAGER;
use crate::output::Answer;
use crate::roots::chain;
use crate::say;
use crate::table::table;
use crate::times::{age, now};

/// How many requests are listed at most.
const LISTED: usize = 10;
/// Where the API server says which node's token the requester showed. No requester can write it.
const NODE_NAME_STAMP: &str = "authentication.kubernetes.io/node-name";

/// One request that waits, and the key that it shows.
#[derive(Debug)]
struct Waiting {
    request: CertificateSigningRequest,
    key: Result<IkHash>,
}

/// What is put before the person.
#[derive(Debug)]
struct Chosen {
    key: IkHash,
    newest: CertificateSigningRequest,
    /// Others with the same key.
    older: Vec<CertificateSigningRequest>,
}

/// Approves the newest waiting request of a node, of those that show `key` if it is given.
///
/// # Errors
/// When none waits, they show different keys, the person does not agree, or the API server refuses.
pub(crate) async fn run(
    cluster: &Cluster,
    node: &NodeName,
    key: Option<IkHash>,
    consent: Consent,
) -> Result<Answer> {
    let parameters = ListParams::default().fields(&format!("spec.signerName={SIGNER_NAME}"));
    let found = cluster
        .list::<CertificateSigningRequest>(parameters)
        .await?;
    let mut waiting: Vec<Waiting> = found
        .objects
        .into_iter()
        .filter(|request| waits(request, node))
        .map(|request| Waiting {
            key: read(&request, node),
            request,
        })
        .collect();
    newest_first(&mut waiting);
    let requests = listed(&waiting);
    let Chosen { key, newest, older } = match choose(waiting, node, key) {
        Ok(chosen) => chosen,
        Err(refused) => {
            if !requests.is_empty() {
                say(&requests)?;
            }
            return Err(refused);
        }
    };
    let old = cluster
        .find::<NodeIdentity>(None, node.as_str())
        .await?
        .and_then(|identity| certified_key(&identity));
    show(&newest, &older, key, old)?;
    confirm(&format!("Let {node} have the new key?"), consent).await?;
    approve(cluster, &newest).await?;
    Ok(Answer::fine(format!(
        "Request {} of {node} is approved; the controller decides the rest.",
        newest.name_any()
    )))
}

fn newest_first(waiting: &mut [Waiting]) {
    waiting.sort_by_key(|one| {
        let made = one.request.metadata.creation_timestamp.as_ref();
        std::cmp::Reverse((made.map(|time| time.0), one.request.name_any()))
    });
}

/// Chooses the first of the requests, newest first, that show one key: the wanted one, or the only one there is. Who
/// has the node's token can ask too, and ask last.
fn choose(waiting: Vec<Waiting>, node: &NodeName, wanted: Option<IkHash>) -> Result<Chosen> {
    let keys = waiting.iter().filter_map(|one| one.key.as_ref().ok());
    let keys: BTreeSet<IkHash> = keys.copied().collect();
    if wanted.is_none() && keys.len() > 1 {
        bail!(
            "approve node {node}: its requests show different keys, one may be a thief's; name the \
             node's own with --key, its daemon's log has it (\"Identity key made\")"
        );
    }
    let key = wanted.or_else(|| keys.first().copied());
    let mut requests = waiting
        .into_iter()
        .filter(|one| one.key.as_ref().is_ok_and(|shown| Some(*shown) == key))
        .map(|one| one.request);
    let (Some(key), Some(newest)) = (key, requests.next()) else {
        let which = key.map_or_else(String::new, |key| format!(" that shows key {key}"));
        bail!(
            "approve node {node}: no request of it{which} waits for an operator; a node needs one \
             only when it lives and asks with a new identity key"
        );
    };
    Ok(Chosen {
        key,
        newest,
        older: requests.collect(),
    })
}

/// The newest requests and their keys, a line each; nothing of none.
fn listed(waiting: &[Waiting]) -> String {
    let row = |one: &Waiting| {
        let made = one.request.metadata.creation_timestamp.as_ref();
        let key = match &one.key {
            Ok(key) => key.to_string(),
            Err(error) => format!("{error:#}"),
        };
        vec![
            one.request.name_any(),
            format!("{} ago", age(made, now())),
            key,
        ]
    };
    let rows: Vec<Vec<String>> = waiting.iter().take(LISTED).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    table(&rows)
}

fn waits(request: &CertificateSigningRequest, node: &NodeName) -> bool {
    let stamp = request
        .spec
        .extra
        .as_ref()
        .and_then(|extra| extra.get(NODE_NAME_STAMP));
    let conditions = request
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    request.spec.signer_name == SIGNER_NAME
        && stamp.is_some_and(|names| matches!(names.as_slice(), [name] if name == node.as_str()))
        && conditions.iter().any(|one| {
            one.type_ == PENDING_CONDITION && one.reason.as_deref() == Some(AWAITS_APPROVAL)
        })
        && !conditions
            .iter()
            .any(|one| matches!(one.type_.as_str(), "Approved" | "Denied" | "Failed"))
}

/// The key that a request asks for, proven to be the requester's and asked for in this node's name.
fn read(request: &CertificateSigningRequest, node: &NodeName) -> Result<IkHash> {
    let what = || format!("read request {}", request.name_any());
    let der = pem::read(REQUEST_LABEL, &request.spec.request.0)
        .with_context(|| format!("{}: it is not PEM of one certificate request", what()))?;
    let request = CertificateRequest::from_der(&der)
        .map_err(|error| anyhow!(chain(&error)))
        .with_context(what)?;
    if request.identity().name != *node {
        bail!("{}: it asks in the name of {}", what(), request.identity());
    }
    Ok(request.key().hash())
}

fn certified_key(identity: &NodeIdentity) -> Option<IkHash> {
    let der = cluster_api::decode(identity.spec.certificate.as_deref()?).ok()?;
    let certificate = NodeCertificate::from_der(&der).ok()?;
    Some(certificate.terms().key.hash())
}

fn show(
    newest: &CertificateSigningRequest,
    older: &[CertificateSigningRequest],
    new: IkHash,
    old: Option<IkHash>,
) -> Result<()> {
    let made = newest.metadata.creation_timestamp.as_ref();
    let old = old.map_or_else(|| "not published".to_owned(), |hash| hash.to_string());
    let mut rows = vec![
        ("Request", newest.name_any()),
        ("Made", format!("{} ago", age(made, now()))),
        ("By", newest.spec.username.clone().unwrap_or_default()),
        ("Old key", old),
        ("New key", new.to_string()),
    ];
    if !older.is_empty() {
        let names: Vec<String> = older
            .iter()
            .take(LISTED)
            .map(ResourceExt::name_any)
            .collect();
        rows.push(("Older, left", names.join(", ")));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    say(&table(&rows))?;
    say(
        "Approve only if you know why this node has a new key: its disk was lost, or it was set up \
         anew. Whoever holds the new key becomes the node.",
    )
}

async fn approve(cluster: &Cluster, request: &CertificateSigningRequest) -> Result<()> {
    let api: Api<Lenient<CertificateSigningRequest>> = Api::all(cluster.client());
    let name = request.name_any();
    // With the resourceVersion: what was shown is what is approved.
    let decision = json!({
        "metadata": { "resourceVersion": request.metadata.resource_version },
        "status": { "conditions": [{
            "type": "Approved",
            "status": "True",
            "reason": OPERATOR_APPROVED,
            "message": "An operator lets the node have this key",
        }] },
    });
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Strategic(&decision);
    let sent = api.patch_subresource("approval", &name, &parameters, &patch);
    patiently(&format!("the approval of request {name}"), sent).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::certificates::v1::{
        CertificateSigningRequest, CertificateSigningRequestCondition,
        CertificateSigningRequestSpec, CertificateSigningRequestStatus,
    };

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use node_identity::{CertificateRequest, IdentityKey, IkHash};
    use rand_core::SeedableRng;

    use super::{
        AWAITS_APPROVAL, NODE_NAME_STAMP, PENDING_CONDITION, SIGNER_NAME, Waiting, choose, listed,
        newest_first, read, waits,
    };

    fn condition(type_: &str, reason: &str) -> CertificateSigningRequestCondition {
        CertificateSigningRequestCondition {
            type_: type_.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            ..CertificateSigningRequestCondition::default()
        }
    }

    fn request(stamps: &[&str], conditions: &[(&str, &str)]) -> CertificateSigningRequest {
        let stamps = stamps.iter().map(|&one| one.to_owned()).collect();
        CertificateSigningRequest {
            spec: CertificateSigningRequestSpec {
                signer_name: SIGNER_NAME.to_owned(),
                extra: Some([(NODE_NAME_STAMP.to_owned(), stamps)].into()),
                request: ByteString(b"rubbish".to_vec()),
                ..CertificateSigningRequestSpec::default()
            },
            status: Some(CertificateSigningRequestStatus {
                conditions: Some(
                    conditions
                        .iter()
                        .map(|(type_, reason)| condition(type_, reason))
                        .collect(),
                ),
                ..CertificateSigningRequestStatus::default()
            }),
            ..CertificateSigningRequest::default()
        }
    }

    #[test]
    fn only_a_request_stamped_with_the_node_and_waiting_for_a_person_is_taken() {
        let alice = "alice".parse().unwrap();
        let waiting = (PENDING_CONDITION, AWAITS_APPROVAL);

        assert!(waits(&request(&["alice"], &[waiting]), &alice));
        for other in [
            request(&["mallory"], &[waiting]),
            request(&["mallory", "alice"], &[waiting]),
            request(&[], &[waiting]),
            request(&["alice"], &[]),
            request(&["alice"], &[(PENDING_CONDITION, "TooManyCertificates")]),
            request(&["alice"], &[waiting, ("Denied", "SottoRefused")]),
            request(&["alice"], &[waiting, ("Approved", "SottoVerified")]),
        ] {
            assert!(!waits(&other, &alice), "{other:?}");
        }
    }

    #[test]
    fn a_request_that_is_rubbish_is_named_and_not_approved() {
        let error = read(&request(&["alice"], &[]), &"alice".parse().unwrap()).unwrap_err();

        assert!(format!("{error:#}").contains("not PEM"), "{error:#}");
    }

    #[test]
    fn the_key_is_shown_only_of_a_request_in_the_nodes_own_name() {
        let identity = "spiffe://sotto.test/node/8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11/alice";
        let key = IdentityKey::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let made = CertificateRequest::create(&key, &identity.parse().unwrap(), &[]).unwrap();
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            cluster_api::encode(made.to_der())
        );
        let mut request = request(&["alice"], &[]);
        request.spec.request = ByteString(pem.into_bytes());

        let hash = read(&request, &"alice".parse().unwrap()).unwrap();
        let error = read(&request, &"mallory".parse().unwrap()).unwrap_err();

        assert_eq!(hash, key.public().hash());
        assert!(error.to_string().contains("in the name of"), "{error}");
    }

    fn waiting(name: &str, made: i64, key: u8) -> Waiting {
        let mut request = request(&["alice"], &[(PENDING_CONDITION, AWAITS_APPROVAL)]);
        request.metadata.name = Some(name.to_owned());
        request.metadata.creation_timestamp = Some(Time(Timestamp::from_second(made).unwrap()));
        Waiting {
            request,
            key: Ok(IkHash::from_bytes([key; 32])),
        }
    }

    #[test]
    fn who_asks_last_with_another_key_does_not_win() {
        let alice = "alice".parse().unwrap();
        let three = || {
            let mut three = vec![
                waiting("own", 1, 1),
                waiting("thief", 3, 9),
                waiting("again", 2, 1),
            ];
            newest_first(&mut three);
            three
        };
        let key = IkHash::from_bytes([1; 32]);

        let refused = choose(three(), &alice, None).unwrap_err().to_string();
        let requests = listed(&three());
        let named = choose(three(), &alice, Some(key)).unwrap();
        let unknown = IkHash::from_bytes([7; 32]);
        let absent = choose(three(), &alice, Some(unknown)).unwrap_err();

        assert!(refused.contains("--key"), "{refused}");
        assert!(requests.contains("thief"), "{requests}");
        assert!(requests.contains(&key.to_string()), "{requests}");
        assert_eq!(named.newest.metadata.name.as_deref(), Some("again"));
        assert_eq!((named.key, named.older.len()), (key, 1));
        assert!(
            absent.to_string().contains(&unknown.to_string()),
            "{absent}"
        );
    }

    #[test]
    fn of_requests_with_one_key_the_newest_is_taken_and_one_without_is_none() {
        let alice = "alice".parse().unwrap();
        let rubbish = Waiting {
            key: Err(anyhow::anyhow!("rubbish")),
            ..waiting("rubbish", 9, 0)
        };

        let mut two = vec![waiting("old", 1, 1), waiting("new", 2, 1), rubbish];
        newest_first(&mut two);
        let chosen = choose(two, &alice, None).unwrap();

        assert_eq!(chosen.newest.metadata.name.as_deref(), Some("new"));
        let none = choose(Vec::new(), &alice, None).unwrap_err();
        assert!(none.to_string().contains("no request"), "{none}");
    }
}
