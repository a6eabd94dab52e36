//! Waiting on a condition with a limit; never for a time alone.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `condition` yields a value.
///
/// # Errors
/// When the limit passes first; the text names what was waited for.
pub fn until_some<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if started.elapsed() > limit {
            bail!("waited {limit:?} for {what}");
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until `condition` holds.
///
/// # Errors
/// When the limit passes first; the text names what was waited for.
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    until_some(what, limit, || condition().then_some(()))
}

/// Lets time pass, where the passing itself is what is tested: how long a daemon stays dead.
pub fn let_pass(time: Duration) {
    std::thread::sleep(time);
}
