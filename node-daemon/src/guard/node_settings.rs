//! Writes kernel settings and keeps the journal of what they were.

use std::io;
use std::path::Path;

use kept_files::Loaded;
use tracing::error;

use super::GuardError;
use super::counters::Part;
use super::plan::GuardPlan;
use super::settings::{
    Journal, Setting, accept_ra_key, advertisement_settings, forwarding_settings,
    turns_on_ipv6_forwarding,
};
use crate::io::sysctl;

/// Most bytes of the journal: a hundred a setting, and a thousand uplinks (a guess).
const JOURNAL_LIMIT: u64 = 1 << 20;

/// Writes the settings that have another value, and notes each.
pub(super) fn enforce(settings: &[Setting], repaired: &mut Vec<Part>) -> Result<(), GuardError> {
    for setting in settings {
        if sysctl::read(&setting.key)? != setting.value {
            sysctl::write(&setting.key, &setting.value)?;
            repaired.push(Part::Setting);
        }
    }
    Ok(())
}

/// Makes the node a router without taking its uplinks' advertised default routes away. What the
/// settings were is on disk before the first of them changes.
pub(super) fn turn_on_forwarding(
    plan: &GuardPlan,
    uplinks: &[String],
    journal: &mut Journal,
    journal_path: &Path,
    repaired: &mut Vec<Part>,
) -> Result<(), GuardError> {
    let mut changes = Vec::new();
    for setting in forwarding_settings(plan) {
        let before = sysctl::read(&setting.key)?;
        if before == setting.value {
            continue;
        }
        if turns_on_ipv6_forwarding(&setting) {
            let keep = advertisement_settings(&accepted_advertisements(uplinks));
            changes.extend(keep.into_iter().map(|setting| (setting, "1".to_owned())));
        }
        changes.push((setting, before));
    }
    if changes.is_empty() {
        return Ok(());
    }
    for (setting, before) in &changes {
        journal.note(setting, before);
    }
    store_journal(journal, journal_path)?;
    for (setting, _) in &changes {
        sysctl::write(&setting.key, &setting.value)?;
        repaired.push(Part::Setting);
    }
    Ok(())
}

/// Reads the journal; one that was never written is empty. A damaged one is set aside: without it
/// `uninstall` leaves settings as they are, with it as it is no pod would ever be attached again.
pub(super) fn load_journal(path: &Path) -> Result<Journal, GuardError> {
    let failed = |source| GuardError::Journal {
        path: path.to_owned(),
        source,
    };
    let parse = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| error.to_string());
    let loaded = kept_files::load(path, JOURNAL_LIMIT, parse);
    Ok(match loaded.map_err(|error| failed(error.into()))? {
        Loaded::Absent => Journal::default(),
        Loaded::Whole(journal) => journal,
        Loaded::Refused { fault, aside } => {
            error!(file = %path.display(), %fault, aside = %aside.display(), "Record of the node's earlier settings refused: uninstall will not put them back");
            Journal::default()
        }
    })
}

fn store_journal(journal: &Journal, path: &Path) -> Result<(), GuardError> {
    let bytes = serde_json::to_vec_pretty(journal).map_err(io::Error::from);
    bytes
        .and_then(|bytes| kept_files::write(path, &bytes, 0o600).map_err(io::Error::from))
        .map_err(|source| GuardError::Journal {
            path: path.to_owned(),
            source,
        })
}

/// An interface without the setting (IPv6 switched off on it) accepts none.
fn accepted_advertisements(uplinks: &[String]) -> Vec<(String, String)> {
    uplinks
        .iter()
        .filter_map(|name| Some((name.clone(), sysctl::read(&accept_ra_key(name)).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Journal, load_journal};

    #[test]
    fn a_damaged_journal_is_set_aside_and_the_guard_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kernel-settings.json");
        std::fs::write(&path, b"{ \"settings\": [ {").unwrap();

        assert_eq!(load_journal(&path).unwrap(), Journal::default());
        assert!(!path.exists());
        assert!(kept_files::aside(&path).exists());
    }

    #[test]
    fn a_pipe_or_folder_in_place_of_the_journal_does_not_keep_the_guard_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kernel-settings.json");

        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(load_journal(&path).unwrap(), Journal::default());
        std::fs::create_dir(&path).unwrap();
        assert_eq!(load_journal(&path).unwrap(), Journal::default());

        assert!(!path.exists());
    }
}
