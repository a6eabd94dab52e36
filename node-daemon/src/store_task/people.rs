//! What people are shown in the store. It may be late or lost: nothing else waits for it.

use std::time::Duration;

use cluster_store::{ClusterStore, Notice};
use node_status::NodeStatus;
use service_log::chain;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

/// A status is written at most so often, failures included.
const SHOW_EVERY: Duration = Duration::from_secs(10);
/// Notices that may wait; more are lost, the log has them.
const NOTICES: usize = 16;

/// The control task's end.
#[derive(Debug)]
pub(crate) struct People {
    status: watch::Sender<Option<NodeStatus>>,
    notices: mpsc::Sender<Notice>,
}

/// The store task's end.
#[derive(Debug)]
pub(crate) struct PeopleEnd {
    status: watch::Receiver<Option<NodeStatus>>,
    notices: mpsc::Receiver<Notice>,
}

/// Both ends.
pub(crate) fn people() -> (People, PeopleEnd) {
    let (show, status) = watch::channel(None);
    let (notify, notices) = mpsc::channel(NOTICES);
    (
        People {
            status: show,
            notices: notify,
        },
        PeopleEnd { status, notices },
    )
}

impl People {
    /// Shows this status in place of one that was not written yet.
    pub(crate) fn show(&self, status: NodeStatus) {
        self.status.send_replace(Some(status));
    }

    /// Tells of an event.
    pub(crate) fn notify(&self, notice: Notice) {
        if let Err(error) = self.notices.try_send(notice) {
            debug!(%error, "Event is not shown");
        }
    }
}

impl PeopleEnd {
    /// Shows until nobody has anything to show any more.
    pub(super) async fn show<S: ClusterStore>(&mut self, store: &S) {
        let mut not_before = Instant::now();
        let mut fails = false;
        loop {
            let changed = async {
                sleep_until(not_before).await;
                self.status.changed().await
            };
            tokio::select! {
                notice = self.notices.recv() => match notice {
                    Some(notice) => store.notify(notice).await,
                    None => return,
                },
                changed = changed => {
                    if changed.is_err() {
                        return;
                    }
                    not_before = Instant::now() + SHOW_EVERY;
                    fails = self.show_newest(store, fails).await;
                }
            }
        }
    }

    /// Returns whether it failed.
    async fn show_newest<S: ClusterStore>(&mut self, store: &S, failed: bool) -> bool {
        let Some(status) = self.status.borrow_and_update().clone() else {
            return failed;
        };
        match store.show_status(&status).await {
            Ok(()) if failed => info!("Status can be shown again"),
            Ok(()) => {}
            Err(error) => {
                if !failed {
                    warn!(
                        error = chain(&error),
                        "Status cannot be shown in the store, nothing else waits for it"
                    );
                }
                self.status.mark_changed();
                return true;
            }
        }
        false
    }
}
