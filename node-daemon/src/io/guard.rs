//! Runs `nft` and `iptables`, which talk to netfilter for us.
//!
//! A ruleset is text: it can be read, kept in a test and tried by hand. Nothing comes from
//! outside but addresses and numbers, and no shell is between.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use thiserror::Error;

/// Where administrators' programs are when `PATH` does not say so.
const PROGRAM_DIRECTORIES: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// Why a program did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum ToolError {
    /// Not installed.
    #[error("run {0}: it is not installed, install the package nftables")]
    Missing(&'static str),
    /// Did not start or could not be talked to.
    #[error("run {program}")]
    Run {
        /// Its name.
        program: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Said no.
    #[error("{program} refused to {what}: {reason}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// What it was asked.
        what: &'static str,
        /// The first line of its complaint.
        reason: String,
    },
}

/// Loads a ruleset in one transaction.
///
/// # Errors
/// When nft or the kernel refuses; nothing has changed then.
pub(crate) fn load(ruleset: &str) -> Result<(), ToolError> {
    run("nft", &["-f", "-"], ruleset, "load the ruleset").map(drop)
}

/// Asks the kernel whether it would take a ruleset, and changes nothing.
///
/// # Errors
/// When nft or the kernel refuses.
pub(crate) fn try_out(ruleset: &str) -> Result<(), ToolError> {
    run("nft", &["-c", "-f", "-"], ruleset, "check the ruleset").map(drop)
}

/// Lists a table of family `inet` without what counts up. `None` when there is no such table.
///
/// # Errors
/// When nft cannot be run.
pub(crate) fn list_table(table: &str) -> Result<Option<String>, ToolError> {
    match run(
        "nft",
        &["-s", "list", "table", "inet", table],
        "",
        "list a table",
    ) {
        Ok(listing) => Ok(Some(listing)),
        Err(ToolError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a chain exists.
pub(crate) fn has_chain(family: &str, table: &str, chain: &str) -> bool {
    run(
        "nft",
        &["list", "chain", family, table, chain],
        "",
        "list a chain",
    )
    .is_ok()
}

/// Runs `iptables` or `ip6tables` and says whether it succeeded. `None` when it is not installed.
pub(crate) fn iptables(
    program: &'static str,
    arguments: &[&str],
) -> Option<Result<String, ToolError>> {
    match run(
        program,
        arguments,
        "",
        "look at or change the chain FORWARD",
    ) {
        Err(ToolError::Missing(_)) => None,
        other => Some(other),
    }
}

fn run(
    program: &'static str,
    arguments: &[&str],
    input: &str,
    what: &'static str,
) -> Result<String, ToolError> {
    let output = start_and_feed(program, arguments, input).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            ToolError::Missing(program)
        } else {
            ToolError::Run { program, source }
        }
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let reason = complaint
        .lines()
        .next()
        .unwrap_or("it gave no reason")
        .to_owned();
    Err(ToolError::Refused {
        program,
        what,
        reason,
    })
}

fn start_and_feed(program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("PATH", search_path(std::env::var_os("PATH").as_deref()))
        // Ctrl-C in the daemon's terminal must not stop a transaction half way.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}

fn search_path(path: Option<&OsStr>) -> String {
    let path = path.map(OsStr::to_string_lossy).unwrap_or_default();
    if path.is_empty() {
        format!("{PROGRAM_DIRECTORIES}:/usr/bin:/bin")
    } else {
        format!("{path}:{PROGRAM_DIRECTORIES}")
    }
}
