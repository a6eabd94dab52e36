//! The store in an API server, from outside, against one that can be told to misbehave. Time is
//! the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod fake;
mod identities;
mod people;
mod requests;
mod watching;

use std::time::Duration;

use cluster_api::encode;
use cluster_store::kubernetes::{ControllerScope, KubernetesChanges, KubernetesStore};
use cluster_store::{ClusterStore, Published, StoreChanges};
use serde_json::{Value, json};

use fake::Fake;

const ALICE: &str = "8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11";
const BOB: &str = "f3b3d3d8-0e0b-4d8a-9a51-0c8a8f6f7b22";
const IDENTITIES: &str = "nodeidentities";
const REQUESTS: &str = "certificatesigningrequests";

fn node_store(fake: &Fake) -> KubernetesStore {
    KubernetesStore::for_node(fake.client(), "alice".parse().unwrap(), &[])
}

fn controller_store(fake: &Fake) -> KubernetesStore {
    KubernetesStore::for_controller(
        fake.client(),
        ControllerScope {
            namespace: "sotto-system".to_owned(),
            daemon_set: "sotto-node".to_owned(),
            external_addresses: false,
        },
        &[],
    )
}

fn identity(name: &str, uid: &str, certificate: &[u8]) -> Value {
    json!({
        "apiVersion": "sotto.dev/v1alpha1", "kind": "NodeIdentity",
        "metadata": { "name": name },
        "spec": { "nodeUID": uid, "certificate": encode(certificate), "revoked": false },
    })
}

fn names(published: &Published) -> Vec<&str> {
    let nodes = published.nodes.iter();
    let mut names: Vec<&str> = nodes
        .map(|node| node.name.as_ref().unwrap().as_str())
        .collect();
    names.sort_unstable();
    names
}

/// Waits until what is published is as wanted.
async fn until(
    store: &KubernetesStore,
    changes: &mut KubernetesChanges,
    limit: Duration,
    wanted: impl Fn(&Published) -> bool,
) {
    let seen = async {
        loop {
            if wanted(&store.published().await.unwrap()) {
                return;
            }
            changes.changed().await;
        }
    };
    tokio::time::timeout(limit, seen).await.expect("in time");
}
