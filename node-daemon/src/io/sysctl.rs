//! Kernel settings as files below `/proc/sys`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

const ROOT: &str = "/proc/sys";

/// Where the pod template shows the node's `/proc/sys/net`: a container's own is read-only, and no
/// runtime mounts anything inside `/proc`.
const FROM_A_POD: &str = "/host/proc/sys";

/// Why a setting could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum SysctlError {
    /// Not readable.
    #[error("read kernel setting {key}: is /proc/sys mounted and does this kernel have it?")]
    Read {
        /// Path below `/proc/sys`.
        key: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Not writable.
    #[error(
        "set kernel setting {key} to {value}: mount /proc/sys writable for the daemon, or set it on the node beforehand"
    )]
    Write {
        /// Path below `/proc/sys`.
        key: String,
        /// What was to be written.
        value: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Reads a setting.
///
/// # Errors
/// When there is none or it cannot be read.
pub(crate) fn read(key: &str) -> Result<String, SysctlError> {
    let text = fs::read_to_string(path(key));
    let text = text.map_err(|source| SysctlError::Read {
        key: key.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

/// Writes a setting.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(key: &str, value: &str) -> Result<(), SysctlError> {
    fs::write(path(key), value).map_err(|source| SysctlError::Write {
        key: key.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Whether this kernel (and this network namespace) has IPv6.
pub(crate) fn has_ipv6() -> bool {
    Path::new(ROOT).join("net/ipv6").exists()
}

fn path(key: &str) -> PathBuf {
    let from_a_pod = Path::new(FROM_A_POD).join(key);
    if from_a_pod.exists() {
        from_a_pod
    } else {
        Path::new(ROOT).join(key)
    }
}
