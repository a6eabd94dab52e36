//! Pages on a loopback address, or a socket of the machine, for probes, scrapes and a person.
//!
//! Anybody on the machine may reach them, so each listener takes few connections at a time and
//! none for long (`bounded.rs`): nobody takes the descriptors that the program needs for its work.
//! Which pages there are, and what is on them, is the program's.

mod bounded;
pub mod openmetrics;

use std::fmt::Debug;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use tokio::net::TcpListener;

use bounded::Bounded;

/// What metrics are: OpenMetrics, as text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at a time on each listener: probes, scrapes and a person (a guess).
const MOST_CONNECTIONS: usize = 32;
/// How long a connection may last; an answer takes milliseconds (a guess).
const LONGEST_CONNECTION: Duration = Duration::from_secs(10);

/// The address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("http_address = \"{address}\": cannot be used, choose another port")]
pub struct AddressError {
    /// The setting.
    address: SocketAddr,
    /// What the system said.
    #[source]
    source: io::Error,
}

/// Opens the address of the setting `http_address`.
///
/// # Errors
/// When it is taken, with the setting to change.
pub async fn open(address: SocketAddr) -> Result<TcpListener, AddressError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| AddressError { address, source })
}

/// Serves the pages until dropped.
///
/// # Errors
/// When the listener can be used no longer.
pub async fn serve<L>(listener: L, pages: Router) -> io::Result<()>
where
    L: Listener,
    L::Addr: Debug,
{
    let bounded = Bounded::new(listener, MOST_CONNECTIONS, LONGEST_CONNECTION);
    axum::serve(bounded, pages).into_future().await
}

/// The page of metrics that were rendered.
pub fn metrics<E: std::error::Error>(rendered: Result<String, E>) -> Response {
    match rendered {
        Ok(text) => typed(OPENMETRICS, text),
        Err(error) => broken(&error),
    }
}

/// A page of that type.
pub fn typed(content_type: &'static str, content: impl IntoResponse) -> Response {
    let header: [(HeaderName, &'static str); 1] = [(CONTENT_TYPE, content_type)];
    (header, content).into_response()
}

/// What is said where a page could not be made.
pub fn broken(error: &dyn std::error::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}
