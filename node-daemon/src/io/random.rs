//! The system's randomness.

use getrandom::SysRng;
use rand_core::UnwrapErr;

/// A generator over `getrandom(2)`. It never fails on a system that is up: the call only blocks until
/// the pool is filled once.
pub(crate) fn system() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
