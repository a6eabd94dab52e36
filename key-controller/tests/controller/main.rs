//! The real binary on a folder of its own, with nodes played by the test.

mod enrol;
mod faults;
mod rig;
