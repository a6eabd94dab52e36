//! Carries out what the control task asks of the store, and tells it what is published.
//!
//! A store that cannot be reached changes nothing for peers that are known: this task tries again,
//! says so once when the trouble begins and once when it ends, and the control task keeps what it
//! has. Reading, writing and showing do not wait for one another.

mod people;
mod trouble;
mod write;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use cluster_client::{Access, connect};
use cluster_store::kubernetes::KubernetesStore;
use cluster_store::{
    ClusterStore, DirectoryStore, EnrolmentRequest, Published, RequestId, RequestState,
    StoreChanges, StoreError,
};
use node_identity::{Pin, SpiffeId};
use rand_core::Rng;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep};

use crate::config::{Config, Kubernetes, Store};
use crate::enrol::Ask;
use crate::io::random;

pub(crate) use people::{People, PeopleEnd, people};
use trouble::Trouble;

/// Nodes that start together come to the API server over so long; those that know their peers lose
/// nothing by it (a guess: 200 lists a second of a cluster of 1 000).
const SPREAD: Duration = Duration::from_secs(5);
/// A node without a certificate is waited for, see B2.
const SPREAD_OF_NEW: Duration = Duration::from_secs(1);
/// An API server's store keeps its watches while it is in trouble. After so long it is made anew, in
/// case what it was made of has changed.
const ANEW_AFTER: Duration = Duration::from_secs(300);

/// The least time between two readings, for each node that the last one found: each costs the control
/// task some microseconds, and whoever changes something all the time must not keep it busy.
const REST_PER_NODE: Duration = Duration::from_micros(100);

/// What the control task wants of the store.
#[derive(Debug)]
pub(crate) enum StoreCommand {
    /// Something on the way to a certificate.
    Ask(Ask),
    /// Publish these envelopes of this node, the preferred one first.
    Publish(Vec<Vec<u8>>),
}

/// What the store task tells the control task.
#[derive(Debug)]
pub(crate) enum StoreNews {
    /// Everything that is published.
    Published(Published),
    /// The request lies in the store.
    Submitted(EnrolmentRequest, RequestId),
    /// What became of a request.
    State(RequestId, Option<RequestState>),
    /// The envelopes are published.
    EnvelopesPublished(Vec<Vec<u8>>),
    /// An operation failed; it will be tried again.
    Failed,
}

/// The store task's ends of its channels.
pub(crate) struct Ends {
    /// What the control task wants.
    pub(crate) commands: Receiver<StoreCommand>,
    /// What people are shown.
    pub(crate) people: PeopleEnd,
    /// What the control task is told.
    pub(crate) news: Sender<StoreNews>,
}

/// Whether the node has a certificate of an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Papers {
    /// It has, and knows its peers.
    Kept,
    /// It waits for its first.
    None,
}

/// What the store is opened for.
#[derive(Debug)]
pub(crate) struct Own {
    /// Who this node is.
    pub(crate) id: SpiffeId,
    /// The roots that it trusts.
    pub(crate) pins: Vec<Pin>,
    /// What it has already.
    pub(crate) papers: Papers,
}

/// A store that can be opened, and again when it fails.
trait Open: Sync {
    /// What it opens.
    type Store: ClusterStore;
    /// How long a store that fails is kept.
    const ANEW_AFTER: Duration;

    fn open(&self, own: &Own) -> impl Future<Output = Result<Self::Store, StoreError>> + Send;
}

/// A store in a folder.
struct Folder(PathBuf);

impl Open for Folder {
    type Store = DirectoryStore;
    const ANEW_AFTER: Duration = Duration::ZERO;

    async fn open(&self, _: &Own) -> Result<DirectoryStore, StoreError> {
        DirectoryStore::open(&self.0)
    }
}

impl Open for Kubernetes {
    type Store = KubernetesStore;
    const ANEW_AFTER: Duration = ANEW_AFTER;

    async fn open(&self, own: &Own) -> Result<KubernetesStore, StoreError> {
        let access = Access {
            kubeconfig: self.kubeconfig.clone(),
            context: None,
        };
        let client = connect(&access).await?;
        let name = own.id.name.clone();
        Ok(KubernetesStore::for_node(client, name, &own.pins))
    }
}

/// Runs until the control task is gone.
pub(crate) async fn run(config: Config, own: Own, ends: Ends) {
    match config.store {
        Store::Directory { directory, .. } => run_with(Folder(directory), &own, ends).await,
        Store::Kubernetes(kubernetes) => {
            sleep(wait_at_start(own.papers, random::system().next_u32())).await;
            run_with(kubernetes, &own, ends).await;
        }
    }
}

/// When a node that starts with others comes to the API server; `random` tells it from the others.
fn wait_at_start(papers: Papers, random: u32) -> Duration {
    let spread = match papers {
        Papers::Kept => SPREAD,
        Papers::None => SPREAD_OF_NEW,
    };
    spread.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

async fn run_with<O: Open>(store: O, own: &Own, mut ends: Ends) {
    let mut trouble = Trouble::of("read");
    loop {
        let served = match store.open(own).await {
            Ok(store) => serve(&store, O::ANEW_AFTER, &own.id, &mut ends, &mut trouble).await,
            Err(error) => Err(error),
        };
        let Err(error) = served else {
            return;
        };
        if trouble.wait_after(&error, &ends.news).await.is_err() {
            return;
        }
    }
}

/// Works with the store until it fails (`Err`) or nobody listens any more (`Ok`).
async fn serve<S: ClusterStore>(
    store: &S,
    anew_after: Duration,
    own: &SpiffeId,
    ends: &mut Ends,
    trouble: &mut Trouble,
) -> Result<(), StoreError> {
    tokio::select! {
        ended = read(store, anew_after, &ends.news, trouble) => ended,
        () = write::write(store, own, &mut ends.commands, &ends.news) => Ok(()),
        () = ends.people.show(store) => Ok(()),
    }
}

async fn read<S: ClusterStore>(
    store: &S,
    anew_after: Duration,
    news: &Sender<StoreNews>,
    trouble: &mut Trouble,
) -> Result<(), StoreError> {
    let mut changes = store.watch()?;
    let mut last_read = Instant::now();
    loop {
        match store.published().await {
            Ok(published) => {
                let rest = REST_PER_NODE * u32::try_from(published.nodes.len()).unwrap_or(u32::MAX);
                if news.send(StoreNews::Published(published)).await.is_err() {
                    return Ok(());
                }
                trouble.ends();
                sleep(rest).await;
                changes.changed().await;
                last_read = Instant::now();
            }
            Err(error) if last_read.elapsed() >= anew_after => return Err(error),
            // A store that comes back tells so before the pause is over.
            Err(error) => tokio::select! {
                waited = trouble.wait_after(&error, news) => {
                    if waited.is_err() {
                        return Ok(());
                    }
                }
                () = changes.changed() => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cp12_a_thousand_nodes_that_start_together_come_one_after_another() {
        let mut rng = random::system();
        let mut each_second = [0; 6];
        for _ in 0..1000 {
            let wait = wait_at_start(Papers::Kept, rng.next_u32());
            each_second[usize::try_from(wait.as_secs()).unwrap()] += 1;
        }

        assert!(
            each_second.iter().all(|count| *count < 300),
            "{each_second:?}"
        );
        assert!(wait_at_start(Papers::None, u32::MAX) <= Duration::from_secs(1));
    }
}
