//! What the daemon says about this node, read for this boot.

use std::path::{Path, PathBuf};

use cni_protocol::config::NetworkConfig;
use cni_protocol::contract::NODE_STATE_FILE;
use cni_protocol::node_state::{NodeState, NodeStateError, is_boot_id};
use kept_files::{FileError, Links};

/// The longest `node.json` that is read, in bytes; a real one has under a thousand.
const SIZE_LIMIT: u64 = 1 << 20;

/// The longest file with a boot id that is read, in bytes; the kernel's has 37.
const BOOT_ID_LIMIT: u64 = 1 << 12;

/// Why no pod can be attached on this node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The daemon has not finished starting in this boot.
    #[error("read {}: sotto-node has not installed its guard yet, is it running?", .0.display())]
    NotReady(PathBuf),
    /// A file of an earlier boot; the kernel's half of the guard is gone.
    #[error("read {}: it is of another boot, sotto-node has not started in this one", .0.display())]
    OtherBoot(PathBuf),
    /// A file that the daemon did not write, or another version of it.
    #[error("read {}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: NodeStateError,
    },
    /// It cannot be read, is too long, or is no file.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no file that tells boots apart.
    #[error("read boot id from {}: there is no such file, is /proc mounted?", .0.display())]
    NoBootId(PathBuf),
    /// The file that tells boots apart holds something else.
    #[error("read boot id from {}: {text:?} is none", .path.display())]
    BootId {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
}

/// Reads `node.json` and makes sure that it is of this boot.
pub(crate) fn load(config: &NetworkConfig) -> Result<NodeState, NodeError> {
    let path = config.runtime_directory.join(NODE_STATE_FILE);
    let Some(text) = kept_files::read(&path, SIZE_LIMIT, Links::Follow)? else {
        return Err(NodeError::NotReady(path));
    };
    let state = match NodeState::from_json(&text) {
        Ok(state) => state,
        Err(source) => return Err(NodeError::Invalid { path, source }),
    };
    if state.boot_id != boot_id(&config.boot_id_file)? {
        return Err(NodeError::OtherBoot(path));
    }
    Ok(state)
}

/// Reads which boot this is.
pub(crate) fn boot_id(path: &Path) -> Result<String, NodeError> {
    let Some(bytes) = kept_files::read(path, BOOT_ID_LIMIT, Links::Follow)? else {
        return Err(NodeError::NoBootId(path.into()));
    };
    let text = String::from_utf8_lossy(&bytes);
    let id = text.trim();
    if is_boot_id(id) {
        return Ok(id.to_owned());
    }
    Err(NodeError::BootId {
        path: path.into(),
        text: id.chars().take(64).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_boot_id_is_the_kernels_or_none() {
        let read = |path: &str| boot_id(Path::new(path));

        assert!(read("/proc/sys/kernel/random/boot_id").is_ok());
        assert!(matches!(read("/proc/none"), Err(NodeError::NoBootId(_))));
        assert!(matches!(
            read("/proc/self/status"),
            Err(NodeError::BootId { .. })
        ));
    }

    #[test]
    fn a_pipe_and_an_endless_file_hold_no_boot_id_and_keep_nobody() {
        let (reader, _writer) = std::io::pipe().unwrap();

        for path in [
            format!("/proc/self/fd/{}", reader.as_raw_fd()),
            "/dev/zero".to_owned(),
        ] {
            let read = boot_id(Path::new(&path));

            assert!(
                matches!(read, Err(NodeError::File(FileError::NotAFile { .. }))),
                "{read:?}"
            );
        }
    }
}
