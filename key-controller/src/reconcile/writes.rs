//! Writes to many objects: several at a time, and none keeps the others from theirs. What one object
//! refuses is that object's matter, for whoever may write into it can make it refuse; only errors of
//! the store as a whole end a step.

use std::collections::HashMap;
use std::future::Future;
use std::time::Instant;

use cluster_store::StoreError;
use futures_util::{StreamExt, stream};
use node_identity::NodeUid;

/// How many writes are under way at a time.
const AT_ONCE: usize = 8;

/// How many writes may fail before the store as a whole is taken to be away (a guess).
const MOST_FAILED: usize = 8;

/// Most objects that refused their last write and are tried again in one step (a guess: a fraction of
/// a second); the others have their turn in the next ones.
const MOST_RETRIED: usize = 64;

/// What became of many writes.
#[derive(Debug)]
pub(super) struct Written<K> {
    /// Those that were made.
    pub(super) done: Vec<K>,
    /// Those that their object refused.
    pub(super) refused: Vec<(K, StoreError)>,
    /// The first error of the store as a whole.
    pub(super) failed: Option<StoreError>,
    /// Whether the rest was not tried.
    pub(super) gave_up: bool,
}

/// Makes the writes, in any order.
pub(super) async fn write_all<K, W>(writes: impl IntoIterator<Item = W>) -> Written<K>
where
    W: Future<Output = (K, Result<(), StoreError>)>,
{
    let mut written = Written {
        done: Vec::new(),
        refused: Vec::new(),
        failed: None,
        gave_up: false,
    };
    let mut failures = 0;
    let mut under_way = stream::iter(writes).buffer_unordered(AT_ONCE);
    while let Some((key, outcome)) = under_way.next().await {
        match outcome {
            Ok(()) => written.done.push(key),
            Err(error) if error.is_of_one_object() => written.refused.push((key, error)),
            Err(error) => {
                failures += 1;
                written.failed.get_or_insert(error);
                if failures > MOST_FAILED {
                    written.gave_up = true;
                    break;
                }
            }
        }
    }
    written
}

/// The nodes whose objects refused their last write, and when that was.
#[derive(Debug, Default)]
pub(super) struct Refusing(HashMap<NodeUid, Instant>);

impl Refusing {
    /// Whose turn it is: who refused nothing, and then those of the others that were tried longest ago.
    pub(super) fn turns<T>(&self, all: Vec<T>, uid: impl Fn(&T) -> NodeUid) -> Vec<T> {
        let refused = |one: &T| self.0.get(&uid(one)).copied();
        let (mut again, mut turns): (Vec<T>, Vec<T>) =
            all.into_iter().partition(|one| refused(one).is_some());
        again.sort_by_key(refused);
        again.truncate(MOST_RETRIED);
        turns.append(&mut again);
        turns
    }

    /// Notes what became of the writes.
    pub(super) fn note(&mut self, written: &Written<NodeUid>) {
        for uid in &written.done {
            self.0.remove(uid);
        }
        let now = Instant::now();
        let refused = written.refused.iter().map(|(uid, _)| (*uid, now));
        self.0.extend(refused);
    }

    /// Forgets nodes that are not among these.
    pub(super) fn retain(&mut self, is_known: impl Fn(&NodeUid) -> bool) {
        self.0.retain(|uid, _| is_known(uid));
    }
}
