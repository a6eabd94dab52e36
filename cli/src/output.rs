//! How an answer is printed, and whether it was a good one.

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::printable::{json, yaml};

/// A way to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For people with a wide terminal.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// Whether what was looked at is in order; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// In order: 0.
    Fine,
    /// Something is wrong: 1.
    Wrong,
}

/// What a verb has to say at its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The text, perhaps empty.
    pub(crate) text: String,
    /// Whether all is well.
    pub(crate) verdict: Verdict,
}

impl Answer {
    /// Words about something that is in order.
    pub(crate) fn fine(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            verdict: Verdict::Fine,
        }
    }
}

/// Prints a value for programs, or by `text` for people.
///
/// # Errors
/// When it cannot be written as JSON or YAML.
pub(crate) fn render<T: Serialize>(
    value: &T,
    output: Output,
    text: impl FnOnce(&T) -> String,
) -> Result<String> {
    match output {
        Output::Table | Output::Wide => Ok(text(value)),
        Output::Json => Ok(json(value)?),
        Output::Yaml => yaml(value),
    }
}
