//! What a store remembers besides its watches, by the side that it was opened for.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use node_identity::{NodeName, NodeUid};
use service_log::Once;
use tracing::warn;

use super::nodes::Present;
use super::requests::Open;
use super::watches::Watched;
use super::{ControllerScope, lock, peers};
use crate::error::StoreError;
use crate::request::{EnrolmentRequest, RequestId};

/// Requests of its own that a node remembers; there is one at a time.
const MOST_OWN_REQUESTS: usize = 16;
/// Most requests that are looked into at a time: two questions each, and four to six more for those that
/// are granted (a guess: a few seconds of a busy server, and a revocation waits as long). The rest has
/// its turn the next time.
const MOST_AT_A_TIME: usize = 256;
/// Boxed, since a program has one of them.
pub(super) enum Role {
    Node(Box<OfNode>),
    Controller(Box<OfController>),
}

pub(super) struct OfNode {
    pub(super) name: NodeName,
    /// What was asked, by which id, and what that object is called.
    pub(super) asked: Mutex<VecDeque<Asked>>,
    /// The conditions that were shown last.
    pub(super) conditions: tokio::sync::Mutex<Option<Vec<Condition>>>,
}

pub(super) struct Asked {
    pub(super) id: RequestId,
    pub(super) name: String,
    pub(super) pkcs10: Vec<u8>,
}

pub(super) struct OfController {
    pub(super) scope: ControllerScope,
    pub(super) requests: Arc<Watched<Open>>,
    pub(super) nodes: Arc<Watched<Present>>,
    pub(super) shown: tokio::sync::Mutex<peers::Shown>,
    /// The last request that was looked into.
    pub(super) turn: Mutex<Option<RequestId>>,
    /// Why requests could not be looked into, as it was said.
    pub(super) complaints: Mutex<Once>,
}

impl OfNode {
    pub(super) fn asked_already(&self, request: &EnrolmentRequest) -> Option<RequestId> {
        let asked = lock(&self.asked);
        let mut same = asked.iter().filter(|asked| asked.pkcs10 == request.pkcs10);
        same.next_back().map(|asked| asked.id)
    }

    pub(super) fn name_of(&self, id: &RequestId) -> Option<String> {
        let asked = lock(&self.asked);
        let found = asked.iter().find(|asked| asked.id == *id);
        found.map(|asked| asked.name.clone())
    }

    pub(super) fn remember(&self, asked: Asked) {
        let mut all = lock(&self.asked);
        if all.len() >= MOST_OWN_REQUESTS {
            all.pop_front();
        }
        all.push_back(asked);
    }
}

impl OfController {
    /// Whether the watch shows that very Node. When it does not, that proves nothing.
    pub(super) fn is_present(&self, uid: &NodeUid, name: &NodeName) -> bool {
        self.nodes.is_complete()
            && self
                .nodes
                .shelf()
                .entry(name.as_str())
                .is_some_and(|found| found.is(uid))
    }

    /// The requests whose turn it is, from where the last look ended.
    pub(super) fn take_turns(&self, mut open: Vec<Open>) -> Vec<Open> {
        open.sort_by_key(|open| open.id);
        let turn = *lock(&self.turn);
        let passed = open.partition_point(|open| Some(open.id) <= turn);
        open.rotate_left(passed);
        open.truncate(MOST_AT_A_TIME);
        open
    }

    /// Notes where a look ended; one that came to nothing is repeated.
    pub(super) fn end_turn(&self, last: Option<RequestId>) {
        let mut turn = lock(&self.turn);
        *turn = last.or(*turn);
    }

    /// Says why requests cannot be looked into.
    pub(super) fn complain<'a>(&self, errors: impl Iterator<Item = &'a StoreError>) {
        let mut complaints = lock(&self.complaints);
        for error in errors {
            if complaints.admits(error.to_string(), Instant::now()) {
                let error: &dyn Error = error;
                warn!(error, "A request cannot be looked into, it waits");
            }
        }
    }
}
