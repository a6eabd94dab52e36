//! A restart on a disk that takes nothing: who was known comes back, and nothing older is believed.

use std::path::Path;

use super::super::disk::{FLOOR_FILE, PeersOnDisk, VERIFIED_FOLDER};
use super::{Cluster, names, reason};
use crate::sample::NOW;

/// Lets nothing be written where the verified set is kept, by whatever user the tests run.
fn refuse_writes(directory: &Path) {
    let floor = directory.join(FLOOR_FILE);
    std::fs::remove_file(&floor).unwrap();
    std::fs::create_dir(&floor).unwrap();
    let folder = directory.join(VERIFIED_FOLDER);
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(folder, "").unwrap();
}

#[tokio::test]
async fn who_was_known_comes_back_from_a_disk_that_takes_nothing() {
    let mut cluster = Cluster::new();
    let [alice, bob] = [&cluster.alice, &cluster.bob].map(|it| cluster.authority.envelope(it, 1));
    let directory = tempfile::tempdir().unwrap();
    let disk = PeersOnDisk::open(directory.path()).unwrap();
    let mut first = cluster.peers();
    let mut learned = first.absorb(&cluster.authority.published(&[&bob]), NOW);
    learned.merge(first.set_own(first.judge_own(&alice, NOW).unwrap()));
    disk.keep(&first, &learned).await.unwrap();
    let (kept, (floor, revocations)) = (disk.published().await.unwrap(), disk.memory().unwrap());
    refuse_writes(directory.path());

    let mut second = cluster.peers_with(floor, revocations);
    let mut learned = second.recall(&kept, NOW);
    learned.merge(second.set_own(second.judge_own(&alice, NOW).unwrap()));

    disk.keep(&second, &learned).await.unwrap();
    assert!(learned.set);
    assert_eq!(names(&mut second), ["bob"]);
}

#[tokio::test]
async fn i6_a_floor_that_cannot_be_written_keeps_older_envelopes_out_all_the_same() {
    let mut cluster = Cluster::new();
    let [old, new] = [1, 2].map(|number| cluster.authority.envelope(&cluster.bob, number));
    let directory = tempfile::tempdir().unwrap();
    let disk = PeersOnDisk::open(directory.path()).unwrap();
    std::fs::create_dir(directory.path().join(FLOOR_FILE)).unwrap();
    let mut peers = cluster.peers();

    let learned = peers.absorb(&cluster.authority.published(&[&new]), NOW);
    assert!(disk.keep(&peers, &learned).await.is_err());
    peers.absorb(&cluster.authority.published(&[&old]), NOW);

    assert!(reason(&peers, "bob").contains("superseded"));
    let bob = peers.believed(&cluster.bob.id.uid).unwrap();
    assert_eq!(*bob.envelope(), new);
}
