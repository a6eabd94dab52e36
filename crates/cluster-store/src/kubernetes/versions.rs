//! Notices that the API server has gone back: its etcd was restored from a backup. A watch goes on
//! from a version that is then still to come; until that is reached it tells nothing, and shows
//! what is gone.
//!
//! The version of an answer that is read from etcd itself is never below one seen before. Only
//! versions of our own kinds are compared: others may be kept in another etcd. They are numbers in
//! every API server; what is none is passed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster_api::RevocationList;
use cluster_client::Lenient;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::patience::chance_of;

/// How often it is looked, about (a guess: one small request a minute of each node).
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The newest version that a store has seen, and whom to tell that it is no more.
#[derive(Debug, Clone)]
pub(super) struct Versions {
    newest: Arc<AtomicU64>,
    gone_back: watch::Sender<()>,
}

impl Versions {
    pub(super) fn new() -> Self {
        Self {
            newest: Arc::default(),
            gone_back: watch::Sender::new(()),
        }
    }

    /// Tells each time that the server has gone back.
    pub(super) fn gone_back(&self) -> watch::Receiver<()> {
        self.gone_back.subscribe()
    }

    /// Takes note of an object that was seen.
    pub(super) fn saw<T: Resource<DynamicType = ()>>(&self, object: &T) {
        if T::group(&()) == cluster_api::GROUP
            && let Some(version) = number(object.meta().resource_version.as_deref())
        {
            self.newest.fetch_max(version, Ordering::Relaxed);
        }
    }

    /// Looks again and again. What fails is left to the watches to tell.
    pub(super) async fn keep_looking(self, client: Client) {
        let api: Api<Lenient<RevocationList>> = Api::all(client);
        // No object has this name: the version alone is wanted.
        let nothing = ListParams::default().fields("metadata.name=-").limit(1);
        loop {
            let before = self.newest.load(Ordering::Relaxed);
            match api.list(&nothing).await {
                Ok(list) => self.compare(before, list.metadata.resource_version.as_deref()),
                Err(error) => debug!(%error, "Version not looked at"),
            }
            sleep(LOOK_EVERY * 3 / 4 + chance_of(LOOK_EVERY / 2)).await;
        }
    }

    /// `before` was seen before the question was asked that was answered with the version `now`.
    fn compare(&self, before: u64, now: Option<&str>) {
        let Some(now) = number(now) else {
            return;
        };
        if now >= before {
            self.newest.fetch_max(now, Ordering::Relaxed);
            return;
        }
        warn!(
            before,
            now, "API server has gone back, was its etcd restored? Everything is listed anew"
        );
        self.newest.store(now, Ordering::Relaxed);
        self.gone_back.send_replace(());
    }
}

fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}
