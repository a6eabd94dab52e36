//! The plugin by itself: a node whose daemon did its work and died, a runtime that calls the plugin.
//!
//! `runtime` plays both; the other modules hold the tests, by what goes wrong.

mod attach;
mod chain;
mod crowd;
mod deadlines;
mod detach;
mod ipam;
mod judge;
mod leftovers;
mod refuse;
mod runtime;
mod stopped;
mod traced;

use sotto_tests::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    [
        // The longest first: it waits most of the time.
        deadlines::cases(),
        attach::cases(),
        chain::cases(),
        crowd::cases(),
        detach::cases(),
        ipam::cases(),
        judge::cases(),
        leftovers::cases(),
        refuse::cases(),
        stopped::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
