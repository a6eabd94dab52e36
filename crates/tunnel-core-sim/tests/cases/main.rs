//! What the two planes of several nodes do together, by the cases of the fault matrix and the
//! tests that belong to the protocol.

mod agreeing;
mod steady;
