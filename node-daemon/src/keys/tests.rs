//! Keys that are kept, keys that are refused, and what a node without either needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;
use node_identity::{IkHash, JoinToken};

use super::{IDENTITY_FILE, Identity, MachineIds, open, read_join_token};
use crate::config::Config;
use crate::io::random;
use crate::sample::{self, Authority, SampleNode};

struct Place {
    directory: tempfile::TempDir,
    config: Config,
    token: JoinToken,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let config = sample::config(&authority, directory.path());
        let token = authority.token(&SampleNode::new("alice", 1).id);
        Self {
            directory,
            config,
            token,
        }
    }

    fn open(&self, token: Option<&JoinToken>) -> Result<Identity> {
        open(
            &self.config,
            &MachineIds::read(&self.config)?,
            token.map(|token| token.identity.uid),
            &mut random::system(),
        )
    }

    fn key(&self) -> IkHash {
        self.open(Some(&self.token)).unwrap().key.public().hash()
    }

    fn file(&self) -> PathBuf {
        self.config.state_directory.join(IDENTITY_FILE)
    }
}

#[test]
fn the_identity_key_is_made_once_and_needs_the_token_only_then() {
    let place = Place::new();

    let made = place.open(Some(&place.token)).unwrap();
    let kept = place.open(None).unwrap();

    assert_eq!(made.key.public().hash(), kept.key.public().hash());
    assert_eq!(kept.id, place.token.identity);
    assert_eq!(
        fs::metadata(place.file()).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn without_key_and_token_the_cure_is_told() {
    let error = Place::new().open(None).unwrap_err().to_string();

    assert!(
        error.contains("sotto-controller token create --node alice"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
}

/// What is said of the key, which must stay as it is, whether the token is still there or not.
fn refused(place: &Place) -> String {
    let before = fs::read(place.file()).unwrap();
    let [without, with] =
        [None, Some(&place.token)].map(|token| format!("{:#}", place.open(token).unwrap_err()));
    assert_eq!(without, with);
    assert_eq!(with.lines().count(), 1);
    assert!(with.contains("to start over as a new node"), "{with}");
    assert_eq!(fs::read(place.file()).unwrap(), before);
    with
}

#[test]
fn kl13_a_key_that_others_could_read_stays_and_the_cure_is_told() {
    let place = Place::new();
    let first = place.key();
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o644)).unwrap();

    let refused = refused(&place);
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o600)).unwrap();

    assert!(refused.contains("chmod 600"), "{refused}");
    assert_eq!(place.key(), first);
}

#[test]
fn kl13_a_key_behind_a_link_is_refused() {
    let place = Place::new();
    let first = place.key();
    let elsewhere = place.directory.path().join("elsewhere");
    fs::rename(place.file(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.file()).unwrap();

    let refused = refused(&place);
    fs::rename(&elsewhere, place.file()).unwrap();

    assert!(refused.contains("is a link"), "{refused}");
    assert_eq!(place.key(), first);
}

#[test]
fn kl13_a_key_cut_or_flipped_anywhere_is_refused() {
    let place = Place::new();
    place.key();
    let whole = fs::read(place.file()).unwrap();
    let at_step = |step: usize| (0..whole.len() - 1).step_by(step);

    for at in at_step(7) {
        kept_files::write(&place.file(), &whole[..at], 0o600).unwrap();
        assert!(place.open(Some(&place.token)).is_err(), "cut at {at}");
    }
    for at in at_step(5) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x80;
        kept_files::write(&place.file(), &flipped, 0o600).unwrap();
        assert!(place.open(Some(&place.token)).is_err(), "flipped at {at}");
    }
}

#[test]
fn a_cloned_disks_key_is_refused() {
    let place = Place::new();
    place.key();

    fs::write(&place.config.machine_id_files[0], "machine-2").unwrap();

    assert!(refused(&place).contains("is this disk a clone?"));
}

#[test]
fn a_token_for_a_node_created_anew_makes_a_new_key() {
    let place = Place::new();
    let first = place.key();
    let anew = Authority::new().token(&SampleNode::new("alice", 1).id);

    let second = place.open(Some(&anew)).unwrap();

    assert_ne!(first, second.key.public().hash());
    assert_eq!(second.id, anew.identity);
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let config = sample::config(&authority, directory.path());
    let write = |token: &JoinToken| {
        kept_files::write(
            &directory.path().join("token"),
            token.to_string().as_bytes(),
            0o600,
        )
        .unwrap()
    };
    assert!(
        read_join_token(&config).unwrap().is_none(),
        "no token is no error"
    );

    write(&authority.token(&SampleNode::new("bob", 2).id));
    let for_bob = format!("{:#}", read_join_token(&config).unwrap_err());
    write(&Authority::new().token(&SampleNode::new("alice", 1).id));
    let of_another_root = format!("{:#}", read_join_token(&config).unwrap_err());
    fs::set_permissions(
        directory.path().join("token"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    let open_to_others = format!("{:#}", read_join_token(&config).unwrap_err());

    assert!(
        for_bob.contains("join_token_file") && for_bob.contains("the token is for node bob"),
        "{for_bob}"
    );
    assert!(
        of_another_root.contains("is not among pins"),
        "{of_another_root}"
    );
    assert!(open_to_others.contains("mode is 640"), "{open_to_others}");
}

#[test]
fn a_machine_without_an_id_is_told_which_setting_cures_it() {
    let place = Place::new();

    fs::write(&place.config.machine_id_files[0], " \n").unwrap();
    let empty = format!("{:#}", MachineIds::read(&place.config).unwrap_err());
    fs::remove_file(&place.config.machine_id_files[0]).unwrap();
    let absent = format!("{:#}", MachineIds::read(&place.config).unwrap_err());

    assert!(empty.starts_with("machine_id_file = "), "{empty}");
    assert!(absent.contains("for example /etc/machine-id"), "{absent}");
}

#[test]
fn a_machine_without_dmi_has_the_id_of_its_system() {
    let mut place = Place::new();
    let with_dmi = MachineIds::read(&place.config).unwrap();
    let directory = place.config.state_directory.clone();
    let [dmi, system] = ["dmi", "machine-id"].map(|name| directory.join(name));
    place.config.machine_id_files = vec![dmi.clone(), system.clone()];
    fs::write(&system, "machine-1\n").unwrap();

    let without = MachineIds::read(&place.config).unwrap();
    fs::write(&dmi, "machine-2\n").unwrap();
    let clone = MachineIds::read(&place.config).unwrap();
    for file in [dmi, system] {
        fs::remove_file(file).unwrap();
    }
    let nothing = format!("{:#}", MachineIds::read(&place.config).unwrap_err());

    assert_eq!(without, with_dmi);
    assert_ne!(clone, with_dmi, "the machine's own id comes first");
    assert!(nothing.contains("machine_id_file = "), "{nothing}");
}
