//! VERSION: which versions of the specification are spoken. Needs nothing, not even an input.

use cni_protocol::config::ConfigDocument;
use cni_protocol::version::version_reply;

use crate::deadline::Deadline;
use crate::input;

/// The text to print. Some runtimes send nothing here and do not close either.
pub(crate) fn run(deadline: Deadline) -> String {
    let text = input::read_all(std::io::stdin(), input::MAXIMUM_INPUT, deadline);
    let text = text.unwrap_or_default();
    let document = ConfigDocument::decode(&text).ok();
    version_reply(document.as_ref().and_then(ConfigDocument::version_text))
}
