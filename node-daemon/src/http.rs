//! Health, readiness and metrics on loopback; the status on a socket that only root can reach.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use loopback_http::broken;
use node_status::{STATUS_PATH, STATUS_SOCKET};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinError, JoinSet};
use tracing::warn;

use crate::metrics;
use crate::telemetry::{Shown, Telemetry};
use crate::watchdog::Watch;

/// Both listeners, open but not served yet.
#[derive(Debug)]
pub(crate) struct Listeners {
    loopback: TcpListener,
    socket: UnixListener,
}

impl Listeners {
    /// Opens both. The caller holds the node's lock, so a socket that is there is a dead daemon's.
    ///
    /// # Errors
    /// When the address is taken, with the setting to change.
    pub(crate) async fn open(address: SocketAddr, runtime_directory: &Path) -> Result<Self> {
        let loopback = loopback_http::open(address).await?;
        let path = runtime_directory.join(STATUS_SOCKET);
        kept_files::clear(&path)?;
        let open = || {
            let socket = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket =
            open().with_context(|| format!("open the status socket {}", path.display()))?;
        Ok(Self { loopback, socket })
    }

    /// Serves both until the tasks are aborted.
    pub(crate) fn serve(self, source: &Source, tasks: &mut JoinSet<()>) {
        let health = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(source.clone());
        let status = Router::new()
            .route(STATUS_PATH, get(status))
            .with_state(source.clone());
        let loopback = loopback_http::serve(self.loopback, health);
        let socket = loopback_http::serve(self.socket, status);
        tasks.spawn(async {
            let ((Err(error), _) | (_, Err(error))) = tokio::join!(loopback, socket) else {
                return;
            };
            warn!(%error, "Health checks and metrics ended");
        });
    }
}

/// Where answers come from.
#[derive(Clone)]
pub(crate) struct Source {
    /// The snapshot of the last second.
    pub(crate) shown: Shown,
    /// The guard, whose counters cost a look into the kernel: only when somebody asks.
    pub(crate) guard: Arc<Watch>,
}

impl Source {
    /// The snapshot with the guard's counters.
    ///
    /// # Errors
    /// When they cannot be read: a leak counter that nobody read is not zero.
    async fn telemetry(&self) -> Result<Telemetry, JoinError> {
        let guard = Arc::clone(&self.guard);
        let counters = tokio::task::spawn_blocking(move || guard.counters()).await?;
        Ok(Telemetry::clone(&self.shown.read()).with_guard(counters))
    }
}

async fn ready(State(source): State<Source>) -> Response {
    let telemetry = source.shown.read();
    if telemetry.status.version == 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    }
    if telemetry.status.is_ready() {
        return "ready\n".into_response();
    }
    let waits = format!("waits for {}\n", telemetry.status.waiting_for.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, waits).into_response()
}

async fn metrics(State(source): State<Source>) -> Response {
    match source.telemetry().await {
        Ok(telemetry) => loopback_http::metrics(metrics::render(telemetry)),
        Err(error) => broken(&error),
    }
}

async fn status(State(source): State<Source>) -> Response {
    let json = match source.telemetry().await {
        Ok(telemetry) => serde_json::to_vec(&telemetry.status),
        Err(error) => return broken(&error),
    };
    match json {
        Ok(json) => loopback_http::typed("application/json", json),
        Err(error) => broken(&error),
    }
}
