//! Health, readiness and metrics on loopback; the status on a socket that only root can reach.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use node_status::{STATUS_PATH, STATUS_SOCKET};
use tokio::net::{TcpListener, UnixListener};
use tracing::warn;

use crate::files;
use crate::metrics;
use crate::telemetry::Shown;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
        let loopback = TcpListener::bind(address).await.with_context(|| {
            format!("http_address = \"{address}\": cannot be used, choose another port")
        })?;
        let path = runtime_directory.join(STATUS_SOCKET);
        files::remove(&path)?;
        let open = || {
            let socket = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket =
            open().with_context(|| format!("open the status socket {}", path.display()))?;
        Ok(Self { loopback, socket })
    }

    /// Serves both until the runtime ends.
    pub(crate) fn serve(self, shown: &Shown) {
        let health = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(shown.clone());
        let status = Router::new()
            .route(STATUS_PATH, get(status))
            .with_state(shown.clone());
        let loopback = axum::serve(self.loopback, health).into_future();
        let socket = axum::serve(self.socket, status).into_future();
        tokio::spawn(async {
            let ((Err(error), _) | (_, Err(error))) = tokio::join!(loopback, socket) else {
                return;
            };
            warn!(%error, "Health checks and metrics ended");
        });
    }
}

async fn ready(State(shown): State<Shown>) -> Response {
    let telemetry = shown.read();
    if telemetry.status.version == 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    }
    if telemetry.status.is_ready() {
        return "ready\n".into_response();
    }
    let waits = format!("waits for {}\n", telemetry.status.waiting_for.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, waits).into_response()
}

async fn metrics(State(shown): State<Shown>) -> Response {
    match metrics::render(&shown) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn status(State(shown): State<Shown>) -> Response {
    match serde_json::to_vec(&shown.read().status) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
