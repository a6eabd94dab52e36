//! `sotto doctor` on a node: what its daemon says of itself.

use std::path::Path;

use anyhow::Result;

use super::{Check, Outcome, answer};
use crate::daemon;
use crate::output::{Answer, Output};

/// Asks the daemon and judges what it says.
///
/// # Errors
/// When the answer cannot be printed; a daemon that cannot be asked is a failed check.
pub(crate) fn run(directory: &Path, output: Output) -> Result<Answer> {
    let status = match daemon::ask(directory) {
        Ok(status) => status,
        Err(error) => {
            let check = Check::new("the daemon answers", Outcome::Fail, &format!("{error:#}"));
            return answer(vec![check], output);
        }
    };
    let daemon = Check::new(
        "the daemon answers",
        Outcome::Ok,
        &format!("version {}", status.daemon_version),
    );
    let ready = if status.is_ready() {
        Check::new("the node is ready", Outcome::Ok, "")
    } else {
        Check::new(
            "the node is ready",
            Outcome::Fail,
            &format!(
                "it waits for {}: the daemon's log says why",
                status.waiting_for.join(", ")
            ),
        )
    };
    let certificate = match &status.certificate {
        Some(_) => Check::new("the node has a certificate", Outcome::Ok, ""),
        None => Check::new(
            "the node has a certificate",
            Outcome::Fail,
            "the controller has not granted one: see its log",
        ),
    };
    let guard = if status.guard.stands {
        Check::new("the guard stands", Outcome::Ok, "")
    } else {
        Check::new(
            "the guard stands",
            Outcome::Fail,
            "it is broken: the daemon's log says why",
        )
    };
    let leaks = match status.guard.plaintext_leaks {
        0 => Check::new("no pod packet left in clear", Outcome::Ok, ""),
        count => Check::new(
            "no pod packet left in clear",
            Outcome::Fail,
            &format!("{count} did: look at the daemon's log"),
        ),
    };
    let refused = match status.refused.as_slice() {
        [] => Check::new("every published node is believed", Outcome::Ok, ""),
        [first, ..] => Check::new(
            "every published node is believed",
            Outcome::Warn,
            &format!(
                "{} are refused, the first is {}: {}",
                status.refused.len(),
                first.node,
                first.reason
            ),
        ),
    };
    answer(
        vec![daemon, ready, certificate, guard, leaks, refused],
        output,
    )
}
