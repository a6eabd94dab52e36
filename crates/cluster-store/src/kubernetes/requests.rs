//! Certificate signing requests: how a node leaves one, what the controller keeps of each, and how
//! it answers.
//!
//! Kept are the open ones. An answer that is final (a certificate, a denial, a failure) cannot be
//! taken back through the API, so such a request is done with.

use std::collections::BTreeMap;

use cluster_api::{
    AWAITS_APPROVAL, CONTROLLER_APPROVED, OPERATOR_APPROVED, PENDING_CONDITION, REFUSED,
    REQUEST_LABEL, SIGNER_NAME, pem,
};
use cluster_client::Lenient;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use node_identity::NodeName;

use super::faults::{failed, is_absent, is_conflict, readable};
use super::objects::{ATTEMPTS, contended};
use super::shelf::{Found, Kept};
use super::watches::guarded;
use crate::error::StoreError;
use crate::published::Refusal;
use crate::request::{
    Answer, EnrolmentRequest, MAX_REQUEST_BYTES, PendingReason, RequestId, RequestState,
};
use crate::requester::Stamp;

const CERTIFICATE: &str = "CERTIFICATE";
/// What a condition of a request says when it holds; the API knows no other for these.
const TRUE: &str = "True";
/// Longest part of a node's name in the name of its request: with prefix, hyphens and what the
/// API server appends it stays under 63.
const NAME_PART: usize = 40;
/// Most bytes of all that the API server stamped into a request. A name has at most 253, a UID
/// 36, and there are five of them.
const MAX_STAMPS: usize = 4_096;

/// A request that waits for an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Open {
    pub(super) id: RequestId,
    pub(super) pkcs10: Vec<u8>,
    pub(super) stamp: Stamp,
    pub(super) state: RequestState,
    made: i64,
}

impl Kept for Open {
    const KIND: &'static str = "certificatesigningrequests";
    /// The largest cluster planned for, restarting at once, on a controller that is slow.
    const MOST: usize = 10_000;
    const MOST_BYTES: usize = 64 << 20;
    /// One that is asked and those of a daemon that restarted a few times meanwhile.
    const MOST_OF_CROWD: usize = 4;

    fn bytes(&self) -> usize {
        let stamp = &self.stamp;
        let lists = [
            &stamp.pod_name,
            &stamp.pod_uid,
            &stamp.node_name,
            &stamp.node_uid,
        ];
        let stamps: usize = lists.into_iter().flatten().map(String::len).sum();
        size_of::<Self>() + self.pkcs10.len() + stamp.username.len() + stamps
    }

    fn crowd(&self) -> Option<(String, i64)> {
        let nodes = self.stamp.node_uid.join(",");
        Some((format!("{} {nodes}", self.stamp.username), self.made))
    }
}

/// What the controller keeps of a request.
pub(super) fn read(object: Lenient<CertificateSigningRequest>) -> Found<Open> {
    guarded(object, |object| {
        if object.spec.signer_name != SIGNER_NAME || !state(&object).is_open() {
            return Found::NOTHING;
        }
        match open(&object) {
            Ok(entry) => Found {
                entry: Some(entry),
                refused: None,
            },
            Err(reason) => Found::refused(reason),
        }
    })
}

fn open(object: &CertificateSigningRequest) -> Result<Open, Refusal> {
    let text = &object.spec.request.0;
    if text.len() > MAX_REQUEST_BYTES {
        return Err(Refusal::TooLarge);
    }
    let made = object.meta().creation_timestamp.as_ref();
    Ok(Open {
        id: id(object).ok_or(Refusal::Malformed)?,
        pkcs10: pem::read(REQUEST_LABEL, text).ok_or(Refusal::Malformed)?,
        stamp: stamp(object)?,
        state: state(object),
        made: made.map_or(0, |made| made.0.as_second()),
    })
}

fn stamp(object: &CertificateSigningRequest) -> Result<Stamp, Refusal> {
    let none = BTreeMap::new();
    let extra = object.spec.extra.as_ref().unwrap_or(&none);
    let values = |key: &str| {
        let values = extra.get(&format!("authentication.kubernetes.io/{key}"));
        values.cloned().unwrap_or_default()
    };
    let stamp = Stamp {
        username: object.spec.username.clone().unwrap_or_default(),
        pod_name: values("pod-name"),
        pod_uid: values("pod-uid"),
        node_name: values("node-name"),
        node_uid: values("node-uid"),
        operator_approved: condition(object, "Approved")
            .is_some_and(|found| found.reason.as_deref() == Some(OPERATOR_APPROVED)),
        ..Stamp::default()
    };
    let lists = [
        &stamp.pod_name,
        &stamp.pod_uid,
        &stamp.node_name,
        &stamp.node_uid,
    ];
    // Each value counts for more than its letters: empty ones cost memory too.
    let stamped: usize = lists
        .into_iter()
        .flatten()
        .map(|text| text.len() + 24)
        .sum();
    if stamped + stamp.username.len() > MAX_STAMPS {
        return Err(Refusal::TooLarge);
    }
    Ok(stamp)
}

/// The id of a request: the UID that the API server gave it.
pub(super) fn id(object: &impl Resource) -> Option<RequestId> {
    let digits = object.meta().uid.as_ref()?.replace('-', "");
    digits.parse().ok()
}

/// How far a request is.
pub(super) fn state(object: &CertificateSigningRequest) -> RequestState {
    if condition(object, "Denied").is_some() || condition(object, "Failed").is_some() {
        return RequestState::Refused;
    }
    if certificate(object).is_some() {
        return RequestState::Issued;
    }
    let pending = condition(object, PENDING_CONDITION).and_then(|found| found.reason.as_deref());
    pending
        .and_then(pending_reason)
        .map_or(RequestState::Waiting, RequestState::Pending)
}

fn condition<'a>(
    object: &'a CertificateSigningRequest,
    kind: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = object.status.as_ref()?.conditions.as_ref()?;
    let mut found = conditions.iter();
    found.find(|found| found.type_ == kind && found.status == TRUE)
}

fn certificate(object: &CertificateSigningRequest) -> Option<&ByteString> {
    let certificate = object.status.as_ref()?.certificate.as_ref()?;
    (!certificate.0.is_empty()).then_some(certificate)
}

const fn reason_word(reason: PendingReason) -> &'static str {
    match reason {
        PendingReason::NoFreePodRange => "NoFreePodRange",
        PendingReason::AwaitsApproval => AWAITS_APPROVAL,
        PendingReason::RateLimited => "RateLimited",
        PendingReason::NoNodePodRange => "NoNodePodRange",
        PendingReason::NoAddress => "NoAddress",
        PendingReason::HeldByDeparted => "HeldByDeparted",
    }
}

fn pending_reason(word: &str) -> Option<PendingReason> {
    [
        PendingReason::NoFreePodRange,
        PendingReason::AwaitsApproval,
        PendingReason::RateLimited,
        PendingReason::NoNodePodRange,
        PendingReason::NoAddress,
        PendingReason::HeldByDeparted,
    ]
    .into_iter()
    .find(|reason| reason_word(*reason) == word)
}

/// Leaves a request of a node.
pub(super) async fn submit(
    client: &kube::Client,
    node: &NodeName,
    request: &EnrolmentRequest,
) -> Result<Lenient<CertificateSigningRequest>, StoreError> {
    let part: String = node.as_str().chars().take(NAME_PART).collect();
    let object = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some(format!("sotto-{part}-")),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem::write(REQUEST_LABEL, &request.pkcs10)),
            signer_name: SIGNER_NAME.to_owned(),
            usages: Some(vec!["digital signature".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    Api::all(client.clone())
        .create(&PostParams::default(), &Lenient(Ok(object)))
        .await
        .map_err(failed(
            "create",
            format!("certificatesigningrequests of {node}"),
        ))
}

/// How far the request of that name is, if it is there.
pub(super) async fn state_of(
    client: &kube::Client,
    id: &RequestId,
    name: &str,
) -> Result<Option<RequestState>, StoreError> {
    let found = Api::<Lenient<CertificateSigningRequest>>::all(client.clone())
        .get_opt(name)
        .await
        .map_err(failed("get", format!("certificatesigningrequests {name}")))?
        .filter(|found| self::id(found).as_ref() == Some(id));
    let found = found.map(readable).transpose()?;
    Ok(found.map(|found| state(&found)))
}

/// Answers a request, as far as it is not answered for good.
pub(super) async fn answer(
    client: &kube::Client,
    id: &RequestId,
    name: &str,
    answer: Answer<'_>,
) -> Result<(), StoreError> {
    let api: Api<Lenient<CertificateSigningRequest>> = Api::all(client.clone());
    let what = || format!("certificatesigningrequests {name}");
    for _ in 0..ATTEMPTS {
        let found = api.get_opt(name).await.map_err(failed("get", what()))?;
        // Gone, or another one: nobody waits for this answer any more.
        let Some(found) = found.filter(|found| self::id(found).as_ref() == Some(id)) else {
            return Ok(());
        };
        let found = readable(found)?;
        if !state(&found).is_open() || state(&found) == answer.state() {
            return Ok(());
        }
        match write(&api, name, found, answer).await {
            Ok(()) => return Ok(()),
            Err((_, error)) if is_conflict(&error) => {}
            Err((_, error)) if is_absent(&error) => return Ok(()),
            Err(((verb, part), error)) => {
                return Err(failed(verb, format!("{}{part}", what()))(error));
            }
        }
    }
    Err(contended("update", what()))
}

type WriteError = ((&'static str, &'static str), kube::Error);

async fn write(
    api: &Api<Lenient<CertificateSigningRequest>>,
    name: &str,
    mut found: CertificateSigningRequest,
    answer: Answer<'_>,
) -> Result<(), WriteError> {
    let is_approved = condition(&found, "Approved").is_some();
    match answer {
        Answer::Issued(certificate) => {
            if !is_approved {
                set(
                    &mut found,
                    "Approved",
                    CONTROLLER_APPROVED,
                    "verified by Sotto",
                );
                found.metadata.resource_version = write_approval(api, name, &found).await?;
            }
            let certificate = ByteString(pem::write(CERTIFICATE, certificate));
            found.status.get_or_insert_default().certificate = Some(certificate);
            write_status(api, name, found).await
        }
        // Who is approved cannot be denied any more.
        Answer::Refused if is_approved => {
            set(&mut found, "Failed", REFUSED, "refused");
            write_status(api, name, found).await
        }
        Answer::Refused => {
            set(&mut found, "Denied", REFUSED, "refused");
            write_approval(api, name, &found).await.map(drop)
        }
        Answer::Pending(reason) => {
            let (word, text) = (reason_word(reason), reason.to_string());
            set(&mut found, PENDING_CONDITION, word, &text);
            write_status(api, name, found).await
        }
    }
}

/// Returns the version that the request has with its approval.
async fn write_approval(
    api: &Api<Lenient<CertificateSigningRequest>>,
    name: &str,
    object: &CertificateSigningRequest,
) -> Result<Option<String>, WriteError> {
    let parameters = PostParams::default();
    api.replace_subresource("approval", name, &parameters, object)
        .await
        .map(|written| written.resource_version())
        .map_err(|error| (("update", " (approval)"), error))
}

async fn write_status(
    api: &Api<Lenient<CertificateSigningRequest>>,
    name: &str,
    object: CertificateSigningRequest,
) -> Result<(), WriteError> {
    api.replace_status(name, &PostParams::default(), &Lenient(Ok(object)))
        .await
        .map(drop)
        .map_err(|error| (("update", " (status)"), error))
}

fn set(object: &mut CertificateSigningRequest, kind: &str, reason: &str, message: &str) {
    let status: &mut CertificateSigningRequestStatus = object.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|found| found.type_ != kind);
    conditions.push(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: TRUE.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: None,
        last_update_time: None,
    });
}

/// The selector of the requests that are the controller's.
pub(super) fn selector() -> String {
    format!("spec.signerName={SIGNER_NAME}")
}
