//! Memory and descriptors of every part at one moment.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::kubernetes::whole::{CONTROL, Trio};

/// A program whose size is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    DaemonOfControl,
    DaemonOfAlice,
    DaemonOfBob,
    Controller,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [
        Self::DaemonOfControl,
        Self::DaemonOfAlice,
        Self::DaemonOfBob,
        Self::Controller,
    ];

    const fn host_and_program(self) -> (&'static str, &'static str) {
        match self {
            Self::DaemonOfControl => (CONTROL, "sotto-node"),
            Self::DaemonOfAlice => ("alice", "sotto-node"),
            Self::DaemonOfBob => ("bob", "sotto-node"),
            Self::Controller => (CONTROL, "sotto-controlle"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, program) = self.host_and_program();
        let program = program.replace("controlle", "controller");
        write!(f, "{program} on {host}")
    }
}

#[derive(Debug)]
pub(super) struct Sample {
    at: Duration,
    /// Resident KiB and open descriptors, in the order of [`Part::ALL`].
    parts: Vec<(u64, u64)>,
}

impl Sample {
    pub(super) fn take(trio: &Trio, at: Duration) -> Result<Self> {
        let read = |part: Part| -> Result<(u64, u64)> {
            let (host, program) = part.host_and_program();
            let said = trio.host(host)?.place()?.shell(&format!(
                "pid=$(pgrep -x {program})
                sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status
                ls /proc/$pid/fd | wc -l"
            ))?;
            let mut numbers = said.split_whitespace().map(str::parse::<u64>);
            let mut next = || {
                numbers
                    .next()
                    .context("a number is missing")?
                    .context("no number")
            };
            Ok((next()?, next()?))
        };
        let parts = Part::ALL.map(read).into_iter().collect::<Result<_>>()?;
        Ok(Self { at, parts })
    }

    pub(super) fn of(&self, part: Part) -> (u64, u64) {
        let place = Part::ALL.iter().position(|it| *it == part);
        let found = place.and_then(|place| self.parts.get(place));
        found.copied().unwrap_or_default()
    }

    pub(super) fn line(&self) -> String {
        let parts = Part::ALL.map(|part| {
            let (memory, descriptors) = self.of(part);
            format!("{part} {memory} KiB, {descriptors} files")
        });
        format!("{:5} s  {}", self.at.as_secs(), parts.join("; "))
    }
}
