//! Another plugin that assigns the addresses: found in `CNI_PATH`, executed, not believed.
//!
//! What it assigns is reserved in the pool too, where its range is checked. It gets files for standard
//! input and outputs instead of pipes: nothing blocks on it, and what it leaves running holds nothing
//! of the runtime's open.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cni_protocol::config::NetworkConfig;
use cni_protocol::error::Refusal;
use cni_protocol::previous::{PreviousResult, UnreadableResult};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::deadline::Deadline;
use crate::watchdog::Watchdog;

/// The longest answer that is read, in bytes; a real one has some hundred.
const LONGEST_ANSWER: u64 = 1 << 16;

/// Pause between two looks whether it ended: such plugins need some milliseconds.
const PAUSE: Duration = Duration::from_micros(200);

/// A plugin that assigns addresses in Sotto's place.
pub(crate) struct AddressPlugin<'a> {
    name: &'a str,
    config: &'a NetworkConfig,
    watchdog: &'a Watchdog,
}

/// Why it did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IpamError {
    /// No such program.
    #[error("find ipam plugin {name}: no folder of CNI_PATH {path:?} has that program")]
    NotFound { name: String, path: String },
    /// It would call itself without end.
    #[error(
        "execute ipam plugin {0}: it is sotto-cni itself; remove ipam to let Sotto assign addresses"
    )]
    Itself(String),
    /// It could not be started, or its answer not be read.
    #[error("execute ipam plugin {name}")]
    Execute {
        name: String,
        #[source]
        source: io::Error,
    },
    /// It did not end, and was ended.
    #[error("execute ipam plugin {0}: it did not end in time, or printed without end")]
    Endless(String),
    /// It failed.
    #[error("execute ipam plugin {name} {verb}: {text}")]
    Refused {
        name: String,
        verb: &'static str,
        /// The specification's code that it gave, if it gave one.
        code: Option<u64>,
        text: String,
    },
    /// Its result makes no sense.
    #[error("decode the result of ipam plugin {name}")]
    Decode {
        name: String,
        #[source]
        source: UnreadableResult,
    },
}

/// The answers by which a plugin says that it does not know a verb: incompatible version, and bad
/// environment.
const UNKNOWN_VERB: [u64; 2] = [1, 4];

impl<'a> AddressPlugin<'a> {
    pub(crate) fn new(name: &'a str, config: &'a NetworkConfig, watchdog: &'a Watchdog) -> Self {
        Self {
            name,
            config,
            watchdog,
        }
    }

    /// Lets it assign addresses to the pod of this call.
    pub(crate) fn add(&self, deadline: Deadline) -> Result<Vec<IpAddr>, IpamError> {
        let answer = self.execute("ADD", &self.config.to_json(), deadline)?;
        let result = PreviousResult::from_json(&answer);
        let result = result.map_err(|source| IpamError::Decode {
            name: self.name.into(),
            source,
        })?;
        Ok(result.addresses())
    }

    /// Lets it free what it assigned, if it did.
    pub(crate) fn del(&self, deadline: Deadline) -> Result<(), IpamError> {
        self.execute("DEL", &self.config.to_json_for_del(), deadline)
            .map(drop)
    }

    /// Asks it about this attachment.
    pub(crate) fn check(&self, deadline: Deadline) -> Result<(), IpamError> {
        self.execute("CHECK", &self.config.to_json(), deadline)
            .map(drop)
    }

    /// Asks whether it could assign an address, if it knows the verb.
    pub(crate) fn status(&self, deadline: Deadline) -> Result<(), IpamError> {
        self.execute_if_known("STATUS", deadline)
    }

    /// Hands the runtime's list of attachments on, if it knows the verb.
    pub(crate) fn gc(&self, deadline: Deadline) -> Result<(), IpamError> {
        self.execute_if_known("GC", deadline)
    }

    fn execute_if_known(&self, verb: &'static str, deadline: Deadline) -> Result<(), IpamError> {
        match self.execute(verb, &self.config.to_json(), deadline) {
            Ok(_) => Ok(()),
            Err(IpamError::Refused {
                code: Some(code), ..
            }) if UNKNOWN_VERB.contains(&code) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn execute(
        &self,
        verb: &'static str,
        input: &str,
        deadline: Deadline,
    ) -> Result<Vec<u8>, IpamError> {
        let program = self.find()?;
        let failed = |source| IpamError::Execute {
            name: self.name.into(),
            source,
        };
        let mut output = file("answer").map_err(failed)?;
        let mut log = file("log").map_err(failed)?;
        let start = || {
            let mut stdin = file("input")?;
            stdin.write_all(input.as_bytes())?;
            stdin.rewind()?;
            Command::new(&program)
                .env("CNI_COMMAND", verb)
                .stdin(stdin)
                .stdout(Stdio::from(output.try_clone()?))
                .stderr(Stdio::from(log.try_clone()?))
                .process_group(0)
                .spawn()
        };
        let mut child = start().map_err(failed)?;
        let status = self.wait(&mut child, [&output, &log], deadline)?;
        let answer = content(&mut output).map_err(failed)?;
        let said = content(&mut log).unwrap_or_default();
        if !said.is_empty() {
            let _ = io::stderr().write_all(&said);
        }
        if status.success() {
            return Ok(answer);
        }
        let refusal = Refusal::from_json(&answer);
        Err(IpamError::Refused {
            name: self.name.into(),
            verb,
            code: refusal.as_ref().map(|it| it.code),
            text: refusal.map_or_else(|| status.to_string(), |it| it.message),
        })
    }

    fn wait(
        &self,
        child: &mut Child,
        prints: [&File; 2],
        deadline: Deadline,
    ) -> Result<ExitStatus, IpamError> {
        let group = i32::try_from(child.id()).ok().map(Pid::from_raw);
        self.watchdog.set_delegate(group);
        let outcome = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) => {}
                Err(source) => {
                    break Err(IpamError::Execute {
                        name: self.name.into(),
                        source,
                    });
                }
            }
            let is_full = |file: &&File| file.metadata().is_ok_and(|it| it.len() > LONGEST_ANSWER);
            if deadline.remaining().is_none() || prints.iter().any(is_full) {
                break Err(IpamError::Endless(self.name.into()));
            }
            std::thread::sleep(PAUSE);
        };
        if let (Err(_), Some(group)) = (&outcome, group) {
            let _ = killpg(group, Signal::SIGKILL);
            let _ = child.wait();
        }
        self.watchdog.set_delegate(None);
        outcome
    }

    fn find(&self) -> Result<PathBuf, IpamError> {
        let path = std::env::var_os("CNI_PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(self.name))
            .find(|file| is_program(file.as_os_str()));
        let Some(found) = found else {
            return Err(IpamError::NotFound {
                name: self.name.into(),
                path: path.to_string_lossy().chars().take(200).collect(),
            });
        };
        let identity = |path: &OsStr| std::fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
        if identity(found.as_os_str()) == identity(OsStr::new("/proc/self/exe")) {
            return Err(IpamError::Itself(self.name.into()));
        }
        Ok(found)
    }
}

fn is_program(path: &OsStr) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// A file without a name, in memory.
fn file(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

fn content(file: &mut File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.rewind()?;
    file.take(LONGEST_ANSWER).read_to_end(&mut content)?;
    Ok(content)
}
