//! The store as a folder, from outside: what is written is read, what others left there is named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::future::Future;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use cluster_store::{
    Answer, ClusterStore, DirectoryStore, EnrolmentRequest, PendingReason, PublishedRoot, Refusal,
    RefusedEntry, RequestState, StoreChanges, StoreError,
};
use node_identity::{NodeUid, Pin};

const ALICE: &str = "8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11";
const BOB: &str = "f3b3d3d8-0e0b-4d8a-9a51-0c8a8f6f7b22";
const NEVER: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(20);

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, future).await.expect("in time") })
}

fn store(folder: &Path) -> DirectoryStore {
    DirectoryStore::open(folder).unwrap().with_poll(NEVER)
}

fn uid(text: &str) -> NodeUid {
    text.parse().unwrap()
}

fn pin() -> Pin {
    format!("sha256:{}", "5a".repeat(32)).parse().unwrap()
}

fn request(first: u8) -> EnrolmentRequest {
    EnrolmentRequest {
        pkcs10: vec![first, 1, 2],
        token: None,
    }
}

#[test]
fn what_is_published_is_read_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let root = PublishedRoot {
        pin: pin(),
        certificate: Some(b"root".to_vec()),
        revocations: Some(b"list".to_vec()),
    };
    let envelopes = vec![b"one".to_vec(), b"two".to_vec()];

    let found = run(async {
        let writer = store(folder.path());
        writer.publish_root(&root).await.unwrap();
        writer
            .publish_certificate(&uid(ALICE), b"certificate")
            .await
            .unwrap();
        writer
            .publish_envelopes(&uid(ALICE), &envelopes)
            .await
            .unwrap();
        writer
            .publish_envelopes(&uid(BOB), &envelopes[..1])
            .await
            .unwrap();
        store(folder.path()).published().await.unwrap()
    });

    assert_eq!(found.roots, [root]);
    assert_eq!(found.nodes.len(), 2);
    assert_eq!(found.nodes[0].uid, uid(ALICE));
    assert_eq!(
        found.nodes[0].certificate.as_deref(),
        Some(&b"certificate"[..])
    );
    assert_eq!(found.nodes[0].envelopes, envelopes);
    assert_eq!(found.nodes[1].certificate, None);
    assert_eq!(found.refused, []);
}

/// Fills a store that holds alice's certificate and bob's envelopes with what does not belong.
fn spoil(folder: &Path, certificate: impl Fn(char) -> String) {
    let at = |name: &str| folder.join(name);
    let whole = fs::read(at(&format!("envelopes/{BOB}.json"))).unwrap();
    let torn = &whole[..whole.len() / 2];
    fs::write(at(&format!("envelopes/{ALICE}.json")), torn).unwrap();
    fs::write(at("certificates/UPPER.der"), b"x").unwrap();
    fs::write(at("certificates/..\n.txt"), b"x").unwrap();
    fs::write(at("certificates/\u{1b}[31m\n.der"), b"x").unwrap();
    fs::write(at(&certificate('0')), b"").unwrap();
    fs::write(at(&certificate('1')), vec![0; 20_000]).unwrap();
    symlink("/etc/passwd", at(&certificate('2'))).unwrap();
    fs::create_dir(at(&certificate('3'))).unwrap();
    nix::unistd::mkfifo(&at(&certificate('4')), nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn bad_entries_are_refused_by_name_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let certificate =
        |digit: char| format!("certificates/{digit}d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11.der");

    let found = run(async {
        let store = store(folder.path());
        let envelopes = [b"one".to_vec()];
        store.publish_certificate(&uid(ALICE), b"x").await.unwrap();
        store
            .publish_envelopes(&uid(BOB), &envelopes)
            .await
            .unwrap();
        spoil(folder.path(), certificate);
        store.published().await.unwrap()
    });

    let refused = found.refused.into_iter();
    let mut refused: Vec<_> = refused.map(|entry| (entry.name, entry.reason)).collect();
    refused.sort();
    assert_eq!(
        refused,
        [
            ("certificates/..\\n.txt".to_owned(), Refusal::ForeignName),
            (certificate('0'), Refusal::Empty),
            (certificate('1'), Refusal::TooLarge),
            (certificate('2'), Refusal::NotAFile),
            (certificate('3'), Refusal::NotAFile),
            (certificate('4'), Refusal::NotAFile),
            ("certificates/UPPER.der".to_owned(), Refusal::ForeignName),
            (
                "certificates/\\u{1b}[31m\\n.der".to_owned(),
                Refusal::ForeignName
            ),
            (format!("envelopes/{ALICE}.json"), Refusal::Malformed),
        ]
    );
    assert_eq!(found.nodes.len(), 2, "alice's and bob's are still read");
}

#[test]
fn any_number_of_foreign_names_hides_no_node() {
    let folder = tempfile::tempdir().unwrap();
    let found = run(async {
        let store = store(folder.path());
        let certificates = folder.path().join("certificates");
        for number in 0..20_001 {
            fs::File::create(certificates.join(format!("junk-{number}.der"))).unwrap();
        }
        store
            .publish_certificate(&uid(ALICE), b"alice")
            .await
            .unwrap();
        store.published().await.unwrap()
    });

    assert_eq!(found.nodes.len(), 1);
    let is_foreign = |entry: &RefusedEntry| entry.reason == Refusal::ForeignName;
    assert!(found.refused.iter().all(is_foreign));
    assert_eq!(found.refused.len(), 20_000, "named up to a bound");
}

#[test]
fn a_folder_full_of_holes_does_not_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let found = run(async {
        let store = store(folder.path());
        for number in 0..20 {
            let path = folder.path().join(format!("revocations/{number:064x}.bin"));
            let hole = fs::File::create(path).unwrap();
            hole.set_len(4 << 20).unwrap();
        }
        store.published().await.unwrap()
    });

    let too_many = |entry: &&RefusedEntry| entry.reason == Refusal::TooMany;
    assert_eq!(found.refused.iter().filter(too_many).count(), 4);
    assert_eq!(found.roots.len(), 16);
}

#[test]
fn three_envelopes_and_oversized_objects_are_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let (many, large) = run(async {
        let store = store(folder.path());
        let one = b"one".to_vec();
        (
            store
                .publish_envelopes(&uid(ALICE), &[one.clone(), one.clone(), one])
                .await,
            store
                .publish_certificate(&uid(ALICE), &vec![0; 20_000])
                .await,
        )
    });

    assert!(
        matches!(many, Err(StoreError::TooManyEnvelopes { count: 3, .. })),
        "{many:?}"
    );
    assert!(
        matches!(large, Err(StoreError::TooLarge { length: 20_000, .. })),
        "{large:?}"
    );
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let contents = [vec![b'a'; 9000], vec![b'b'; 12_000]];

    run(async {
        let writer = store(folder.path());
        writer
            .publish_certificate(&uid(ALICE), &contents[0])
            .await
            .unwrap();
        let writing = async {
            for turn in 0..100 {
                writer
                    .publish_certificate(&uid(ALICE), &contents[turn % 2])
                    .await
                    .unwrap();
            }
        };
        let reading = async {
            let reader = store(folder.path());
            for _ in 0..100 {
                let found = reader.published().await.unwrap();
                let certificate = found.nodes[0].certificate.clone().unwrap();
                assert!(
                    contents.contains(&certificate),
                    "torn: {} bytes",
                    certificate.len()
                );
            }
        };
        tokio::join!(writing, reading);
    });

    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_watcher_is_told_of_a_change_long_before_it_would_poll() {
    let folder = tempfile::tempdir().unwrap();

    run(async {
        let store = store(folder.path());
        let mut changes = store.watch().unwrap();
        store
            .publish_envelopes(&uid(ALICE), &[b"one".to_vec()])
            .await
            .unwrap();
        changes.changed().await;
    });
}

#[test]
fn reading_and_writing_the_same_again_wake_nobody() {
    let folder = tempfile::tempdir().unwrap();

    let woken = run(async {
        let store = store(folder.path());
        store
            .publish_certificate(&uid(ALICE), b"certificate")
            .await
            .unwrap();
        let mut changes = store.watch().unwrap();
        store.published().await.unwrap();
        store
            .publish_certificate(&uid(ALICE), b"certificate")
            .await
            .unwrap();
        tokio::time::timeout(Duration::from_millis(300), changes.changed())
            .await
            .is_ok()
    });

    assert!(!woken);
}

#[test]
fn a_watcher_looks_by_itself_when_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();

    run(async {
        let store = store(folder.path()).with_poll(Duration::from_millis(20));
        store.watch().unwrap().changed().await;
    });
}

#[test]
fn a_store_that_was_deleted_and_made_again_is_watched_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");

    let found = run(async {
        let store = store(&root).with_poll(Duration::from_millis(200));
        let mut changes = store.watch().unwrap();
        fs::remove_dir_all(&root).unwrap();
        changes.changed().await;
        store
            .publish_certificate(&uid(ALICE), b"certificate")
            .await
            .unwrap();
        changes.changed().await;
        let patient = store.clone().with_poll(NEVER);
        let mut changes = patient.watch().unwrap();
        fs::remove_dir_all(root.join("certificates")).unwrap();
        changes.changed().await;
        patient
            .publish_certificate(&uid(BOB), b"certificate")
            .await
            .unwrap();
        patient.published().await.unwrap()
    });

    assert_eq!(found.nodes.len(), 1);
}

#[test]
fn a_request_is_answered_and_asked_again_under_its_one_id() {
    let folder = tempfile::tempdir().unwrap();

    run(async {
        let store = store(folder.path());
        let id = store.submit_request(&request(1)).await.unwrap();
        assert_eq!(
            store.request_state(&id).await.unwrap(),
            Some(RequestState::Waiting)
        );

        let answer = Answer::Pending(PendingReason::NoFreePodRange);
        let pending = answer.state();
        store.answer_request(&id, answer).await.unwrap();
        assert_eq!(store.request_state(&id).await.unwrap(), Some(pending));
        assert_eq!(store.requests().await.unwrap().requests[0].state, pending);

        assert_eq!(store.submit_request(&request(1)).await.unwrap(), id);
        assert_eq!(
            store.request_state(&id).await.unwrap(),
            Some(RequestState::Waiting)
        );

        store.withdraw_request(&id).await.unwrap();
        store.withdraw_request(&id).await.unwrap();
        assert_eq!(store.request_state(&id).await.unwrap(), None);
    });
}

#[test]
fn a_request_under_anothers_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();

    let (found, id) = run(async {
        let store = store(folder.path());
        let id = store.submit_request(&request(1)).await.unwrap();
        let path = folder.path().join(format!("requests/{id}.json"));
        fs::write(path, request(2).encode()).unwrap();
        (store.requests().await.unwrap(), id)
    });

    assert_eq!(found.requests, []);
    assert_eq!(found.refused[0].name, format!("requests/{id}.json"));
    assert_eq!(found.refused[0].reason, Refusal::WrongName);
}

#[test]
fn removing_a_node_that_is_not_there_succeeds() {
    let folder = tempfile::tempdir().unwrap();

    let found = run(async {
        let store = store(folder.path());
        store
            .publish_certificate(&uid(ALICE), b"certificate")
            .await
            .unwrap();
        store.remove_node(&uid(ALICE)).await.unwrap();
        store.remove_node(&uid(ALICE)).await.unwrap();
        store.published().await.unwrap()
    });

    assert_eq!(found.nodes, []);
}

#[test]
fn a_store_under_a_file_cannot_be_opened_and_the_error_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"x").unwrap();

    let error = DirectoryStore::open(file.join("store")).unwrap_err();

    assert!(error.to_string().contains("file/store"), "{error}");
}
