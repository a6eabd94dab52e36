//! What a store remembers besides its watches, by the side that it was opened for.

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use node_identity::{NodeName, NodeUid};
use tokio::time::Instant;
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
/// Most reasons for which requests cannot be looked into that are named in [`COMPLAINTS`] (a guess:
/// strangers choose how many there are).
const MOST_COMPLAINTS: usize = 16;
/// The time in which each is named once.
const COMPLAINTS: Duration = Duration::from_secs(60);

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
    pub(super) complaints: Mutex<Complaints>,
}

/// What was said lately of requests that cannot be looked into.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    since: Option<Instant>,
    said: BTreeSet<String>,
}

impl Complaints {
    /// Whether this is to be said now; it then counts as said.
    fn admits(&mut self, what: String) -> bool {
        if self.since.is_none_or(|since| since.elapsed() >= COMPLAINTS) {
            self.since = Some(Instant::now());
            self.said.clear();
        }
        self.said.len() < MOST_COMPLAINTS && self.said.insert(what)
    }
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
            if complaints.admits(error.to_string()) {
                let error: &dyn Error = error;
                warn!(error, "A request cannot be looked into, it waits");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_complaint_is_made_once_a_minute_and_a_flood_of_them_is_bounded() {
        let mut complaints = Complaints::default();
        let mut said = |what: &str| complaints.admits(what.to_owned());

        assert!(said("get pods a"));
        assert!(!said("get pods a"));
        assert!(said("get nodes b"), "another trouble is not passed over");
        let flood = (0..1_000).filter(|number| said(&number.to_string()));
        assert_eq!(flood.count(), MOST_COMPLAINTS - 2);

        tokio::time::advance(COMPLAINTS).await;
        assert!(said("get pods a"), "it lasts");
    }
}
