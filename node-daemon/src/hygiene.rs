//! What the process owes its secrets before it reads the first one: no core dump, no swap.
//!
//! Wiping freed memory is `io/allocator.rs`; children are only ever started with `posix_spawn`, so
//! that no copy of this memory exists between fork and exec.

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use tracing::warn;

/// Takes the process's memory out of core dumps, debuggers' reach and swap.
///
/// What the system refuses is a warning: a container without `IPC_LOCK` can still run.
pub(crate) fn protect_memory() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0).and_then(|()| set_dumpable(false)) {
        warn!(%error, "Core dumps could not be switched off");
    }
    // Locked as pages are first touched: locking whole thread stacks up front would cost megabytes.
    let on_fault = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
    {
        warn!(%error, "Memory could not be locked, keys may be swapped out: grant CAP_IPC_LOCK");
    }
}
