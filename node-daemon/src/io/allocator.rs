//! The global allocator: the system's, with freed memory wiped.
//!
//! boringtun keeps session keys in its own allocations and does not wipe them; this does it for
//! every crate at once. The lanes allocate nothing per packet, so only the control side pays.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::arch::asm;
use std::ptr;

/// Hands out the system allocator's memory and wipes it when it comes back.
pub struct Zeroing;

/// Overwrites `len` bytes at `start`.
///
/// # Safety
/// The bytes must be writable and belong to the caller.
unsafe fn wipe(start: *mut u8, len: usize) {
    // SAFETY: the caller owns `len` writable bytes. The empty assembly may, as far as the compiler
    // knows, read them, so the write is not removed as dead before the memory is freed.
    unsafe {
        ptr::write_bytes(start, 0, len);
        asm!("/* {0} */", in(reg) start, options(nostack, readonly, preserves_flags));
    }
}

// SAFETY: memory comes from and goes back to `System` with unchanged layouts.
unsafe impl GlobalAlloc for Zeroing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's to give back, whole, and is not used afterwards.
        unsafe {
            wipe(start, layout.size());
            System.dealloc(start, layout);
        }
    }

    // `realloc` is the trait's own: allocate, copy, `dealloc`. The system's would leave the old
    // block behind unwiped when it moves.
}

#[cfg(test)]
mod tests {
    use super::wipe;

    #[test]
    fn a_freed_block_keeps_nothing() {
        let mut block = [0x5a_u8; 64];

        // SAFETY: the block is ours and 64 bytes long.
        unsafe { wipe(block.as_mut_ptr(), block.len()) };

        assert_eq!(block, [0; 64]);
    }
}
