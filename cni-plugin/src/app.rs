//! Reads the call, runs its verb, prints one answer: a result or an error, never both.
//!
//! The answer goes to standard output, errors too, because that is where runtimes parse them;
//! warnings go to standard error.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use cni_protocol::config::{ConfigDocument, NetworkConfig};
use cni_protocol::environment::Call;
use cni_protocol::version::CniVersion;

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::{add, check, del, gc, input, status, version};

/// Runtimes kill a plugin after some minutes; this is well before, and enough for 200 at once.
const CALL_TIME: Duration = Duration::from_secs(20);

/// STATUS is asked every few seconds and blocks the runtime's own status meanwhile.
const STATUS_TIME: Duration = Duration::from_millis(900);

/// Answers one call.
pub(crate) fn run() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return about();
    }
    let mut version = CniVersion::LATEST;
    let answer = answer(&mut version);
    let (text, code) = match &answer {
        Ok(Answer { text, .. }) => (text.clone(), ExitCode::SUCCESS),
        Err(failure) => (failure.to_cni().to_json(version), ExitCode::FAILURE),
    };
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

fn answer(version: &mut CniVersion) -> Result<Answer, Failure> {
    let call = Call::from_environment(|variable| std::env::var_os(variable));
    let (time, most) = match call {
        Ok(Call::Version) => return Ok(Answer::plain(version::run())),
        // Started by hand: do not wait for a configuration that nobody types.
        Err(error) if std::env::var_os("CNI_COMMAND").is_none() => return Err(error.into()),
        Ok(Call::Status) => (STATUS_TIME, input::MAXIMUM_INPUT),
        Ok(Call::Gc) => (CALL_TIME, input::MAXIMUM_GC_INPUT),
        Ok(_) | Err(_) => (CALL_TIME, input::MAXIMUM_INPUT),
    };
    let deadline = Deadline::after(time);
    let document = read_document(version, most, deadline);
    let call = call?;
    let config = document?.check()?;
    dispatch(call, config, deadline)
}

/// The version is learned even from a call that fails later, so that its error can be read.
fn read_document(
    version: &mut CniVersion,
    most: usize,
    deadline: Deadline,
) -> Result<ConfigDocument, Failure> {
    let text = input::read_all(std::io::stdin(), most, deadline)?;
    let document = ConfigDocument::decode(&text)?;
    *version = document.version()?;
    Ok(document)
}

fn dispatch(call: Call, config: NetworkConfig, deadline: Deadline) -> Result<Answer, Failure> {
    match call {
        Call::Add(call) => {
            let result = add::run(&call, &config, deadline)?;
            let text = result.to_json(config.version);
            let undo = move || del::run(&call.key, &config, Deadline::for_undo());
            let undo = Some(Box::new(undo) as Box<_>);
            return Ok(Answer { text, undo });
        }
        Call::Del(key) => del::run(&key, &config, deadline)?,
        Call::Check(call) => check::run(&call, &config, deadline)?,
        Call::Status => {
            require_version("STATUS", config.version)?;
            status::run(&config, deadline)?;
        }
        Call::Gc => {
            require_version("GC", config.version)?;
            gc::run(&config)?;
        }
        Call::Version => return Ok(Answer::plain(version::run())),
    }
    Ok(Answer::plain(String::new()))
}

fn require_version(verb: &'static str, version: CniVersion) -> Result<(), Failure> {
    match version {
        CniVersion::V1_0_0 => Err(Failure::VerbOfLaterVersion { verb, version }),
        CniVersion::V1_1_0 => Ok(()),
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
