//! The standing oracle: Eve on the switch while something happens.

use anyhow::{Result, ensure};

use crate::capture::{Canary, Capture, Wire};
use crate::lab::Lab;

/// Lets something happen while Eve listens; it gets a fresh canary to put into its payloads.
///
/// # Errors
/// What the deed returns, or that Eve found the canary or anything that is neither the tunnel nor
/// the machines' own neighbour discovery.
pub fn nothing_leaks(lab: &Lab, deed: impl FnOnce(&Canary) -> Result<()>) -> Result<Wire> {
    let canary = Canary::new()?;
    let eve = Capture::on_switch(lab)?;
    let done = deed(&canary);
    let seen = eve.stop()?;
    let (found, wire) = (seen.count(&canary)?, seen.wire()?);
    ensure!(found == 0, "Eve found the canary {found} times: {wire:?}");
    ensure!(
        wire.other.is_empty(),
        "Eve saw more than the tunnel: {:?}",
        wire.other
    );
    done?;
    Ok(wire)
}
