//! Structured logs on standard error.

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged unless `SOTTO_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info";
/// boringtun reports idle sessions that expire as errors; what happens to a session is told by our
/// own events.
const WITHOUT_BORINGTUN: &str = "boringtun=off";

/// Starts logging; a second call changes nothing.
pub(crate) fn start(format: LogFormat) {
    let wanted = std::env::var("SOTTO_LOG").unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let filter = EnvFilter::new(format!("{wanted},{WITHOUT_BORINGTUN}"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    drop(started);
}
