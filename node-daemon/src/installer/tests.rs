//! What is on the disk after each way that an installation can go wrong.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::Cni;

/// A machine's folders.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let disk = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(disk.source("")).unwrap();
        for plugin in PLUGINS {
            fs::write(disk.source(plugin), format!("{plugin} 1")).unwrap();
        }
        disk
    }

    fn source(&self, name: &str) -> PathBuf {
        self.directory.path().join("source").join(name)
    }

    fn plugin(&self, name: &str) -> PathBuf {
        self.directory.path().join("opt/cni/bin").join(name)
    }

    fn configuration(&self, name: &str) -> PathBuf {
        self.directory.path().join("etc/cni/net.d").join(name)
    }

    fn ours(&self) -> PathBuf {
        self.configuration(CONFIGURATION_FILE)
    }

    fn settings(&self) -> Cni {
        Cni {
            plugin_source: self.source(""),
            plugin_directory: self.plugin(""),
            configuration_directory: self.configuration(""),
        }
    }

    fn place(&self) -> Place {
        Place::new(self.settings(), Path::new("/run/sotto"))
    }

    /// Everything installed, by a daemon whose `Place` is returned.
    fn installed(&self) -> Place {
        let mut place = self.place();
        place.look(Phase::Serving).unwrap();
        place
    }

    fn put(&self, name: &str, text: &str) {
        fs::create_dir_all(self.configuration("")).unwrap();
        fs::write(self.configuration(name), text).unwrap();
    }

    /// Never a configuration without plugins, whatever happened.
    fn check(&self) {
        if !self.ours().exists() {
            return;
        }
        for plugin in PLUGINS {
            let path = self.plugin(plugin);
            assert_eq!(
                fs::read(&path).unwrap(),
                fs::read(self.source(plugin)).unwrap()
            );
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o755, "{plugin}");
        }
        let text = fs::read(self.ours()).unwrap();
        let network = configuration::read(CONFIGURATION_FILE, &text).unwrap();
        assert_eq!(network.plugins, CHAIN);
    }

    fn names(&self, folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

#[test]
fn plugins_come_at_once_and_the_configuration_when_pods_can_be_served() {
    let disk = Disk::new();
    let unread = "10-calico.conflist.bak";
    disk.put(unread, "x");
    let mut place = disk.place();

    let before = place.look(Phase::Starting).unwrap();
    assert_eq!(before.installed, Installed::Plugins);
    assert!(disk.plugin("sotto-cni").exists() && !disk.ours().exists());
    let after = place.look(Phase::Serving).unwrap();

    assert_eq!(after.written, [disk.ours()]);
    disk.check();
    assert!(disk.ours().exists());
    assert_eq!(
        disk.names(&disk.configuration("")),
        [CONFIGURATION_FILE, unread]
    );
    assert_eq!(disk.names(&disk.plugin("")).len(), PLUGINS.len() + 1);
    let again = place.look(Phase::Serving).unwrap();
    assert!(again.written.is_empty(), "{:?}", again.written);
}

#[test]
fn what_is_of_another_length_is_replaced_unread() {
    let disk = Disk::new();
    let mut place = disk.installed();
    let path = disk.plugin(MAIN_PLUGIN);
    // Without blocks; to read it would take minutes.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();

    let look = place.look(Phase::Serving).unwrap();

    assert_eq!(look.written, [path]);
    disk.check();
}

#[test]
fn cn18_an_installation_that_fails_at_any_step_goes_on_when_it_can() {
    let steps = |disk: &Disk| {
        let files = PLUGINS.map(|plugin| disk.plugin(plugin)).into_iter();
        files.chain([disk.ours()]).collect::<Vec<_>>()
    };
    for step in 0..=PLUGINS.len() {
        for in_place_of in [kept_files::unfinished, Path::to_owned] {
            let disk = Disk::new();
            let wall = in_place_of(&steps(&disk)[step]);
            fs::create_dir_all(wall.join("full")).unwrap();

            let failed = disk.place().look(Phase::Serving);

            assert!(failed.is_err(), "step {step}");
            assert!(!disk.ours().is_file(), "step {step}");
            let left = steps(&disk).into_iter().take(step);
            assert!(left.into_iter().all(|file| file.is_file()), "step {step}");
            fs::remove_dir_all(wall).unwrap();
            disk.installed();
            disk.check();
            assert!(disk.ours().exists());
        }
    }
}

#[test]
fn cn18_what_a_crash_left_half_written_is_replaced_and_never_read() {
    let disk = Disk::new();
    fs::create_dir_all(disk.plugin("")).unwrap();
    fs::create_dir_all(disk.configuration("")).unwrap();
    for path in PLUGINS
        .map(|plugin| disk.plugin(plugin))
        .iter()
        .chain([&disk.ours()])
    {
        fs::write(kept_files::unfinished(path), "half").unwrap();
    }
    disk.check();

    disk.installed();

    disk.check();
    assert_eq!(disk.names(&disk.configuration("")), [CONFIGURATION_FILE]);
    assert_eq!(disk.names(&disk.plugin("")).len(), PLUGINS.len() + 1);
}

#[test]
fn cn18_a_folder_that_is_no_folder_is_told_with_its_cure() {
    let disk = Disk::new();
    fs::create_dir_all(disk.directory.path().join("opt/cni")).unwrap();
    fs::write(disk.directory.path().join("opt/cni/bin"), "").unwrap();

    let said = disk.place().look(Phase::Serving).unwrap_err();

    let said = service_log::chain(&said);
    assert!(
        said.contains("opt/cni") && said.contains("is it there"),
        "{said}"
    );
    assert!(!disk.ours().exists());
}

#[test]
fn what_somebody_removes_or_alters_is_put_back() {
    let disk = Disk::new();
    let mut place = disk.installed();
    let close = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let alter = |path: &Path| fs::write(path, "x".repeat(11)).unwrap();
    let link = |path: &Path| {
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/bin/true", path).unwrap();
    };
    let faults: [&dyn Fn(&Path); 4] = [&close, &remove, &alter, &link];
    for (number, fault) in faults.into_iter().enumerate() {
        for path in [disk.plugin("sotto-cni"), disk.ours()] {
            // A configuration that is closed to others is the runtime's all the same.
            if number == 0 && path == disk.ours() {
                continue;
            }
            fault(&path);

            let look = place.look(Phase::Serving).unwrap();

            assert_eq!(look.written, [path], "fault {number}");
            disk.check();
        }
    }
}

#[test]
fn a_newer_plugin_replaces_the_installed_one() {
    let disk = Disk::new();
    let mut place = disk.installed();
    fs::write(disk.source("sotto-cni"), "sotto-cni 2").unwrap();

    let look = place.look(Phase::Serving).unwrap();

    assert_eq!(look.written, [disk.plugin("sotto-cni")]);
    disk.check();
}

#[test]
fn a_source_without_the_reference_plugins_is_installed_without_them() {
    let disk = Disk::new();
    fs::remove_file(disk.source("sotto-portmap")).unwrap();
    disk.installed();

    let text = fs::read_to_string(disk.ours()).unwrap();
    assert!(!text.contains("portmap") && text.contains("sotto-bandwidth"));
    fs::remove_file(disk.source("sotto-cni")).unwrap();
    let said = disk.place().look(Phase::Serving).unwrap_err().to_string();
    assert!(said.starts_with("cni.plugin_source"), "{said}");
}

#[test]
fn dp19_nothing_of_another_network_is_touched_and_plugins_of_ours_are_no_network() {
    let disk = Disk::new();
    let theirs = r#"{"name": "k8s-pod-network", "plugins": [{"type": "calico"}]}"#;
    disk.put("10-calico.conflist", theirs);
    let mut place = disk.place();

    let refused = place.look(Phase::Serving).unwrap_err();

    assert!(matches!(refused, InstallError::Refused(_)));
    assert_eq!(disk.names(&disk.configuration("")), ["10-calico.conflist"]);
    let kept = fs::read_to_string(disk.configuration("10-calico.conflist")).unwrap();
    assert_eq!(kept, theirs);
    fs::remove_file(disk.configuration("10-calico.conflist")).unwrap();
    place.look(Phase::Serving).unwrap();
    assert!(disk.ours().exists(), "it goes on by itself");
}

#[test]
fn cn21_what_stands_in_the_folder_of_configurations_is_no_trouble() {
    let disk = Disk::new();
    disk.put("00-b.conflist.bak", "{");
    fs::create_dir(disk.configuration("00-a.conf")).unwrap();
    std::os::unix::fs::symlink("nowhere", disk.configuration("10-c.conf")).unwrap();
    let mut place = disk.place();

    let said = place.look(Phase::Serving).unwrap_err().to_string();
    assert!(
        said.contains("10-c.conf") && said.contains("nowhere"),
        "{said}"
    );
    fs::remove_file(disk.configuration("10-c.conf")).unwrap();

    place.look(Phase::Serving).unwrap();
}

#[test]
fn removal_takes_what_is_ours_however_much_of_it_is_left() {
    let disk = Disk::new();
    remove(&disk.settings()).unwrap();
    disk.installed();
    fs::write(disk.plugin("portmap"), "theirs").unwrap();
    disk.put("99-loopback.conf", r#"{"type": "loopback"}"#);
    fs::write(kept_files::unfinished(&disk.ours()), "half").unwrap();

    for left in [".sotto-reload", ".sotto-reload.new"] {
        disk.put(left, "");
        remove(&disk.settings()).unwrap();

        assert_eq!(disk.names(&disk.plugin("")), ["portmap"]);
        assert_eq!(disk.names(&disk.configuration("")), ["99-loopback.conf"]);
    }
    disk.put(CONFIGURATION_FILE, r#"{"plugins": [{"type": "theirs"}]}"#);
    remove(&disk.settings()).unwrap();
    assert!(disk.ours().exists());
}

#[test]
fn loopback_leads_to_ours_where_there_is_none_follows_updates_and_is_put_back() {
    let disk = Disk::new();
    let mut place = disk.installed();
    let path = disk.plugin(LOOPBACK);
    fs::remove_file(&path).unwrap();

    let look = place.look(Phase::Serving).unwrap();

    assert_eq!(look.written, std::slice::from_ref(&path));
    assert_eq!(fs::read_to_string(&path).unwrap(), "sotto-loopback 1");
    let text = fs::read_to_string(disk.ours()).unwrap();
    assert!(!text.contains(LOOPBACK), "the runtime calls it unasked");
    fs::write(disk.source(OUR_LOOPBACK), "sotto-loopback 2").unwrap();
    place.look(Phase::Serving).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "sotto-loopback 2");
    remove(&disk.settings()).unwrap();
    assert_eq!(disk.names(&disk.plugin("")), [""; 0]);
}

#[test]
fn a_loopback_of_somebody_else_is_neither_replaced_nor_removed() {
    let disk = Disk::new();
    let path = disk.plugin(LOOPBACK);
    let link = |path: &Path| std::os::unix::fs::symlink("nowhere", path).unwrap();
    let write = |path: &Path| fs::write(path, "loopback 0").unwrap();
    let make_folder = |path: &Path| fs::create_dir(path).unwrap();
    let others: [&dyn Fn(&Path); 3] = [&link, &write, &make_folder];
    for put in others {
        fs::create_dir_all(disk.plugin("")).unwrap();
        put(&path);
        let before = fs::symlink_metadata(&path).unwrap().modified().unwrap();

        disk.installed();
        remove(&disk.settings()).unwrap();

        let after = fs::symlink_metadata(&path).unwrap().modified().unwrap();
        assert_eq!(before, after);
        assert_eq!(disk.names(&disk.plugin("")), [LOOPBACK]);
        let gone = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        gone.unwrap();
    }
}
