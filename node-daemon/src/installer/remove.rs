//! Takes off the node what was installed on it: the configuration first, since the runtime would call
//! plugins that are gone.

use std::fs;
use std::path::Path;

use kept_files::{FileError, Links};
use tracing::{info, warn};

use super::place::{CONFIGURATION_LIMIT, remove_sentinel, tell_runtime};
use super::{CONFIGURATION_FILE, LOOPBACK, OUR_LOOPBACK, PLUGINS, judge};
use crate::config::Cni;
use crate::uninstall::remove_file;

/// Removes configuration and plugins, from whatever remains of them; nobody else's.
///
/// # Errors
/// When the system refuses.
pub(crate) fn remove(settings: &Cni) -> Result<(), FileError> {
    remove_configuration(settings)?;
    remove_loopback(settings)?;
    for plugin in PLUGINS {
        let path = settings.plugin_directory.join(plugin);
        remove_file(&kept_files::unfinished(&path))?;
        remove_file(&path)?;
    }
    Ok(())
}

/// Removes it only if it leads to ours: the name is everybody's.
fn remove_loopback(settings: &Cni) -> Result<(), FileError> {
    let path = settings.plugin_directory.join(LOOPBACK);
    match fs::read_link(&path) {
        Ok(target) if target == Path::new(OUR_LOOPBACK) => kept_files::remove(&path),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn remove_configuration(settings: &Cni) -> Result<(), FileError> {
    let folder = &settings.configuration_directory;
    let path = folder.join(CONFIGURATION_FILE);
    remove_file(&kept_files::unfinished(&path))?;
    remove_sentinel(folder)?;
    let found = kept_files::read(&path, CONFIGURATION_LIMIT, Links::Refuse);
    match found {
        Ok(None) => return Ok(()),
        Ok(Some(bytes)) if !judge::is_ours(&bytes) => {
            warn!(file = %path.display(), "Network configuration of our name is another network's, it stays");
            return Ok(());
        }
        Ok(Some(_)) | Err(_) => {}
    }
    remove_file(&path)?;
    tell_runtime(folder)?;
    info!(file = %path.display(), "Network configuration removed");
    Ok(())
}
