//! The plugin by itself: a node whose daemon did its work and died, a runtime that calls the plugin.
//!
//! `runtime` plays both; the other modules hold the tests, by what goes wrong.

mod attach;
mod crowd;
mod detach;
mod judge;
mod leftovers;
mod refuse;
mod runtime;
mod stopped;

use sotto_tests::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    [
        attach::cases(),
        crowd::cases(),
        detach::cases(),
        judge::cases(),
        leftovers::cases(),
        refuse::cases(),
        stopped::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
