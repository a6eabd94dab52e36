//! A store in memory that counts its calls and fails at the one that a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use cluster_store::{
    Answer, Departed, EnrolmentRequest, NodeView, Notice, PublishedNode, PublishedRoot, Requests,
    Stamp, StoreChanges,
};
use node_identity::NodeName;

use super::*;

#[derive(Clone, Default)]
pub(super) struct MemoryStore(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    roots: Vec<PublishedRoot>,
    nodes: BTreeMap<NodeUid, PublishedNode>,
    requests: BTreeMap<RequestId, StoredRequest>,
    gone: Vec<NodeUid>,
    /// How often requests were read, and their Pods and Nodes asked for.
    listed: usize,
    /// Whose Nodes were asked for.
    asked: Vec<NodeUid>,
    views: Vec<NodeView>,
    notices: Vec<Notice>,
    /// Every certificate that was ever published.
    history: Vec<Vec<u8>>,
    calls: usize,
    /// What was written, in order.
    written: Vec<&'static str>,
    fails_at: Option<usize>,
    /// Envelopes stay, as in Kubernetes while the Node is there.
    keeps_envelopes: bool,
    /// Their objects cannot be written.
    broken: Vec<NodeUid>,
    /// Their answers cannot be written.
    unanswerable: Vec<RequestId>,
    /// Writes that were refused.
    refusals: usize,
    /// Of whose Nodes nothing can be told.
    silent: Vec<NodeUid>,
    /// How long ago Pods and Nodes were asked for when requests are read.
    looks_back: Duration,
    /// No Node can be asked for.
    is_away: bool,
}

fn fault() -> StoreError {
    StoreError::WorkerGone {
        path: "memory".into(),
    }
}

/// As of an object that somebody filled up.
fn refusal(object: &str) -> StoreError {
    StoreError::TooLarge {
        name: object.to_owned(),
        length: 2,
        limit: 1,
    }
}

pub(super) struct Never;

impl StoreChanges for Never {
    async fn changed(&mut self) {
        std::future::pending().await
    }
}

impl MemoryStore {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    /// Counts a call that changes the store; it may be the one that fails.
    fn call(&self) -> Result<MutexGuard<'_, Content>, StoreError> {
        let mut content = self.content();
        content.calls += 1;
        if content.fails_at == Some(content.calls) {
            return Err(fault());
        }
        Ok(content)
    }

    pub(super) fn fail_at(&self, call: usize) {
        let mut content = self.content();
        content.calls = 0;
        content.fails_at = Some(call);
    }

    pub(super) fn break_nodes(&self, uids: impl IntoIterator<Item = NodeUid>) {
        self.content().broken = uids.into_iter().collect();
    }

    pub(super) fn break_answers(&self, ids: impl IntoIterator<Item = RequestId>) {
        self.content().unanswerable = ids.into_iter().collect();
    }

    /// How many writes were refused since the last question.
    pub(super) fn take_refusals(&self) -> usize {
        std::mem::take(&mut self.content().refusals)
    }

    pub(super) fn keep_envelopes(&self) {
        self.content().keeps_envelopes = true;
    }

    /// What was written since the last question.
    pub(super) fn take_written(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.content().written)
    }

    pub(super) fn calls(&self) -> usize {
        self.content().calls
    }

    pub(super) fn leave(&self, number: u8, request: EnrolmentRequest, stamp: Stamp) -> RequestId {
        let mut bytes = *identity(0).uid.as_bytes();
        bytes[0] = number;
        let digest = request.id().to_string();
        bytes[1..].copy_from_slice(&digest.as_bytes()[..15]);
        let id = RequestId::from_bytes(bytes);
        let stored = StoredRequest {
            id,
            request,
            requester: Requester::Stamped(Box::new(stamp)),
            state: RequestState::Waiting,
        };
        self.content().requests.insert(id, stored);
        id
    }

    pub(super) fn ask(&self, number: u32) -> RequestId {
        let (request, stamp) = asks(number, &key(number));
        self.leave(0, request, stamp)
    }

    pub(super) fn state(&self, id: &RequestId) -> RequestState {
        self.content().requests[id].state
    }

    pub(super) fn states(&self) -> Vec<RequestState> {
        let content = self.content();
        content.requests.values().map(|one| one.state).collect()
    }

    pub(super) fn node(&self, uid: &NodeUid) -> Option<PublishedNode> {
        self.content().nodes.get(uid).cloned()
    }

    pub(super) fn put_node(&self, node: PublishedNode) {
        self.content().nodes.insert(node.uid, node);
    }

    /// Everything that is published of nodes, for [`Self::put_nodes`].
    pub(super) fn nodes(&self) -> BTreeMap<NodeUid, PublishedNode> {
        self.content().nodes.clone()
    }

    pub(super) fn put_nodes(&self, nodes: BTreeMap<NodeUid, PublishedNode>) {
        self.content().nodes = nodes;
    }

    pub(super) fn root(&self) -> PublishedRoot {
        self.content().roots.last().unwrap().clone()
    }

    pub(super) fn set_gone(&self, gone: Vec<NodeUid>) {
        self.content().gone = gone;
    }

    pub(super) fn set_silent(&self, silent: Vec<NodeUid>) {
        self.content().silent = silent;
    }

    pub(super) fn look_back(&self, age: Duration) {
        self.content().looks_back = age;
    }

    pub(super) fn set_away(&self) {
        self.content().is_away = true;
    }

    pub(super) fn listed(&self) -> usize {
        self.content().listed
    }

    pub(super) fn asked(&self) -> Vec<NodeUid> {
        self.content().asked.clone()
    }

    pub(super) fn views(&self) -> Vec<NodeView> {
        self.content().views.clone()
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        self.content().notices.clone()
    }

    pub(super) fn history(&self) -> Vec<Vec<u8>> {
        self.content().history.clone()
    }
}

impl ClusterStore for MemoryStore {
    type Changes = Never;

    fn watch(&self) -> Result<Never, StoreError> {
        Ok(Never)
    }

    async fn published(&self) -> Result<Published, StoreError> {
        let content = self.content();
        Ok(Published {
            roots: content.roots.clone(),
            nodes: content.nodes.values().cloned().collect(),
            refused: Vec::new(),
        })
    }

    async fn publish_root(&self, root: &PublishedRoot) -> Result<(), StoreError> {
        let mut content = self.call()?;
        content.written.push("root");
        content.roots.retain(|one| one.pin != root.pin);
        content.roots.push(root.clone());
        Ok(())
    }

    async fn publish_certificate(&self, uid: &NodeUid, der: &[u8]) -> Result<(), StoreError> {
        let mut content = self.call()?;
        if content.broken.contains(uid) {
            content.refusals += 1;
            return Err(refusal(&uid.to_string()));
        }
        content.history.push(der.to_vec());
        content.written.push("certificate");
        let node = content.nodes.entry(*uid);
        node.or_insert_with(|| PublishedNode::empty(*uid))
            .certificate = Some(der.to_vec());
        Ok(())
    }

    async fn withdraw_node(&self, uid: &NodeUid, _: &NodeName) -> Result<(), StoreError> {
        let mut content = self.call()?;
        content.written.push("withdrawal");
        let keeps = content.keeps_envelopes;
        match content.nodes.get_mut(uid).filter(|_| keeps) {
            Some(node) => node.certificate = None,
            None => drop(content.nodes.remove(uid)),
        }
        Ok(())
    }

    async fn missing(&self, nodes: &[(NodeUid, NodeName)]) -> Result<Vec<NodeUid>, StoreError> {
        let gone = self.content().gone.clone();
        let nodes = nodes.iter().map(|(uid, _)| *uid);
        Ok(nodes.filter(|uid| gone.contains(uid)).collect())
    }

    async fn departed(&self, asked: &[(NodeUid, NodeName)]) -> Result<Departed, StoreError> {
        assert!(asked.len() <= 256, "{} at once", asked.len());
        let mut content = self.content();
        if content.is_away {
            return Err(fault());
        }
        let uids = asked.iter().map(|(uid, _)| *uid);
        content.asked.extend(uids.clone());
        let (silent, told): (Vec<_>, Vec<_>) = uids.partition(|uid| content.silent.contains(uid));
        let gone = told.into_iter().filter(|uid| content.gone.contains(uid));
        Ok(Departed {
            gone: gone.collect(),
            unknown: silent.into_iter().map(|uid| (uid, fault())).collect(),
        })
    }

    async fn show_nodes(&self, nodes: &[NodeView]) -> Result<(), StoreError> {
        self.call()?.views = nodes.to_vec();
        Ok(())
    }

    async fn notify(&self, notice: Notice) {
        self.content().notices.push(notice);
    }

    async fn publish_envelopes(&self, uid: &NodeUid, all: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut content = self.call()?;
        let Some(node) = content.nodes.get_mut(uid) else {
            let object = uid.to_string();
            return Err(StoreError::NotThere { object });
        };
        node.envelopes = all.to_vec();
        Ok(())
    }

    async fn submit_request(&self, request: &EnrolmentRequest) -> Result<RequestId, StoreError> {
        Ok(request.id())
    }

    async fn request_state(&self, id: &RequestId) -> Result<Option<RequestState>, StoreError> {
        Ok(self.content().requests.get(id).map(|one| one.state))
    }

    async fn requests(&self) -> Result<Requests, StoreError> {
        let mut content = self.content();
        content.listed += 1;
        let looked_up = Instant::now().checked_sub(content.looks_back);
        let mut requests: Vec<StoredRequest> = content.requests.values().cloned().collect();
        for request in &mut requests {
            if let Requester::Stamped(stamp) = &mut request.requester {
                stamp.looked_up = looked_up;
            }
        }
        Ok(Requests {
            requests,
            refused: Vec::new(),
        })
    }

    async fn answer_request(&self, id: &RequestId, answer: Answer<'_>) -> Result<(), StoreError> {
        let mut content = self.call()?;
        if content.unanswerable.contains(id) {
            content.refusals += 1;
            return Err(refusal(&id.to_string()));
        }
        content.written.push("answer");
        if let Some(request) = content.requests.get_mut(id) {
            request.state = answer.state();
        }
        Ok(())
    }

    async fn withdraw_request(&self, id: &RequestId) -> Result<(), StoreError> {
        self.call()?.requests.remove(id);
        Ok(())
    }
}
