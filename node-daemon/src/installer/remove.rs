//! Takes off the node what was installed on it: the configuration first, since the runtime would call
//! plugins that are gone.

use std::fs;
use std::path::Path;

use kept_files::Links;
use tracing::{info, warn};

use super::place::{remove_sentinel, tell_runtime};
use super::{CONFIGURATION_FILE, LOOPBACK, PLUGINS, judge};
use crate::config::Cni;
use kept_files::FileError;

/// Removes configuration and plugins, from whatever remains of them; nobody else's.
///
/// # Errors
/// When the system refuses.
pub(crate) fn remove(settings: &Cni) -> Result<(), FileError> {
    remove_configuration(settings)?;
    for plugin in PLUGINS {
        let path = settings.plugin_directory.join(plugin);
        kept_files::remove(&kept_files::unfinished(&path))?;
        kept_files::remove(&path)?;
    }
    remove_loopback(settings)
}

/// Removes it only if it is ours to the last byte: the name is everybody's.
fn remove_loopback(settings: &Cni) -> Result<(), FileError> {
    let path = settings.plugin_directory.join(LOOPBACK);
    let Ok(ours) = fs::read(settings.plugin_source.join(LOOPBACK)) else {
        return Ok(());
    };
    let there = |path: &Path| {
        let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
        is_file.then(|| fs::read(path).ok()).flatten()
    };
    let unfinished = kept_files::unfinished(&path);
    if there(&unfinished).is_some_and(|half| ours.starts_with(&half)) {
        kept_files::remove(&unfinished)?;
    }
    if there(&path).is_some_and(|found| found == ours) {
        kept_files::remove(&path)?;
    }
    Ok(())
}

fn remove_configuration(settings: &Cni) -> Result<(), FileError> {
    let folder = &settings.configuration_directory;
    let path = folder.join(CONFIGURATION_FILE);
    kept_files::remove(&kept_files::unfinished(&path))?;
    remove_sentinel(folder)?;
    let found = kept_files::read(&path, 1 << 20, Links::Refuse);
    match found {
        Ok(None) => return Ok(()),
        Ok(Some(bytes)) if !judge::is_ours(&bytes) => {
            warn!(file = %path.display(), "Network configuration of our name is another network's, it stays");
            return Ok(());
        }
        Ok(Some(_)) | Err(_) => {}
    }
    kept_files::remove(&path)?;
    tell_runtime(folder)?;
    info!(file = %path.display(), "Network configuration removed");
    Ok(())
}
