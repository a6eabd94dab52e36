//! What the process owes the root key and the tokens' secrets before it reads the first one.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

/// Takes the process's memory out of core dumps and of other programs' reach. The limit alone would
/// leave a core dump that the system pipes into a program.
pub(crate) fn forbid_core_dumps() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    set_dumpable(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_the_process_is_not_dumpable() {
        forbid_core_dumps().unwrap();

        assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false));
    }
}
