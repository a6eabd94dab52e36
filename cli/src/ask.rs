//! A question to the person at the terminal, where there is one.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

use anyhow::{Context, Result, bail};

use crate::printable::printable_lines;

/// Whether a question was answered beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// `--yes` was given.
    Given,
    /// A person must be asked.
    Needed,
}

impl Consent {
    /// What `--yes` says.
    pub(crate) const fn of(yes: bool) -> Self {
        if yes { Self::Given } else { Self::Needed }
    }
}

/// Asks whether to go on.
///
/// # Errors
/// When the answer is no, or nobody is there to be asked.
pub(crate) async fn confirm(question: &str, consent: Consent) -> Result<()> {
    if consent == Consent::Given {
        return Ok(());
    }
    let answer = line(&format!("{question} Type yes to go on: "))
        .await
        .context("ask whether to go on: give --yes to go on without being asked")?;
    if answer == "yes" {
        Ok(())
    } else {
        bail!("nothing was changed: the answer was not yes")
    }
}

/// Asks for a line of text.
///
/// # Errors
/// When nobody is there to be asked.
pub(crate) async fn line(question: &str) -> Result<String> {
    if !stdin().is_terminal() {
        bail!("standard input is no terminal");
    }
    write!(stderr(), "{}", printable_lines(question))?;
    stderr().flush()?;
    // A thread that nobody waits for: an interrupted program must not hang on it.
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdin().lock().read_line(&mut text);
        let _ = send.send(read.map(|_| text));
    });
    let text = receive.await.context("read from the terminal")??;
    Ok(text.trim().to_owned())
}
