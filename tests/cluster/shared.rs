//! The cluster that tests share: it is raised for the first and gone with the program.

use std::sync::{PoisonError, RwLock};

use anyhow::{Context, Result};
use sotto_tests::case::keep;
use sotto_tests::kubernetes::whole::{ProxyMode, Trio};
use sotto_tests::lab::Lab;

static TRIO: RwLock<Option<(Lab, Trio)>> = RwLock::new(None);

/// Runs a test beside others; it leaves nodes and system as it found them. Afterwards Eve must have seen
/// nothing.
pub(crate) fn with(body: impl FnOnce(&Lab, &Trio) -> Result<()>) -> Result<()> {
    raise()?;
    let kept = TRIO.read().unwrap_or_else(PoisonError::into_inner);
    judge(kept.as_ref(), body)
}

/// Runs a test alone, because it stops something for a while.
pub(crate) fn alone(body: impl FnOnce(&Lab, &Trio) -> Result<()>) -> Result<()> {
    raise()?;
    let kept = TRIO.write().unwrap_or_else(PoisonError::into_inner);
    judge(kept.as_ref(), body)
}

fn raise() -> Result<()> {
    let mut kept = TRIO.write().unwrap_or_else(PoisonError::into_inner);
    if kept.is_none() {
        let lab = Lab::new()?;
        let trio = Trio::raise(&lab, ProxyMode::Nftables);
        let trio = trio.map_err(|error| error.context(lab.report()))?;
        *kept = Some((lab, trio));
    }
    Ok(())
}

fn judge(kept: Option<&(Lab, Trio)>, body: impl FnOnce(&Lab, &Trio) -> Result<()>) -> Result<()> {
    let (lab, trio) = kept.context("no cluster")?;
    let result = body(lab, trio).and_then(|()| trio.nothing_leaked());
    if result.is_err() {
        println!("{}\n{}", trio.cluster.state(), keep(lab, "shared")?);
    }
    result
}
