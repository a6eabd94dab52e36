//! Reads the call, runs its verb, prints one answer: a result or an error, never both.
//!
//! The answer goes to standard output, errors too, because that is where runtimes parse them;
//! warnings go to standard error.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use cni_protocol::config::{ConfigDocument, NetworkConfig};
use cni_protocol::environment::{Call, EnvironmentError};
use cni_protocol::version::CniVersion;
use nix::poll::{PollFd, PollFlags, poll};

use crate::deadline::{Deadline, Limits};
use crate::failure::Failure;
use crate::watchdog::Watchdog;
use crate::{add, check, del, gc, input, status, version};

/// How long the watchdog waits for room to print: there is some, or nobody reads.
const PRINT_TIME: u16 = 20;

/// Answers one call.
pub(crate) fn run() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return about();
    }
    let call = Call::from_environment(|variable| std::env::var_os(variable));
    let limits = Limits::of(&call);
    let watchdog = Watchdog::start(limits.verb, limits.whole);
    let mut version = CniVersion::LATEST;
    let answer = answer(call, limits, &mut version, &watchdog);
    let (text, code) = match &answer {
        Ok(Answer { text, .. }) => (text.clone(), ExitCode::SUCCESS),
        Err(failure) => (failure.to_cni().to_json(version), ExitCode::FAILURE),
    };
    watchdog.claim_answer();
    match (print(&text), answer) {
        (Ok(()), _) => code,
        (Err(error), Ok(answer)) => {
            eprintln!("sotto-cni: ERROR could not print the answer: {error}");
            answer.undo();
            ExitCode::FAILURE
        }
        (Err(error), Err(failure)) => {
            eprintln!("sotto-cni: ERROR could not print \"{failure}\": {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runtimes pass no arguments, so a person asks.
fn about() -> ExitCode {
    let about = format!(
        "sotto-cni {}: the CNI plugin of Sotto. Container runtimes execute it, with CNI_COMMAND in its \
         environment and a network configuration on its standard input.",
        env!("CARGO_PKG_VERSION")
    );
    print(&about).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// What to print, and how to take it back if nobody can read it.
struct Answer {
    text: String,
    undo: Option<Box<dyn FnOnce() -> Result<(), Failure>>>,
}

impl Answer {
    fn plain(text: String) -> Self {
        Self { text, undo: None }
    }

    /// A runtime that did not get the result of an ADD takes it for failed.
    fn undo(self) {
        if let Some(Err(error)) = self.undo.map(|undo| undo()) {
            eprintln!("sotto-cni: WARN could not undo the ADD: {error}");
        }
    }
}

fn answer(
    call: Result<Call, EnvironmentError>,
    limits: Limits,
    version: &mut CniVersion,
    watchdog: &Watchdog,
) -> Result<Answer, Failure> {
    let deadline = Deadline::after(limits.waits);
    let most = match call {
        Ok(Call::Version) => return Ok(Answer::plain(version::run(deadline))),
        // Started by hand: do not wait for a configuration that nobody types.
        Err(error) if std::env::var_os("CNI_COMMAND").is_none() => return Err(error.into()),
        Ok(Call::Gc) => input::MAXIMUM_GC_INPUT,
        Ok(_) | Err(_) => input::MAXIMUM_INPUT,
    };
    let text = input::read_all(std::io::stdin(), most, deadline)?;
    let document = ConfigDocument::decode(&text)?;
    // Learned even from a call that fails later, so that its error can be read.
    *version = document.version()?;
    watchdog.answer_in(*version);
    let call = call?;
    let config = document.check()?;
    dispatch(call, config, deadline, watchdog)
}

fn dispatch(
    call: Call,
    config: NetworkConfig,
    deadline: Deadline,
    watchdog: &Watchdog,
) -> Result<Answer, Failure> {
    match call {
        Call::Add(call) => {
            let result = add::run(&call, &config, deadline, watchdog)?;
            let text = result.to_json(config.version);
            let watchdog = watchdog.clone();
            let undo = move || del::run(&call.key, &config, Deadline::for_undo(), &watchdog);
            let undo = Some(Box::new(undo) as Box<_>);
            return Ok(Answer { text, undo });
        }
        Call::Del(key) => del::run(&key, &config, deadline, watchdog)?,
        Call::Check(call) => {
            require_version("CHECK", CniVersion::V0_4_0, config.version)?;
            check::run(&call, &config, deadline, watchdog)?;
        }
        Call::Status => {
            require_version("STATUS", CniVersion::V1_1_0, config.version)?;
            status::run(&config, deadline, watchdog)?;
        }
        Call::Gc => {
            require_version("GC", CniVersion::V1_1_0, config.version)?;
            gc::run(&config, deadline, watchdog)?;
        }
        Call::Version => return Ok(Answer::plain(version::run(deadline))),
    }
    Ok(Answer::plain(String::new()))
}

fn require_version(
    verb: &'static str,
    since: CniVersion,
    version: CniVersion,
) -> Result<(), Failure> {
    if version >= since {
        return Ok(());
    }
    Err(Failure::VerbOfLaterVersion {
        verb,
        since,
        version,
    })
}

/// Prints only where that does not block.
pub(crate) fn print_bounded(text: &str) {
    let output = std::io::stdout();
    let mut files = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    if matches!(poll(&mut files, PRINT_TIME), Ok(1)) {
        let _ = nix::unistd::write(&output, format!("{text}\n").as_bytes());
    }
}

fn print(text: &str) -> std::io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")?;
    output.flush()
}
