//! The ledger in a Secret that only the controller may read and write: replaced only as long as its
//! resourceVersion is the one that was read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use node_identity::{Pin, UnixTime};
use rand_core::CryptoRng;
use tracing::warn;

use super::{LEDGER as ENTRY, LEDGER_SECRET, is_conflict};
use crate::ledger::{Ledger, LedgerError, pack, unpack};

/// What the API server takes as the content of one Secret.
const MOST_BYTES: usize = 1024 * 1024;

/// Where the ledger is kept.
#[derive(Debug)]
pub(crate) struct SecretLedger {
    secrets: Api<Secret>,
    name: String,
    empty: Box<Ledger>,
    /// The object as it was read last, without its entry, and the version of the ledger in that.
    read: Mutex<Option<(u64, Secret)>>,
    bytes: AtomicU64,
}

impl SecretLedger {
    /// Names the ledger of a namespace; `empty` is the one of a root that has signed nothing.
    pub(crate) fn new(client: &Client, namespace: &str, empty: Ledger) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            name: format!("{namespace}/{LEDGER_SECRET}"),
            empty: Box::new(empty),
            read: Mutex::default(),
            bytes: AtomicU64::default(),
        }
    }

    /// Reads the ledger.
    pub(crate) async fn read(&self) -> Result<Ledger, LedgerError> {
        let secret = self.secrets.get_opt(LEDGER_SECRET).await;
        let mut secret = secret
            .map_err(|error| self.failed("read", error))?
            .ok_or_else(|| LedgerError::NoSecret {
                secret: self.name.clone(),
            })?;
        let ledger = content(&secret, &self.empty).map_err(|what| LedgerError::DamagedSecret {
            secret: self.name.clone(),
            what,
        })?;
        let entry = secret
            .data
            .as_mut()
            .and_then(|entries| entries.remove(ENTRY));
        let bytes = entry.map_or(0, |entry| entry.0.len() as u64);
        self.bytes.store(bytes, Ordering::Relaxed);
        *self.remembered() = Some((ledger.version, secret));
        Ok(ledger)
    }

    /// Reads the ledger; one of the root before this one becomes this one's.
    pub(crate) async fn take_over(
        &self,
        pin: Pin,
        previous: Option<Pin>,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Result<Ledger, LedgerError> {
        let mut ledger = self.read().await?;
        if ledger.pin == pin || previous != Some(ledger.pin) {
            return Ok(ledger);
        }
        warn!(from = %ledger.pin, to = %pin, "Ledger taken over from the previous root");
        ledger.hand_over(pin, now, random);
        self.replace(ledger, 0).await
    }

    /// Replaces the ledger that was read last by its next version, unless somebody else was faster or
    /// fewer than `kept_free` bytes would stay free.
    pub(crate) async fn replace(
        &self,
        mut next: Ledger,
        kept_free: usize,
    ) -> Result<Ledger, LedgerError> {
        let expected = next.version;
        let conflict = LedgerError::Conflict { expected };
        let read = self.remembered().clone();
        let Some((_, mut secret)) = read.filter(|(read, _)| *read == expected) else {
            return Err(conflict);
        };
        next.version = next.version.saturating_add(1);
        let bytes = pack(&next);
        let limit = MOST_BYTES.saturating_sub(kept_free);
        if bytes.len() > limit {
            return Err(LedgerError::Full {
                secret: self.name.clone(),
                bytes: bytes.len(),
                limit,
            });
        }
        let length = bytes.len() as u64;
        let entries = secret.data.get_or_insert_default();
        entries.insert(ENTRY.to_owned(), ByteString(bytes));
        let post = PostParams::default();
        match self.secrets.replace(LEDGER_SECRET, &post, &secret).await {
            Ok(_) => {
                self.bytes.store(length, Ordering::Relaxed);
                Ok(next)
            }
            Err(error) if is_conflict(&error) => Err(conflict),
            Err(error) => Err(self.failed("write", error)),
        }
    }

    /// Bytes of the ledger as it was last read or written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Option<(u64, Secret)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, verb: &'static str, error: kube::Error) -> LedgerError {
        LedgerError::Api {
            verb,
            secret: self.name.clone(),
            cure: cure(&error),
            source: Box::new(error),
        }
    }
}

/// What is likely to help.
fn cure(error: &kube::Error) -> &'static str {
    let kube::Error::Api(status) = error else {
        return "does the API server answer?";
    };
    match status.code {
        401 | 403 => "does the ClusterRole allow it?",
        422 => "was the Secret made immutable? Make it anew from its content",
        _ => "what is wrong with the API server?",
    }
}

fn content(secret: &Secret, empty: &Ledger) -> Result<Ledger, String> {
    let entries = secret.data.as_ref();
    match entries.and_then(|entries| entries.get(ENTRY)) {
        Some(bytes) => unpack(&bytes.0),
        None => Ok(empty.clone()),
    }
}
