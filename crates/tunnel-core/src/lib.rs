//! The tunnels of one node, as pure code: no sockets, no files, no clock.
//!
//! The control side (`control`: sessions, agreement, liveness) agrees on keys with other nodes;
//! the lanes (`lane`: owner table, transports, replay windows) move pod packets with them. The two
//! share nothing but the messages in `plane`. Everything takes `now` and randomness as arguments;
//! the only leak is boringtun, which reads the clock and the system's randomness itself and is
//! touched in `session` alone.

mod agreement;
mod bytes;
pub mod control;
pub mod counters;
pub mod drop_reason;
mod hints;
pub mod key_schedule;
pub mod lane;
mod liveness;
mod message;
pub mod moment;
pub mod offload;
pub mod owner;
pub mod packet;
mod per_second;
pub mod plane;
pub mod replay;
mod session;
pub mod transport;
