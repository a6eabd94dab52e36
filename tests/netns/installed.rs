//! Sotto installed on a node by its daemon, for a runtime that reads folders: what is there after a
//! crash, on a full disk, beside another network, and while it is taken off again.

mod beside_others;
mod machine;
mod removed;
mod steps;

use sotto_tests::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    [steps::cases(), beside_others::cases(), removed::cases()]
        .into_iter()
        .flatten()
        .collect()
}
