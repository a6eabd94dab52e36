//! The store as objects of a Kubernetes API server.
//!
//! What is published is read from watches that the store keeps (`watches.rs`), so that a change
//! costs no list; what decides about an identity is asked for live (`nodes.rs`). Whatever others
//! can write is bounded (`shelf.rs`), and what is passed over is named.
//!
//! ```text
//! NodeIdentity  (identities.rs)  spec by the controller, status by the node
//! RevocationList     (roots.rs)  by the controller
//! CertificateSigningRequest (requests.rs)  by the node, answered by the controller
//! Peer, Event (peers.rs, status.rs, events.rs)  by both, for people
//! ```

mod conditions;
mod events;
mod faults;
mod identities;
mod metadata;
mod nodes;
mod objects;
mod patience;
mod peers;
mod requests;
mod roles;
mod roots;
mod shelf;
mod status;
mod versions;
mod watches;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use cluster_client::Lenient;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use node_identity::{NodeName, NodeUid, Pin, UnixTime};
use node_status::NodeStatus;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use crate::error::StoreError;
use crate::published::{Published, PublishedNode, PublishedRoot};
use crate::request::{Answer, EnrolmentRequest, RequestId, RequestState, Requests, StoredRequest};
use crate::requester::{Departed, Requester};
use crate::view::{NodeView, Notice};
use crate::{ClusterStore, MAX_ENVELOPES};
use events::Events;
use metadata::metadata_only;
use requests::Open;
use roles::{Asked, OfController, OfNode, Role};
use shelf::Shelf;
use watches::{Watched, Watches, watch_config};

pub use watches::KubernetesChanges;

/// How often the controller looks without having been told: that a Node got addresses or a pod
/// range is told to nobody.
const CONTROLLER_POLL: Duration = Duration::from_secs(10);
/// How often a node does: its watches tell everything.
const NODE_POLL: Duration = Duration::from_secs(60);

/// A [`ClusterStore`] kept in an API server. Clones share their watches, which end with the last
/// of them and of their [`KubernetesChanges`].
#[derive(Clone)]
pub struct KubernetesStore {
    inner: Arc<Inner>,
}

/// What the controller's store has to know of the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerScope {
    /// The namespace that Sotto runs in.
    pub namespace: String,
    /// The daemons' DaemonSet.
    pub daemon_set: String,
    /// Whether nodes are certified for their ExternalIPs too.
    pub external_addresses: bool,
}

struct Inner {
    client: Client,
    identities: Arc<Watched<PublishedNode>>,
    roots: Arc<Watched<PublishedRoot>>,
    role: Role,
    wake: watch::Sender<()>,
    tasks: Arc<JoinSet<()>>,
    events: Events,
}

impl KubernetesStore {
    /// A store as a node's daemon uses it, which has room for the roots of `pins` whatever else is
    /// published. Must be called inside a runtime, where it watches.
    #[must_use]
    pub fn for_node(client: Client, name: NodeName, pins: &[Pin]) -> Self {
        Self::start(client, pins, |_, _| {
            Role::Node(Box::new(OfNode {
                name,
                asked: Mutex::default(),
                conditions: tokio::sync::Mutex::default(),
            }))
        })
    }

    /// A store as the controller of the roots of `pins` uses it, with room for these too. Must be
    /// called inside a runtime, where it watches.
    #[must_use]
    pub fn for_controller(client: Client, scope: ControllerScope, pins: &[Pin]) -> Self {
        Self::start(client, pins, |client, watches| {
            let requests: Api<Lenient<CertificateSigningRequest>> = Api::all(client.clone());
            let ours = watch_config().fields(&requests::selector());
            let nodes: Api<Lenient<PartialObjectMeta<Node>>> = Api::all(metadata_only(client));
            Role::Controller(Box::new(OfController {
                scope,
                requests: watches.begin(requests, ours, Shelf::default(), requests::read),
                nodes: watches.begin(nodes, watch_config(), Shelf::default(), nodes::read),
                shown: tokio::sync::Mutex::default(),
                turn: Mutex::default(),
                complaints: Mutex::default(),
            }))
        })
    }

    fn start(
        client: Client,
        pins: &[Pin],
        role: impl FnOnce(&Client, &mut Watches) -> Role,
    ) -> Self {
        let client = patience::patient(client);
        let mut watches = Watches::of(&client);
        let api = Api::all(client.clone());
        let identities = watches.begin(api, watch_config(), Shelf::default(), identities::read);
        let api = Api::all(client.clone());
        let awaited = pins.iter().map(cluster_api::object_name);
        let roots = watches.begin(api, watch_config(), Shelf::awaiting(awaited), roots::read);
        let role = role(&client, &mut watches);
        let writer = match &role {
            Role::Node(_) => "sotto-node",
            Role::Controller(_) => "sotto-controller",
        };
        let events = Events::start(&mut watches.tasks, client.clone(), writer);
        Self {
            inner: Arc::new(Inner {
                client,
                identities,
                roots,
                role,
                wake: watches.wake,
                tasks: Arc::new(watches.tasks),
                events,
            }),
        }
    }

    fn node(&self) -> Result<&OfNode, StoreError> {
        match &self.inner.role {
            Role::Node(node) => Ok(node),
            Role::Controller(_) => Err(StoreError::WrongRole { role: "a node" }),
        }
    }

    fn controller(&self) -> Result<&OfController, StoreError> {
        match &self.inner.role {
            Role::Controller(controller) => Ok(controller),
            Role::Node(_) => Err(StoreError::WrongRole {
                role: "the controller",
            }),
        }
    }

    /// Whether the watch shows that very certificate.
    fn shows_certificate(&self, uid: &NodeUid, name: &NodeName, certificate: &[u8]) -> bool {
        let shelf = self.inner.identities.shelf();
        shelf.entry(name.as_str()).is_some_and(|entry| {
            entry.uid == *uid && entry.certificate.as_deref() == Some(certificate)
        })
    }
}

impl ClusterStore for KubernetesStore {
    type Changes = KubernetesChanges;

    fn watch(&self) -> Result<KubernetesChanges, StoreError> {
        let poll = match &self.inner.role {
            Role::Node(_) => NODE_POLL,
            Role::Controller(_) => CONTROLLER_POLL,
        };
        let wakes = self.inner.wake.subscribe();
        let tasks = Arc::clone(&self.inner.tasks);
        Ok(KubernetesChanges::new(wakes, poll, tasks))
    }

    async fn published(&self) -> Result<Published, StoreError> {
        // While one kind can be followed, what it brings counts. With none of them the way to the server
        // may be at fault, which only whoever opened the store can mend.
        if let (Some(error), Some(_)) = (self.inner.roots.stale(), self.inner.identities.stale()) {
            return Err(error);
        }
        let mut published = Published::default();
        {
            let roots = self.inner.roots.listed().await?;
            published.roots = roots.entries().map(|(_, root)| root.clone()).collect();
            published.refused = roots.refused().collect();
        }
        {
            let identities = self.inner.identities.listed().await?;
            published.nodes = identities.entries().map(|(_, node)| node.clone()).collect();
            published.refused.extend(identities.refused());
        }
        published
            .nodes
            .sort_by(|one, other| (one.uid, &one.name).cmp(&(other.uid, &other.name)));
        Ok(published)
    }

    async fn publish_root(&self, root: &PublishedRoot) -> Result<(), StoreError> {
        let name = cluster_api::object_name(&root.pin);
        if self.inner.roots.shelf().entry(&name) == Some(root) {
            return Ok(());
        }
        roots::publish(&self.inner.client, root).await
    }

    async fn publish_certificate(
        &self,
        node: &NodeUid,
        certificate: &[u8],
    ) -> Result<(), StoreError> {
        let name = identities::certified_name(node, certificate)?;
        if self.shows_certificate(node, &name, certificate) {
            return Ok(());
        }
        identities::publish_certificate(&self.inner.client, node, &name, certificate).await
    }

    async fn withdraw_node(&self, node: &NodeUid, name: &NodeName) -> Result<(), StoreError> {
        let client = &self.inner.client;
        if self.controller()?.is_present(node, name) {
            let is_withdrawn = {
                let shelf = self.inner.identities.shelf();
                shelf.entry(name.as_str()).is_some_and(|entry| {
                    entry.uid == *node && entry.revocation_wanted && entry.certificate.is_none()
                })
            };
            if is_withdrawn {
                return Ok(());
            }
            return identities::withdraw_certificate(client, node, name).await;
        }
        if !nodes::is_gone(client, node, name).await? {
            return identities::withdraw_certificate(client, node, name).await;
        }
        identities::remove_identity(client, node, name).await?;
        peers::remove_peer(client, node, name).await
    }

    async fn missing(&self, nodes: &[(NodeUid, NodeName)]) -> Result<Vec<NodeUid>, StoreError> {
        let controller = self.controller()?;
        nodes::missing(&controller.nodes, nodes).await
    }

    async fn departed(&self, nodes: &[(NodeUid, NodeName)]) -> Result<Departed, StoreError> {
        nodes::departed(&self.inner.client, nodes).await
    }

    async fn show_nodes(&self, nodes: &[NodeView]) -> Result<(), StoreError> {
        let mut shown = self.controller()?.shown.lock().await;
        peers::show_nodes(&self.inner.client, &mut shown, nodes).await
    }

    async fn show_status(&self, status: &NodeStatus) -> Result<(), StoreError> {
        let node = self.node()?;
        let client = &self.inner.client;
        let mut conditions = node.conditions.lock().await;
        if conditions.is_none() {
            *conditions = peers::standing_conditions(client, &node.name).await?;
        }
        let Some(before) = conditions.as_ref() else {
            return Ok(());
        };
        let shown = status::peer_status(status, before, now());
        let is_there = peers::write_status(client, &node.name, &shown).await?;
        *conditions = is_there.then_some(shown.conditions);
        Ok(())
    }

    async fn notify(&self, notice: Notice) {
        self.inner.events.tell(notice);
    }

    async fn publish_envelopes(
        &self,
        node: &NodeUid,
        envelopes: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        let of_node = self.node()?;
        if envelopes.len() > MAX_ENVELOPES {
            return Err(StoreError::TooManyEnvelopes {
                node: of_node.name.to_string(),
                count: envelopes.len(),
            });
        }
        let found = self
            .inner
            .identities
            .shelf()
            .entry(of_node.name.as_str())
            .cloned();
        match found {
            Some(found) if found.uid != *node => Err(StoreError::NotThere {
                object: format!("nodeidentities {} of node {node}", of_node.name),
            }),
            Some(found) if found.envelopes == envelopes => Ok(()),
            Some(_) | None => {
                identities::publish_envelopes(&self.inner.client, &of_node.name, envelopes).await
            }
        }
    }

    async fn submit_request(&self, request: &EnrolmentRequest) -> Result<RequestId, StoreError> {
        let node = self.node()?;
        if let Some(id) = node.asked_already(request) {
            match self.request_state(&id).await? {
                Some(RequestState::Waiting | RequestState::Pending(_)) => return Ok(id),
                Some(RequestState::Issued | RequestState::Refused) | None => {}
            }
        }
        let object = requests::submit(&self.inner.client, &node.name, request).await?;
        let id = requests::id(&object).ok_or_else(|| StoreError::NoUid {
            object: format!("certificatesigningrequests {}", object.name_any()),
        })?;
        node.remember(Asked {
            id,
            name: object.name_any(),
            pkcs10: request.pkcs10.clone(),
        });
        Ok(id)
    }

    async fn request_state(&self, id: &RequestId) -> Result<Option<RequestState>, StoreError> {
        let Some(name) = self.node()?.name_of(id) else {
            return Ok(None);
        };
        requests::state_of(&self.inner.client, id, &name).await
    }

    async fn requests(&self) -> Result<Requests, StoreError> {
        let controller = self.controller()?;
        let (open, refused) = {
            let shelf = controller.requests.listed().await?;
            let open: Vec<Open> = shelf.entries().map(|(_, open)| open.clone()).collect();
            (open, shelf.refused().collect())
        };
        let open = controller.take_turns(open);
        let found = nodes::look_up(&self.inner.client, &controller.scope, open).await?;
        controller.end_turn(found.last().map(|(id, _)| *id));
        controller.complain(found.iter().filter_map(|(_, found)| found.as_ref().err()));
        let mut requests: Vec<StoredRequest> = found
            .into_iter()
            .filter_map(|(_, found)| found.ok())
            .map(|open| StoredRequest {
                id: open.id,
                request: EnrolmentRequest {
                    pkcs10: open.pkcs10,
                    token: None,
                },
                requester: Requester::Stamped(Box::new(open.stamp)),
                state: open.state,
            })
            .collect();
        requests.sort_by_key(|request| request.id);
        Ok(Requests { requests, refused })
    }

    async fn answer_request(&self, id: &RequestId, answer: Answer<'_>) -> Result<(), StoreError> {
        let watched = &self.controller()?.requests;
        let name = {
            let shelf = watched.shelf();
            let mut entries = shelf.entries();
            entries
                .find(|(_, open)| open.id == *id)
                .map(|(name, _)| name.to_owned())
        };
        let Some(name) = name else {
            debug!(%id, "Request is gone, nobody waits for the answer");
            return Ok(());
        };
        requests::answer(&self.inner.client, id, &name, answer).await?;
        match answer {
            Answer::Issued(_) | Answer::Refused => watched.shelf().done_with(&name),
            Answer::Pending(_) => {}
        }
        Ok(())
    }

    /// Only forgets it: Kubernetes itself removes requests, an hour after they were answered.
    async fn withdraw_request(&self, id: &RequestId) -> Result<(), StoreError> {
        match &self.inner.role {
            Role::Node(node) => lock(&node.asked).retain(|asked| asked.id != *id),
            Role::Controller(_) => {}
        }
        Ok(())
    }
}

impl fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesStore").finish_non_exhaustive()
    }
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixTime(since.unwrap_or_default().as_secs())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
