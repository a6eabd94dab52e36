//! Carries out what the control task asks of the store, and tells it what is published.
//!
//! A store that cannot be reached changes nothing for peers that are known: this task tries again,
//! says so once when the trouble begins and once when it ends, and the control task keeps what it
//! has.

use std::time::Duration;

use cluster_store::{
    ClusterStore, DirectoryStore, Published, RequestId, RequestState, StoreChanges, StoreError,
};
use node_identity::NodeUid;
use service_log::chain;
use tokio::sync::mpsc::{Receiver, Sender};
use tracing::{info, warn};

use crate::config::Config;
use crate::enrol::Ask;

/// The first pause after a failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause after failures (a guess: an operator who mends a store waits as long at most).
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

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
    Submitted(RequestId),
    /// What became of a request.
    State(RequestId, Option<RequestState>),
    /// The envelopes are published.
    EnvelopesPublished(Vec<Vec<u8>>),
    /// An operation failed; it will be tried again.
    Failed,
}

/// Runs until the control task is gone.
pub(crate) async fn run(
    config: Config,
    own: NodeUid,
    mut commands: Receiver<StoreCommand>,
    news: Sender<StoreNews>,
) {
    let mut trouble = Trouble::default();
    loop {
        let ended = serve(&config, own, &mut commands, &news, &mut trouble).await;
        match ended {
            Ok(()) => return,
            Err(error) => {
                trouble.begins(&error);
                if news.send(StoreNews::Failed).await.is_err() {
                    return;
                }
                tokio::time::sleep(trouble.pause).await;
            }
        }
    }
}

/// Whether the store is in trouble, so that each change is said once.
#[derive(Debug)]
struct Trouble {
    said: bool,
    pause: Duration,
}

impl Default for Trouble {
    fn default() -> Self {
        Self {
            said: false,
            pause: FIRST_PAUSE,
        }
    }
}

impl Trouble {
    fn begins(&mut self, error: &StoreError) {
        if self.said {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return;
        }
        self.said = true;
        warn!(
            error = chain(error),
            "Store cannot be used, known peers are kept"
        );
    }

    fn ends(&mut self) {
        if self.said {
            info!("Store can be used again");
        }
        *self = Self::default();
    }
}

/// Works with the store until it fails (`Err`) or nobody listens any more (`Ok`).
async fn serve(
    config: &Config,
    own: NodeUid,
    commands: &mut Receiver<StoreCommand>,
    news: &Sender<StoreNews>,
    trouble: &mut Trouble,
) -> Result<(), StoreError> {
    let store = DirectoryStore::open(&config.store_directory)?;
    let mut changes = store.watch()?;
    loop {
        if news
            .send(StoreNews::Published(store.published().await?))
            .await
            .is_err()
        {
            return Ok(());
        }
        trouble.ends();
        loop {
            let command = tokio::select! {
                () = changes.changed() => break,
                command = commands.recv() => command,
            };
            let Some(command) = command else {
                return Ok(());
            };
            let Some(answer) = carry_out(&store, own, command).await? else {
                continue;
            };
            if news.send(answer).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn carry_out(
    store: &DirectoryStore,
    own: NodeUid,
    command: StoreCommand,
) -> Result<Option<StoreNews>, StoreError> {
    match command {
        StoreCommand::Ask(Ask::Submit(request)) => Ok(Some(StoreNews::Submitted(
            store.submit_request(&request).await?,
        ))),
        StoreCommand::Ask(Ask::State(id)) => {
            Ok(Some(StoreNews::State(id, store.request_state(&id).await?)))
        }
        StoreCommand::Ask(Ask::Withdraw(id)) => store.withdraw_request(&id).await.map(|()| None),
        StoreCommand::Publish(envelopes) => {
            store.publish_envelopes(&own, &envelopes).await?;
            Ok(Some(StoreNews::EnvelopesPublished(envelopes)))
        }
    }
}
