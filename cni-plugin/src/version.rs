//! VERSION: which versions of the specification are spoken. Needs nothing, not even an input.

use std::time::Duration;

use cni_protocol::config::ConfigDocument;
use cni_protocol::version::version_reply;

use crate::deadline::Deadline;
use crate::input;

/// Some runtimes send nothing here and do not close either.
const WAIT: Duration = Duration::from_secs(1);

/// The text to print.
pub(crate) fn run() -> String {
    let text = input::read_all(
        std::io::stdin(),
        input::MAXIMUM_INPUT,
        Deadline::after(WAIT),
    )
    .unwrap_or_default();
    let document = ConfigDocument::decode(&text).ok();
    version_reply(document.as_ref().and_then(ConfigDocument::version_text))
}
