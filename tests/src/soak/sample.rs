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
            Self::Controller => (CONTROL, "sotto-controller"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, program) = self.host_and_program();
        write!(f, "{program} on {host}")
    }
}

#[derive(Debug)]
pub(super) struct Sample {
    at: Duration,
    /// In the order of [`Part::ALL`].
    parts: Vec<Size>,
}

/// A process and its size.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) process: u64,
    /// Resident, in KiB.
    pub(super) memory: u64,
    /// Open ones.
    pub(super) descriptors: u64,
}

/// The kernel knows a program by so many bytes of its name.
const NAME: usize = 15;

impl Sample {
    pub(super) fn take(trio: &Trio, at: Duration) -> Result<Self> {
        let read = |part: Part| -> Result<Size> {
            let (host, program) = part.host_and_program();
            let program = program.get(..NAME).unwrap_or(program);
            let said = trio.host(host)?.place()?.shell(&format!(
                "pid=$(pgrep -x {program}); echo $pid
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
            Ok(Size {
                process: next()?,
                memory: next()?,
                descriptors: next()?,
            })
        };
        let parts = Part::ALL.map(read).into_iter().collect::<Result<_>>()?;
        Ok(Self { at, parts })
    }

    pub(super) fn of(&self, part: Part) -> Size {
        let place = Part::ALL.iter().position(|it| *it == part);
        let found = place.and_then(|place| self.parts.get(place));
        found.copied().unwrap_or_default()
    }

    pub(super) fn line(&self) -> String {
        let parts = Part::ALL.map(|part| {
            let size = self.of(part);
            format!("{part} {} KiB, {} files", size.memory, size.descriptors)
        });
        format!("{:5} s  {}", self.at.as_secs(), parts.join("; "))
    }
}
