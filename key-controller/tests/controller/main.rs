//! The real binary on a folder of its own, with nodes played by the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod enrol;
mod faults;
mod restored;
mod rig;
