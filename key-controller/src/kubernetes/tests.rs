//! Root and ledger in Secrets of an API server of one page.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use chacha20::ChaCha20Rng;
use http::{Method, Request, Response, StatusCode};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::client::Body;
use node_identity::{Pin, UnixTime};
use rand_core::SeedableRng;
use serde_json::json;

use super::*;
use crate::ledger::{Ledger, LedgerError, pack, test_ledger};

const NOW: UnixTime = UnixTime(1_800_000_000);

/// The Secrets that there are, and how often one was written.
#[derive(Clone, Default)]
struct Api {
    secrets: Arc<Mutex<BTreeMap<String, Secret>>>,
    answers: Arc<Mutex<Option<StatusCode>>>,
}

impl Api {
    fn with(name: &str, entries: &[(&str, Vec<u8>)]) -> Self {
        let api = Self::default();
        let entries = entries
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
        let secret = Secret {
            metadata: kube::api::ObjectMeta {
                name: Some(name.to_owned()),
                resource_version: Some("1".to_owned()),
                labels: Some(BTreeMap::from([("kept".to_owned(), "yes".to_owned())])),
                ..kube::api::ObjectMeta::default()
            },
            data: Some(
                entries
                    .map(|(name, bytes)| (name, ByteString(bytes)))
                    .collect(),
            ),
            ..Secret::default()
        };
        api.secrets.lock().unwrap().insert(name.to_owned(), secret);
        api
    }

    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "sotto-system")
    }

    fn ledger(&self) -> SecretLedger {
        let empty = Ledger::empty("sotto.test".parse().unwrap(), Pin::from_bytes([7; 32]));
        SecretLedger::new(&self.client(), "sotto-system", empty)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let name = parts.uri.path().rsplit('/').next().unwrap().to_owned();
        let bytes = body.collect_bytes().await.unwrap();
        if let Some(status) = *self.answers.lock().unwrap() {
            return refusal(status);
        }
        let mut secrets = self.secrets.lock().unwrap();
        let Some(kept) = secrets.get_mut(&name) else {
            return refusal(StatusCode::NOT_FOUND);
        };
        if parts.method == Method::PUT {
            let mut new: Secret = serde_json::from_slice(&bytes).unwrap();
            if new.metadata.resource_version != kept.metadata.resource_version {
                return refusal(StatusCode::CONFLICT);
            }
            let version: u64 = new.metadata.resource_version.unwrap().parse().unwrap();
            new.metadata.resource_version = Some((version + 1).to_string());
            *kept = new;
        }
        let body = serde_json::to_vec(kept).unwrap();
        Response::new(Body::from(body))
    }
}

fn refusal(status: StatusCode) -> Response<Body> {
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        _ => "Refused",
    };
    let code = status.as_u16();
    let body = json!({"kind": "Status", "code": code, "message": "no", "reason": reason});
    let body = Body::from(serde_json::to_vec(&body).unwrap());
    Response::builder().status(status).body(body).unwrap()
}

#[tokio::test]
async fn a_secret_without_its_entry_is_the_ledger_of_a_root_that_has_signed_nothing() {
    let api = Api::with(LEDGER_SECRET, &[]);
    let home = api.ledger();

    let empty = home.read().await.unwrap();
    let written = home.replace(test_ledger(3, NOW), 0).await.unwrap();

    assert_eq!((empty.version, empty.nodes.len()), (0, 0));
    assert_eq!(home.read().await.unwrap(), written);
    assert_eq!(written.version, 1);
    let kept = api.secrets.lock().unwrap()[LEDGER_SECRET].clone();
    assert_eq!(kept.metadata.labels.unwrap()["kept"], "yes");
}

#[tokio::test]
async fn a_secret_that_cannot_be_written_is_named_with_what_helps() {
    let api = Api::with(LEDGER_SECRET, &[("ledger", pack(&test_ledger(3, NOW)))]);
    let home = api.ledger();

    for (status, cure) in [
        (StatusCode::UNPROCESSABLE_ENTITY, "immutable"),
        (StatusCode::FORBIDDEN, "ClusterRole"),
        (StatusCode::INTERNAL_SERVER_ERROR, "API server"),
    ] {
        *api.answers.lock().unwrap() = None;
        let ledger = home.read().await.unwrap();
        *api.answers.lock().unwrap() = Some(status);
        let error = home.replace(ledger, 0).await.unwrap_err();

        assert!(error.to_string().contains(cure), "{error}");
        assert!(error.may_pass());
    }
}

#[tokio::test]
async fn what_is_to_stay_free_keeps_a_ledger_out_and_less_of_it_lets_it_in() {
    let api = Api::with(LEDGER_SECRET, &[("ledger", pack(&test_ledger(3, NOW)))]);
    let home = api.ledger();
    let ledger = home.read().await.unwrap();

    let full = home.replace(ledger.clone(), 1024 * 1024).await.unwrap_err();

    assert!(matches!(full, LedgerError::Full { .. }) && full.may_pass());
    assert_eq!(home.replace(ledger, 0).await.unwrap().version, 1);
}

#[tokio::test]
async fn cp05_of_two_who_read_one_version_of_the_secret_one_writes() {
    let api = Api::with(LEDGER_SECRET, &[("ledger", pack(&test_ledger(3, NOW)))]);
    let (one, two) = (api.ledger(), api.ledger());
    let (first, second) = (one.read().await.unwrap(), two.read().await.unwrap());

    let won = one.replace(first, 0).await.unwrap();
    let lost = two.replace(second.clone(), 0).await.unwrap_err();
    let unread = two.replace(second, 0).await.unwrap_err();

    assert_eq!(won.version, 1);
    for error in [lost, unread] {
        assert!(
            matches!(error, LedgerError::Conflict { expected: 0 }),
            "{error}"
        );
        assert!(error.may_pass());
    }
    assert_eq!(two.read().await.unwrap(), won);
}

#[tokio::test]
async fn kl07_the_ledger_of_the_previous_root_becomes_the_new_ones_and_no_other() {
    let ledger = test_ledger(3, NOW);
    let (old, new, third) = (
        ledger.pin,
        Pin::from_bytes([8; 32]),
        Pin::from_bytes([9; 32]),
    );
    let api = Api::with(LEDGER_SECRET, &[("ledger", pack(&ledger))]);
    let home = api.ledger();
    let mut random = ChaCha20Rng::seed_from_u64(1);

    for (pin, previous) in [(new, None), (new, Some(third)), (old, Some(third))] {
        let left = home.take_over(pin, previous, NOW, &mut random).await;
        assert_eq!(left.unwrap(), ledger, "{pin} {previous:?}");
    }
    let taken = home
        .take_over(new, Some(old), NOW, &mut random)
        .await
        .unwrap();

    assert_eq!((taken.pin, taken.version), (new, ledger.version + 1));
    assert_eq!(home.read().await.unwrap(), taken);
    for (uid, node) in &taken.nodes {
        let before = &ledger.nodes[uid];
        assert!(node.serial > before.serial && node.pod_ranges == before.pod_ranges);
    }
    let again = home.take_over(new, Some(old), NOW, &mut random).await;
    assert_eq!(again.unwrap(), taken, "once");
}

#[tokio::test]
async fn cp16_a_missing_or_damaged_ledger_secret_is_for_a_person() {
    let packed = pack(&test_ledger(3, NOW));
    let apis = [
        Api::default(),
        Api::with(LEDGER_SECRET, &[("ledger", Vec::new())]),
        Api::with(
            LEDGER_SECRET,
            &[("ledger", packed[..packed.len() / 2].to_vec())],
        ),
        Api::with(LEDGER_SECRET, &[("ledger", b"sotto ledger 1".to_vec())]),
    ];

    for api in apis {
        let error = api.ledger().read().await.unwrap_err();

        assert!(!error.may_pass(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("sotto-system/sotto-ledger") && text.contains("backup"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn cp16_a_missing_or_damaged_root_secret_is_for_a_person_and_shows_no_key() {
    let secret = "MC4CAQAwBQYDK2VwBCIEIKsecret";
    let key = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n");
    let key = key.into_bytes();
    let apis = [
        Api::default(),
        Api::with(ROOT_SECRET, &[]),
        Api::with(ROOT_SECRET, &[("root.key", key.clone())]),
        Api::with(
            ROOT_SECRET,
            &[("root.key", vec![0xff; 40]), ("root.der", vec![0x30])],
        ),
        Api::with(ROOT_SECRET, &[("root.key", key), ("root.der", Vec::new())]),
    ];

    for api in apis {
        let error = open_root(&api.client(), "sotto-system")
            .await
            .err()
            .unwrap();

        assert!(!error.may_pass(), "{error}");
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("sotto-root") && text.contains("backup"),
            "{text}"
        );
        assert!(!text.contains(secret) && !text.contains("folder"), "{text}");
    }
}

#[tokio::test]
async fn an_api_that_is_away_or_refuses_is_tried_again() {
    let api = Api::with(LEDGER_SECRET, &[]);
    let home = api.ledger();
    home.read().await.unwrap();
    for status in [StatusCode::FORBIDDEN, StatusCode::INTERNAL_SERVER_ERROR] {
        *api.answers.lock().unwrap() = Some(status);

        assert!(home.read().await.unwrap_err().may_pass());
        assert!(
            open_root(&api.client(), "sotto-system")
                .await
                .err()
                .unwrap()
                .may_pass()
        );
    }
}
