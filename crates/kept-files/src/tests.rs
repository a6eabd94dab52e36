//! What a file must not be, and what a crash, a stranger or a full disk leave.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::stat::Mode;

use super::{
    FileError, Links, Loaded, clear, close_unused, copy, create_directory, find_directory, load,
    read, read_secret, unfinished, write, write_new,
};

const LIMIT: u64 = 64;

#[test]
fn a_secret_written_by_us_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");

    write(&path, b"secret", 0o600).unwrap();

    assert_eq!(
        read_secret(&path, LIMIT).unwrap().unwrap().as_slice(),
        b"secret"
    );
}

#[test]
fn kl13_a_secret_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    write(&path, b"secret", 0o600).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

    let refused = read_secret(&path, LIMIT).unwrap_err();

    assert!(
        refused.to_string().contains("mode is 644, not 600"),
        "{refused}"
    );
}

#[test]
fn kl13_a_secret_behind_a_link_is_never_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real"), directory.path().join("key"));
    write(&real, b"secret", 0o600).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();

    assert!(matches!(
        read_secret(&link, LIMIT),
        Err(FileError::Exposed { .. })
    ));
}

#[test]
fn kl13_a_pipe_in_place_of_a_secret_does_not_hang_the_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();

    assert!(matches!(
        read_secret(&path, LIMIT),
        Err(FileError::Exposed { .. })
    ));
}

#[test]
fn a_directory_that_is_there_keeps_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let (theirs, ours) = (
        directory.path().join("theirs"),
        directory.path().join("ours"),
    );
    fs::create_dir(&theirs).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();

    let refused = create_directory(&theirs, 0o700).unwrap_err();
    create_directory(&ours, 0o700).unwrap();
    create_directory(&ours, 0o700).unwrap();

    assert!(refused.to_string().contains("its mode is 755"), "{refused}");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&theirs), mode(&ours)), (0o755, 0o700));
}

#[test]
fn a_directory_as_kubelet_makes_it_is_closed_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let closed = |name: &str, mode| {
        fs::create_dir(place(name)).unwrap();
        fs::set_permissions(place(name), fs::Permissions::from_mode(mode)).unwrap();
        if name == "used" {
            fs::write(place("used/file"), "").unwrap();
        }
        close_unused(&place(name), 0o700).unwrap();
        fs::metadata(place(name)).unwrap().permissions().mode() & 0o7777
    };

    assert_eq!(closed("fresh", 0o755), 0o700);
    assert_eq!(closed("used", 0o755), 0o755);
    assert_eq!(closed("writable", 0o777), 0o777);
    close_unused(&place("none"), 0o700).unwrap();
}

#[test]
fn a_pipe_in_place_of_state_does_not_hang_the_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();

    assert!(matches!(
        read(&path, LIMIT, Links::Follow),
        Err(FileError::NotAFile { .. })
    ));
}

#[test]
fn kl13_a_secret_of_another_user_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    write(&path, b"secret", 0o600).unwrap();
    // Only root can give files away; without it the owner cannot be wrong.
    if std::os::unix::fs::chown(&path, Some(1), None).is_err() {
        return;
    }

    let refused = read_secret(&path, LIMIT).unwrap_err();

    assert!(
        refused.to_string().contains("belongs to user 1"),
        "{refused}"
    );
}

#[test]
fn what_is_not_there_is_no_error() {
    let directory = tempfile::tempdir().unwrap();

    assert!(
        read(&directory.path().join("none"), LIMIT, Links::Follow)
            .unwrap()
            .is_none()
    );
    assert!(
        read_secret(&directory.path().join("none"), LIMIT)
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_secret_that_a_crash_left_half_written_goes_with_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(unfinished(&path), b"secret, lef").unwrap();
    fs::set_permissions(unfinished(&path), fs::Permissions::from_mode(0o644)).unwrap();

    write(&path, b"new", 0o600).unwrap();

    assert_eq!(
        read_secret(&path, LIMIT).unwrap().unwrap().as_slice(),
        b"new"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_refused_replacement_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    fs::create_dir(&path).unwrap();

    assert!(write(&path, b"new", 0o600).is_err());

    assert!(!unfinished(&path).exists());
}

#[test]
fn cn18_a_program_that_runs_is_replaced_whole_with_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut running = std::process::Command::new(&program)
        .arg("60")
        .spawn()
        .unwrap();
    let busy = fs::write(&program, "in place").unwrap_err();
    assert_eq!(busy.kind(), std::io::ErrorKind::ExecutableFileBusy);
    fs::write(unfinished(&program), "what a crash left").unwrap();

    let copied = copy(Path::new("/bin/true"), &program, 0o755);
    running.kill().unwrap();
    running.wait().unwrap();

    copied.unwrap();
    assert_eq!(fs::read(&program).unwrap(), fs::read("/bin/true").unwrap());
    assert_eq!(
        fs::metadata(&program).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_replacement_leaves_no_other_file_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");

    write(&path, b"old", 0o644).unwrap();
    write(&path, b"new", 0o644).unwrap();

    assert_eq!(read(&path, LIMIT, Links::Follow).unwrap().unwrap(), b"new");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_file_longer_than_its_limit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");

    write(&path, &[7; 64], 0o600).unwrap();
    assert_eq!(read_secret(&path, LIMIT).unwrap().unwrap().len(), 64);
    write(&path, &[7; 65], 0o600).unwrap();

    for refused in [
        read(&path, LIMIT, Links::Follow).unwrap_err(),
        read_secret(&path, LIMIT).unwrap_err(),
    ] {
        assert!(refused.is_in_the_file());
        assert!(refused.to_string().contains("longer than 64"), "{refused}");
    }
}

#[test]
fn a_link_is_followed_only_where_the_caller_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real"), directory.path().join("link"));
    write(&real, b"text", 0o644).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();

    assert_eq!(read(&link, LIMIT, Links::Follow).unwrap().unwrap(), b"text");
    assert!(matches!(
        read(&link, LIMIT, Links::Refuse),
        Err(FileError::NotAFile { .. })
    ));
}

#[test]
fn a_new_file_is_never_made_over_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root");
    write_new(&path, b"first", 0o600).unwrap();

    let refused: std::io::Error = write_new(&path, b"second", 0o600).unwrap_err().into();

    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_directory_is_ours_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name| directory.path().join(name);
    fs::write(place("file"), b"").unwrap();
    std::os::unix::fs::symlink("nowhere", place("link")).unwrap();
    create_directory(&place("deep/ours"), 0o700).unwrap();

    assert!(find_directory(&place("deep/ours"), 0o700).unwrap());
    assert!(!find_directory(&place("none"), 0o700).unwrap());
    for name in ["file", "link"] {
        let refused = find_directory(&place(name), 0o700).unwrap_err();
        assert!(refused.to_string().contains("no directory"), "{refused}");
    }
    // Only root can give directories away.
    if std::os::unix::fs::chown(place("deep/ours"), Some(1), None).is_ok() {
        let refused = create_directory(&place("deep/ours"), 0o700).unwrap_err();
        assert!(
            refused.to_string().contains("belongs to user 1"),
            "{refused}"
        );
    }
}

#[test]
fn what_cannot_be_used_is_set_aside_whatever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let pipe = |path: &Path| nix::unistd::mkfifo(path, Mode::S_IRUSR).unwrap();
    let folder = |path: &Path| fs::create_dir_all(path.join("full")).unwrap();
    let long = |path: &Path| fs::write(path, [7; 65]).unwrap();
    let damaged = |path: &Path| fs::write(path, "damaged").unwrap();
    let things: [&dyn Fn(&Path); 6] = [&damaged, &folder, &long, &folder, &pipe, &damaged];

    for make in things {
        make(&path);

        let loaded = load(&path, LIMIT, |_| Err::<(), _>("damaged".to_owned())).unwrap();

        assert!(
            matches!(&loaded, Loaded::Refused { aside, .. } if aside.exists()),
            "{loaded:?}"
        );
        assert!(fs::symlink_metadata(&path).is_err());
    }
    assert_eq!(load(&path, LIMIT, |_| Ok(())).unwrap(), Loaded::Absent);
}

#[test]
fn a_folder_in_a_files_place_is_set_aside_and_never_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    fs::create_dir_all(path.join("somebodys")).unwrap();

    clear(&path).unwrap();
    clear(&path).unwrap();
    fs::write(&path, "ours").unwrap();
    clear(&path).unwrap();

    assert!(!path.exists());
    assert!(directory.path().join("state.refused/somebodys").exists());
}
