//! Health, readiness and metrics, on loopback only.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::warn;

use crate::kubernetes::Standing;
use crate::metrics;
use crate::tally::Tally;

/// How long ago the API may have answered for the controller to be ready: several looks at the Lease
/// (a guess).
const FRESH: Duration = Duration::from_secs(30);

/// Where answers come from.
#[derive(Clone)]
pub(crate) struct Source {
    /// What was counted.
    pub(crate) tally: Tally,
    /// How the controller stands; without one it leads and needs no API.
    pub(crate) standing: Option<watch::Receiver<Standing>>,
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, source: Source) {
    let pages = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(show))
        .with_state(source);
    if let Err(error) = loopback_http::serve(listener, pages).await {
        warn!(%error, "Health checks and metrics ended");
    }
}

async fn ready(State(source): State<Source>) -> Response {
    let is_fresh = |standing: &watch::Receiver<Standing>| {
        let answered = standing.borrow().answered;
        answered.is_some_and(|at: Instant| at.elapsed() < FRESH)
    };
    if source.standing.as_ref().is_none_or(is_fresh) {
        return "ready\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "the API server does not answer\n",
    )
        .into_response()
}

async fn show(State(source): State<Source>) -> Response {
    let now = Instant::now();
    let mut counts = source.tally.read();
    let standing = source.standing.map(|standing| *standing.borrow());
    counts.leads = standing.is_none_or(|standing| standing.leads(now));
    if !counts.leads {
        counts.forget_led();
    }
    counts.vacant = standing.is_some_and(|standing| standing.vacant);
    loopback_http::metrics(metrics::render(counts))
}
