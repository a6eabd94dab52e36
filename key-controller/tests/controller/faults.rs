//! What goes wrong around a controller: missing keys, damaged files, a second controller, a store
//! that somebody emptied, crashes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cluster_store::{ClusterStore, RequestState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::rig::{Node, Rig, complaint, controller, files, run, succeeded, text};

const ALICE: [&str; 1] = ["198.51.100.1"];

/// All files below a folder with their contents.
fn snapshot(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = files(folder)
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    found.sort();
    found
}

fn locks_aside(rig: &Rig) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = snapshot(&rig.state());
    found.retain(|(path, _)| path.extension().is_none_or(|extension| extension != "lock"));
    found
}

#[test]
fn cp16_without_its_root_or_ledger_the_controller_refuses_and_makes_no_new_one() {
    let other = Rig::new();
    for (name, damage) in [
        ("root.key", None),
        ("root.der", None),
        ("ledger", None),
        ("root.key", Some(Vec::new())),
        ("root.key", Some(b"-----BEGIN PRIVATE KEY-----\n".to_vec())),
        ("root.key", Some(vec![0xff; 200])),
        (
            "root.key",
            Some(fs::read(other.state().join("root.key")).unwrap()),
        ),
        (
            "root.der",
            Some(fs::read(other.state().join("root.der")).unwrap()),
        ),
        ("root.der", Some(vec![0x30; 50])),
        ("ledger", Some(b"sotto ledger 1 sha256:".to_vec())),
        (
            "ledger",
            Some(fs::read(other.state().join("ledger")).unwrap()),
        ),
    ] {
        let rig = Rig::new();
        let path = rig.state().join(name);
        match &damage {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        let before = locks_aside(&rig);

        let said = rig.start_in_vain();

        let last = said.lines().last().unwrap();
        assert!(
            last.contains(rig.state().to_str().unwrap()),
            "names the file: {said}"
        );
        assert!(
            last.contains("backup") || last.contains("belongs to"),
            "says the cure: {said}"
        );
        assert_eq!(
            locks_aside(&rig),
            before,
            "{name}: nothing made, nothing changed"
        );
        assert!(!rig.store_folder().exists(), "{name}: nothing published");
    }
}

#[test]
fn cp16_root_create_never_replaces_a_root() {
    let rig = Rig::new();
    let before = locks_aside(&rig);

    let again = rig.verb(&["root", "create", "--trust-domain", "sotto.test"]);
    let said = complaint(&again);
    fs::remove_file(rig.state().join("ledger")).unwrap();
    let without_ledger = rig.verb(&["root", "create", "--trust-domain", "sotto.test"]);

    assert!(said.contains("never replaced"), "{said}");
    assert!(complaint(&without_ledger).contains("never replaced"));
    assert_eq!(locks_aside(&rig).len(), before.len() - 1);
}

#[test]
fn cp16_root_create_makes_no_key_beside_what_is_left_of_another_root() {
    for left in ["ledger", "root.der"] {
        let rig = Rig::new();
        for name in ["root.key", "root.der", "ledger"] {
            if name != left {
                fs::remove_file(rig.state().join(name)).unwrap();
            }
        }
        let before = locks_aside(&rig);

        let said = complaint(&rig.verb(&["root", "create", "--trust-domain", "sotto.test"]));

        assert!(said.contains(left), "names what is there: {said}");
        assert!(said.contains("empty folder"), "says the cure: {said}");
        assert_eq!(locks_aside(&rig), before, "{left}: nothing is made");
    }
}

#[test]
fn i8_a_controller_leaves_no_core_dump() {
    let rig = Rig::new();

    let running = rig.start();

    let limits = fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words.get(4..6), Some(&["0", "0"][..]), "{core}");
}

#[test]
fn cp05_a_second_controller_refuses_even_while_the_first_is_stalled() {
    let rig = Rig::new();
    let first = rig.start();
    let pid = Pid::from_raw(i32::try_from(first.id()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();

    let said = rig.start_in_vain();

    assert!(said.contains("another controller runs"), "{said}");
    kill(pid, Signal::SIGCONT).unwrap();
    let token = rig.token("alice", &[]);
    Node::new(1, &token, &ALICE).enrol(&rig, &token);
}

#[test]
fn cp05_tokens_made_while_nodes_enrol_are_not_lost() {
    let rig = Rig::new();
    let _running = rig.start();
    let names = ["alice", "bob", "carol", "dave"];

    let enrolled: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let rig = &rig;
                scope.spawn(move || {
                    let token = rig.token(name, &[]);
                    let address = format!("198.51.100.{}", index + 1);
                    Node::new(index as u64, &token, &[&address]).enrol(rig, &token)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });

    for (position, one) in enrolled.iter().enumerate() {
        for other in &enrolled[position + 1..] {
            assert!(!one.terms().pod_ranges.overlaps(&other.terms().pod_ranges));
            assert_ne!(one.terms().serial, other.terms().serial);
        }
    }
    assert_eq!(text(&rig.verb(&["nodes"])).lines().count(), 5);
    assert_eq!(
        text(&rig.verb(&["token", "list"])).matches("used").count(),
        4
    );
}

#[test]
fn cp08_a_store_found_empty_is_published_again() {
    let rig = Rig::new();
    let _running = rig.start();
    let token = rig.token("alice", &[]);
    Node::new(1, &token, &ALICE).enrol(&rig, &token);
    let before = run(rig.store().published()).unwrap();

    for folder in files(&rig.store_folder()) {
        for path in files(&folder) {
            // A temporary file of a controller that is already repairing may be gone by itself.
            let _ = fs::remove_file(path);
        }
    }

    let after = rig.wait("all is back", |found| {
        // A root's certificate and its list are two files.
        let is_whole = |root: &cluster_store::PublishedRoot| {
            root.certificate.is_some() && root.revocations.is_some()
        };
        found.nodes.len() == 1 && found.roots.len() == 1 && found.roots.iter().all(is_whole)
    });
    assert_eq!(after, before, "byte for byte");
}

#[test]
fn what_somebody_edited_in_the_store_is_put_right_and_believed_by_nobody() {
    let rig = Rig::new();
    let _running = rig.start();
    let tokens = [rig.token("alice", &[]), rig.token("bob", &[])];
    let nodes = [
        Node::new(1, &tokens[0], &ALICE),
        Node::new(2, &tokens[1], &["198.51.100.2"]),
    ];
    let certificates = [
        nodes[0].enrol(&rig, &tokens[0]),
        nodes[1].enrol(&rig, &tokens[1]),
    ];
    let before = run(rig.store().published()).unwrap();

    run(async {
        let (store, alice) = (rig.store(), &nodes[0].identity.uid);
        store
            .publish_certificate(alice, certificates[1].to_der())
            .await
            .unwrap();
        let root = before.roots[0].clone();
        let edited = cluster_store::PublishedRoot {
            revocations: Some(vec![1]),
            ..root
        };
        store.publish_root(&edited).await.unwrap();
        fs::write(rig.store_folder().join("certificates/foreign.der"), b"x").unwrap();
        fs::write(
            rig.store_folder().join("requests/torn.json"),
            b"{\"version\":1",
        )
        .unwrap();
    });

    let after = rig.wait("all is right", |found| {
        found.nodes == before.nodes && found.roots == before.roots
    });
    assert_eq!(after.refused[0].name, "certificates/foreign.der");
    let carol = rig.token("carol", &[]);
    let third = Node::new(3, &carol, &["198.51.100.3"]).enrol(&rig, &carol);
    for certificate in &certificates {
        assert!(
            !certificate
                .terms()
                .pod_ranges
                .overlaps(&third.terms().pod_ranges)
        );
    }
}

#[test]
fn a_controller_killed_at_work_goes_on_where_it_was() {
    let rig = Rig::new();
    let running = rig.start();
    let token = rig.token("alice", &[]);
    let alice = Node::new(1, &token, &ALICE);
    let first = alice.enrol(&rig, &token);

    running.kill();
    fs::remove_dir_all(rig.store_folder()).unwrap();
    let bobs = rig.token("bob", &[]);
    let bob = Node::new(2, &bobs, &["198.51.100.2"]);
    let id = bob.ask(&rig, Some(&bobs));
    let _running = rig.start();

    rig.answer(&id, RequestState::Issued);
    assert_eq!(rig.certificate(&alice.identity.uid), Some(first));
}

#[test]
fn a_termination_signal_ends_the_controller_in_good_order() {
    let rig = Rig::new();

    let status = rig.start().stop();

    assert!(status.success());
}

#[test]
fn a_state_folder_open_to_others_is_refused_with_the_cure() {
    let rig = Rig::new();
    fs::set_permissions(rig.state(), Permissions::from_mode(0o755)).unwrap();

    let said = rig.start_in_vain();

    assert!(said.contains("chmod 700"), "{said}");
}

#[test]
fn kl13_a_root_key_or_ledger_that_others_can_have_touched_is_refused_with_the_cure() {
    for name in ["root.key", "ledger"] {
        let rig = Rig::new();
        let path = rig.state().join(name);
        let whole = fs::read(&path).unwrap();
        let elsewhere = rig.config().with_file_name("elsewhere");
        let refused = |cure: &str| {
            let said = rig.start_in_vain();
            let last = said.lines().last().unwrap();
            assert!(
                last.contains(path.to_str().unwrap()) && last.contains(cure),
                "{cure}: {said}"
            );
        };

        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        refused("mode is 640, not 600; if nobody else has read it, chmod 600 it");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        // Only root can give files away.
        if std::os::unix::fs::chown(&path, Some(1), None).is_ok() {
            refused("belongs to user 1");
        }
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        refused("put the file itself there");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        refused("put the file itself there");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("put the file itself there");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, whole.repeat((128 << 20) / whole.len())).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        refused("is it the right file?");
        assert!(!rig.store_folder().exists(), "{name}: nothing published");
    }
}

#[test]
fn no_verb_uses_a_state_folder_of_somebody_else() {
    let rig = Rig::new();
    let verbs: [&[&str]; 4] = [
        &["nodes"],
        &["token", "list"],
        &["token", "create", "--node", "alice"],
        &["revoke", "alice"],
    ];

    fs::set_permissions(rig.state(), Permissions::from_mode(0o750)).unwrap();
    for verb in verbs {
        let said = complaint(&rig.verb(verb));
        assert!(said.contains("chmod 700"), "{verb:?}: {said}");
    }
    fs::set_permissions(rig.state(), Permissions::from_mode(0o700)).unwrap();
    // Only root can give folders away.
    if std::os::unix::fs::chown(rig.state(), Some(1), None).is_ok() {
        for verb in verbs {
            let said = complaint(&rig.verb(verb));
            assert!(said.contains("belongs to user 1"), "{verb:?}: {said}");
        }
        assert!(rig.start_in_vain().contains("belongs to user 1"));
    }
}

#[test]
fn root_create_does_not_close_a_folder_that_is_somebodys() {
    let rig = Rig::new();
    fs::create_dir_all(rig.store_folder()).unwrap();
    fs::set_permissions(rig.store_folder(), Permissions::from_mode(0o755)).unwrap();
    let folder = rig.store_folder();
    let words = ["root", "create", "--trust-domain", "sotto.test", "--state"];

    let said = complaint(&controller(
        &[&words[..], &[folder.to_str().unwrap()]].concat(),
    ));

    assert!(said.contains("chmod 700"), "{said}");
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o755
    );
    assert_eq!(files(&folder), Vec::<std::path::PathBuf>::new());
}

#[test]
fn every_file_of_the_state_folder_is_closed_to_others() {
    let rig = Rig::new();
    succeeded(rig.verb(&["token", "create", "--node", "alice"]));

    for path in files(&rig.state()) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn settings_that_contradict_the_ledger_are_refused_before_anything_is_published() {
    let rig = Rig::new();
    let running = rig.start();
    let token = rig.token("alice", &[]);
    Node::new(1, &token, &ALICE).enrol(&rig, &token);
    assert!(running.stop().success());
    fs::remove_dir_all(rig.store_folder()).unwrap();

    rig.configure("10.245.0.0/16");
    let ranges = rig.start_in_vain();
    let other = fs::read_to_string(rig.config())
        .unwrap()
        .replace("sotto.test", "other.test");
    fs::write(rig.config(), other).unwrap();
    let domain = rig.start_in_vain();

    assert!(
        ranges.contains("cluster_pod_ranges") && ranges.contains("alice"),
        "{ranges}"
    );
    assert!(
        domain.contains("trust_domain") && domain.contains("sotto.test"),
        "{domain}"
    );
    assert!(!rig.store_folder().exists());
}

#[test]
fn bi05_settings_with_an_unknown_key_stop_the_controller_in_one_line() {
    let rig = Rig::new();
    let more = fs::read_to_string(rig.config()).unwrap() + "colour = \"red\"\n";
    fs::write(rig.config(), more).unwrap();

    let said = rig.start_in_vain();

    assert!(
        said.contains("colour") && said.contains("controller.toml"),
        "{said}"
    );
    assert!(!rig.store_folder().exists());
}

#[test]
fn an_answer_that_cannot_be_printed_is_an_error_in_one_line() {
    let rig = Rig::new();
    let nodes = |output: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sotto-controller"));
        command.args(["nodes", "--state"]).arg(rig.state());
        let child = command.stdout(output).stderr(std::process::Stdio::piped());
        child.spawn().unwrap().wait_with_output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);

    let full = complaint(&nodes(fs::File::create("/dev/full").unwrap().into()));
    let unread = nodes(writer.into());

    assert!(
        full.contains("standard output") && full.lines().count() == 1,
        "{full}"
    );
    assert!(
        unread.status.success(),
        "a reader that has read enough is no fault"
    );
}

#[test]
fn i8_no_token_and_no_key_is_shown_or_published() {
    let rig = Rig::new();
    let _running = rig.start();
    let token = rig.token("alice", &[]);
    let unused = rig.token("bob", &[]).to_string();
    Node::new(1, &token, &ALICE).enrol(&rig, &token);
    let token = token.to_string();
    let secrets = [&token[token.len() - 40..], &unused[unused.len() - 40..]];

    let mut shown = text(&rig.verb(&["token", "list"])) + &text(&rig.verb(&["nodes"]));
    shown += &rig.log();
    for folder in files(&rig.store_folder()) {
        for path in files(&folder) {
            shown += &String::from_utf8_lossy(&fs::read(path).unwrap());
        }
    }

    assert!(shown.contains("alice"));
    assert!(
        shown.contains("Certificate granted"),
        "the log is among what is searched"
    );
    assert!(secrets.iter().all(|secret| !shown.contains(secret)));
    let ledger = fs::read_to_string(rig.state().join("ledger")).unwrap();
    assert!(
        !ledger.contains(secrets[0]),
        "a used token's secret is forgotten"
    );
}
