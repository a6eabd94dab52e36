//! The log of a program that runs on: lines on standard error, for people or for machines.
//!
//! Owns what daemon and controller must do alike, so that one `log_format` has one shape, one
//! `SOTTO_LOG` one meaning, and what lasts is not said without end. What is logged, and at which level, is the program's.

mod once;

use std::error::Error;
use std::io;

use serde::Deserialize;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use once::Once;

/// What the environment says of how much is logged.
const VARIABLE: &str = "SOTTO_LOG";

/// What is logged unless it says something.
const DEFAULT_FILTER: &str = "info";

/// What a client of an API server says of each answer that is an error; our own lines say it once,
/// with what to do. Only a directive for the very target shows it.
const QUIET: &str = "kube_client=off,kube_runtime=off,hyper=off,hyper_util=off,tower=off";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, an event's fields beside its message.
    Json,
}

/// Starts logging; a second call changes nothing. `always` are directives that the environment
/// cannot change, such as `boringtun=off`.
pub fn start(format: LogFormat, always: &[&str]) {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let wanted = if wanted.is_empty() {
        DEFAULT_FILTER
    } else {
        &wanted
    };
    let log = log(format, filter(wanted, always), io::stderr);
    drop(tracing::dispatcher::set_global_default(log));
}

/// Of two directives for one target the later counts.
fn filter(wanted: &str, always: &[&str]) -> EnvFilter {
    let directives: Vec<&str> = [QUIET, wanted]
        .into_iter()
        .chain(always.iter().copied())
        .collect();
    EnvFilter::new(directives.join(","))
}

fn log<W>(format: LogFormat, filter: EnvFilter, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Text => lines.with_ansi(false).finish().into(),
        LogFormat::Json => lines.json().flatten_event(true).finish().into(),
    }
}

/// An error with all its causes, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    /// What a test's events look like in the log.
    fn logged(format: LogFormat, wanted: &str, events: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let filter = filter(wanted, &["boringtun=off"]);
        let log = log(format, filter, Shared(Arc::clone(&lines)));

        tracing::dispatcher::with_default(&log, events);

        String::from_utf8(lines.lock().unwrap().clone()).unwrap()
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Shared {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    #[test]
    fn a_json_line_has_the_fields_beside_the_message() {
        let line = logged(LogFormat::Json, "info", || {
            tracing::warn!(node = "alice", total = 2, "Peer refused");
        });

        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], "Peer refused");
        assert_eq!(line["node"], "alice");
        assert_eq!(line["total"], 2);
        assert_eq!(line["level"], "WARN");
    }

    #[test]
    fn a_text_line_has_no_colours() {
        let line = logged(LogFormat::Text, "info", || {
            tracing::warn!(node = "alice", "Peer refused");
        });

        assert!(line.contains("Peer refused node=\"alice\""), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn what_is_always_off_stays_off() {
        let lines = logged(LogFormat::Text, "trace,boringtun=trace", || {
            tracing::error!(target: "boringtun", "session expired");
            tracing::trace!("packet");
        });

        assert!(
            lines.contains("packet") && !lines.contains("session"),
            "{lines}"
        );
    }

    #[test]
    fn a_client_speaks_only_when_it_is_asked_by_name() {
        let events = || {
            tracing::error!(target: "kube_client::client", "failed with status 403");
            tracing::warn!(target: "kube_runtime::watcher", "watch failed");
        };

        assert_eq!(logged(LogFormat::Text, "debug", events), "");
        let asked = logged(LogFormat::Text, "info,kube_client=warn", events);
        assert!(asked.contains("403") && !asked.contains("watch"), "{asked}");
    }

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn no_cause_of_an_error_is_left_out() {
        let cause = Layer("write", Some(Box::new(Layer("disk full", None))));
        let error = Layer("publish", Some(Box::new(cause)));

        assert_eq!(chain(&error), "publish: write: disk full");
    }
}
