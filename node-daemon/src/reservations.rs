//! Pod addresses that nobody frees: their pod is gone and the runtime never said so.
//!
//! The plugin needs no daemon to attach and detach; it also frees such addresses itself at the next
//! ADD. This task does it on a node where no pod comes for a while, so that at rest reservations and
//! links are the same set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pod_pool::{NodeLinks, Pool};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::config::Config;
use crate::keys::MachineIds;

/// How often the reservations are compared with the kernel's links.
const PERIOD: Duration = Duration::from_secs(60);

/// How long to wait for the plugin's lock; it needs milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Frees what no link stands for, at once and then every minute.
pub(crate) async fn run(config: Config) {
    let boot = match MachineIds::read(&config) {
        Ok(ids) => ids.boot,
        Err(error) => {
            warn!(
                error = format!("{error:#}"),
                "Reservations are not compared"
            );
            return;
        }
    };
    let pool = Arc::new(Pool::new(&config.runtime_directory, &boot));
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let pool = Arc::clone(&pool);
        let work = move || pool.reconcile(&NodeLinks, Instant::now() + LOCK_WAIT);
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(freed)) if freed.is_empty() => {}
            Ok(Ok(freed)) => info!(links = ?freed, "Addresses of vanished pods freed"),
            Ok(Err(error)) => {
                let error = anyhow::Error::new(error);
                warn!(
                    error = format!("{error:#}"),
                    "Reservations could not be compared"
                );
            }
            // The daemon stops.
            Err(_) => return,
        }
    }
}
