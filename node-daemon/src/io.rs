//! The daemon's edge to the kernel: the only place of the workspace where `unsafe` is allowed.
//!
//! Each submodule wraps one kernel interface and decides nothing.

pub(crate) mod allocator;
pub(crate) mod capture;
pub(crate) mod guard;
#[cfg(test)]
pub(crate) mod namespace;
pub(crate) mod netlink;
pub(crate) mod random;
pub(crate) mod sysctl;
pub(crate) mod tun;
pub(crate) mod udp;
pub(crate) mod uevent;
pub(crate) mod wake;
