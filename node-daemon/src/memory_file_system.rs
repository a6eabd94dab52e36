//! Whether a file in a directory can ever reach a disk: a tunnel key may not.

use std::path::Path;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use thiserror::Error;

use kept_files::{FileError, Links};

/// Linux's number for ramfs, which nothing ever swaps (`include/uapi/linux/magic.h`).
const RAMFS_MAGIC: u64 = 0x8584_58f6;

/// Most bytes of swaps or mounts; a node with thousands of pods has some 10 MB of mounts.
const PROC_LIMIT: u64 = 64 << 20;

/// Why what is written there may reach a disk.
#[derive(Debug, Error)]
pub(crate) enum OnDiskError {
    /// An ordinary file system.
    #[error("it is on a disk, mount a tmpfs there")]
    NoMemoryFileSystem,
    /// A tmpfs that may be swapped out.
    #[error("swap is on and its tmpfs may be swapped, mount it with noswap or switch swap off")]
    Swapped,
    /// The system did not tell.
    #[error("look at the file system")]
    System(#[from] nix::Error),
    /// Swap or mounts could not be read.
    #[error("look at swap and mounts")]
    Proc(#[from] FileError),
}

/// Says whether files in `directory` stay in memory.
///
/// # Errors
/// When they may reach a disk, or it cannot be found out.
pub(crate) fn keeps_off_disk(directory: &Path) -> Result<(), OnDiskError> {
    let kind = statfs(directory)?.filesystem_type();
    if u64::try_from(kind.0).is_ok_and(|kind| kind == RAMFS_MAGIC) {
        return Ok(());
    }
    if kind != TMPFS_MAGIC {
        return Err(OnDiskError::NoMemoryFileSystem);
    }
    let read = |path: &str| {
        kept_files::read(Path::new(path), PROC_LIMIT, Links::Follow)
            .map(|bytes| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    if swap_is_on(&read("/proc/swaps")?)
        && !mounted_without_swap(&read("/proc/self/mountinfo")?, directory)
    {
        return Err(OnDiskError::Swapped);
    }
    Ok(())
}

fn swap_is_on(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

/// Whether the innermost mount that holds `directory` has the option `noswap` (Linux 6.4).
fn mounted_without_swap(mountinfo: &str, directory: &Path) -> bool {
    let mount_point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
    let innermost = mountinfo
        .lines()
        .filter(|line| mount_point(line).is_some_and(|point| directory.starts_with(point)))
        .max_by_key(|line| mount_point(line).map_or(0, |point| point.len()));
    let options = innermost.and_then(|line| line.split(' ').next_back());
    options.is_some_and(|options| options.split(',').any(|option| option == "noswap"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{mounted_without_swap, swap_is_on};

    #[test]
    fn only_a_line_behind_the_heading_is_swap() {
        assert!(!swap_is_on("Filename\tType\tSize\tUsed\tPriority\n"));
        assert!(swap_is_on(
            "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n"
        ));
    }

    #[test]
    fn the_innermost_mount_decides_about_swap() {
        let mounts = "20 1 0:5 / / rw - ext4 /dev/sda1 rw\n\
                      21 20 0:6 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=8k,noswap\n\
                      22 21 0:7 / /run/sotto rw - tmpfs tmpfs rw\n";

        assert!(mounted_without_swap(mounts, Path::new("/run/other")));
        assert!(!mounted_without_swap(mounts, Path::new("/run/sotto")));
        assert!(!mounted_without_swap(mounts, Path::new("/var")));
    }
}
