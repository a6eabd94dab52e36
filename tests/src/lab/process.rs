//! The programs a lab has started, each with its log. Ended by pid, never by name.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// How long a program may take to end when asked to.
const END_LIMIT: Duration = Duration::from_secs(15);

/// Lines of a log that a failure shows.
const TAIL: usize = 40;

/// A started program.
#[derive(Debug, Clone)]
pub struct Process {
    title: String,
    log: PathBuf,
    child: Arc<Mutex<Child>>,
    pid: Pid,
}

impl Process {
    /// Its process id, as the lab sees it.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// What it printed so far; a program started again in the same role goes on in the same log.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        matches!(self.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            bail!("{} has ended: {}", self.title, tail(&self.log()));
        }
        kill(self.pid, signal).with_context(|| format!("send {signal} to {}", self.title))
    }

    /// kill -9, and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill9(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait().map(drop)
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it had ended before, or does not end in 15 s.
    pub fn stop(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in 15 s.
    pub fn wait(&self) -> Result<ExitStatus> {
        wait::until_some(&format!("{} to end", self.title), END_LIMIT, || {
            self.try_wait().ok().flatten()
        })
    }

    /// Waits until its log holds a text.
    ///
    /// # Errors
    /// When it ends or the limit passes first.
    pub fn wait_for_log(&self, text: &str, limit: Duration) -> Result<()> {
        let what = format!("{:?} in the log of {}", text, self.title);
        let ended = wait::until_some(&what, limit, || {
            let ended = !self.is_running();
            if self.log().contains(text) {
                Some(None)
            } else {
                ended.then(|| Some(self.log()))
            }
        })?;
        match ended {
            None => Ok(()),
            Some(log) => bail!("{} ended before {what}: {}", self.title, tail(&log)),
        }
    }

    fn try_wait(&self) -> Result<Option<ExitStatus>> {
        let mut child = self
            .child
            .lock()
            .map_err(|_| anyhow::anyhow!("{} was lost", self.title))?;
        Ok(child.try_wait()?)
    }
}

/// All programs of a lab.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Vec<Process>>);

impl Registry {
    pub(super) fn add(&self, title: String, log: PathBuf, child: Child) -> Result<Process> {
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let process = Process {
            title,
            log,
            child: Arc::new(Mutex::new(child)),
            pid,
        };
        self.all()?.push(process.clone());
        Ok(process)
    }

    pub(super) fn end_all(&self) {
        let started = self.all().map(|all| all.clone()).unwrap_or_default();
        // Servers last: their clients would fill logs with complaints.
        for process in started.iter().rev() {
            if process.kill9().is_err() {
                let _ = process.try_wait();
            }
        }
    }

    /// The end of each log, for a failure.
    pub(super) fn report(&self) -> String {
        let mut shown: Vec<&Path> = Vec::new();
        let mut report = String::new();
        let all = self.all().map(|all| all.clone()).unwrap_or_default();
        for process in &all {
            if shown.contains(&process.log.as_path()) {
                continue;
            }
            shown.push(&process.log);
            let log = process.log();
            report.push_str(&format!("--- {} ---\n{}\n", process.title, tail(&log)));
        }
        report
    }

    fn all(&self) -> Result<std::sync::MutexGuard<'_, Vec<Process>>> {
        self.0
            .lock()
            .map_err(|_| anyhow::anyhow!("the list of programs was lost"))
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    lines.get(from..).unwrap_or_default().join("\n")
}
