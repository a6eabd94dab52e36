//! What the two planes of several nodes do together, by the cases of the fault matrix and the
//! tests that belong to the protocol.

mod agreeing;
mod clocks;
mod generations;
mod hostile;
mod partitions;
mod restarts;
mod scene;
mod stalls;
mod steady;
mod store;
