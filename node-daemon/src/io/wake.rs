//! Wakes a lane that sleeps in `poll`: an eventfd that the control side writes.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};

/// Readable from `wake` until `clear`.
pub(crate) struct Wake {
    file: File,
}

impl Wake {
    /// Makes one.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub(crate) fn new() -> io::Result<Wake> {
        // SAFETY: takes no pointers; the result is checked before use.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made the descriptor, so nobody else owns it.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Wake {
            file: File::from(owned),
        })
    }

    /// Wakes who sleeps on it, now or next time.
    pub(crate) fn wake(&self) {
        // The only refusal is a full counter, which is awake already.
        let _ = (&self.file).write(&1_u64.to_ne_bytes());
    }

    /// Lets the next one sleep again.
    pub(crate) fn clear(&self) {
        // An empty counter refuses: there was nothing to clear.
        let _ = (&self.file).read(&mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
