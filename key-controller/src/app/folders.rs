//! A controller whose root, ledger and store are folders.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use cluster_store::{ClusterStore, DirectoryStore, StoreChanges};
use tracing::info;

use super::pace::{Pace, RETRY_AFTER, Stepped};
use super::{Ended, check_against};
use crate::config::Settings;
use crate::http::{self, Source};
use crate::ledger::{LedgerFile, LedgerHome};
use crate::reconcile::{Controller, Signing};
use crate::signer::Signer;
use crate::state;
use crate::tally::Tally;

/// How soon what `revoke`, `approve` and `token create` wrote is seen.
const LEDGER_POLL: Duration = Duration::from_millis(500);

pub(super) async fn serve(
    settings: Settings,
    state_folder: &Path,
    store_folder: &Path,
    mut ended: Ended,
) -> Result<()> {
    state::check(state_folder)?;
    let _held = state::lock(state_folder)?;
    let file = LedgerFile::in_folder(state_folder);
    let ledger = file.read()?;
    check_against(&settings, &ledger)?;
    let signer = Signer::open(state_folder)?;
    signer.check_is_of(state_folder, &ledger.pin, &ledger.trust_domain)?;
    let tally = Tally::default();
    let source = Source {
        tally: tally.clone(),
        standing: None,
    };
    let pages = match settings.http_address {
        Some(address) => Some(tokio::spawn(http::serve(
            loopback_http::open(address).await?,
            source,
        ))),
        None => None,
    };
    let store = DirectoryStore::open(store_folder)?;
    let mut changes = store.watch()?;
    info!(pin = %ledger.pin, nodes = ledger.nodes.len(), "Controller started");
    let home = LedgerHome::File(file.clone());
    let mut controller = Controller::new(store, home, settings, signer, tally.clone());
    let mut pace = Pace::default();
    loop {
        let stamp = file.stamp();
        let stepped = pace.step(&mut controller, Signing::Allowed, &tally).await?;
        let ledger_changed = async {
            while file.stamp() == stamp {
                tokio::time::sleep(LEDGER_POLL).await;
            }
        };
        let is_whole = stepped != Stepped::Unfinished;
        tokio::select! {
            () = changes.changed(), if is_whole => {}
            () = ledger_changed, if is_whole => {}
            () = Pace::until_asking(&controller), if is_whole => {}
            () = tokio::time::sleep(RETRY_AFTER), if !is_whole => {}
            () = ended.wait() => break,
        }
    }
    if let Some(pages) = pages {
        pages.abort();
    }
    Ok(())
}
