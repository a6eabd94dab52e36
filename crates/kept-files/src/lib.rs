//! Files that outlive a process: written whole or not at all, read with bounds, secrets only from
//! files nobody else can have touched.
//!
//! Nothing here blocks on a pipe or reads further than its caller's limit. What the bytes mean, and
//! what becomes of a program without them, is the caller's business.

mod directory;
mod error;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use directory::{close_unused, create_directory, find_directory};
pub use error::FileError;
pub use read::{Links, Loaded, load, read, read_secret};
pub use write::{
    all_aside, aside, clear, copy, open_lock, remove, set_aside, sync_directory, unfinished, write,
    write_new,
};
