use std::fs;
use std::time::Duration;

use chacha20::ChaCha20Rng;
use node_identity::IdentityKey;
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::tokens::{Invitation, invite};

const NOW: UnixTime = UnixTime(1_800_000_000);

fn record(name: &str, seed: u64, range: &str) -> NodeRecord {
    let key = IdentityKey::generate(&mut ChaCha20Rng::seed_from_u64(seed));
    NodeRecord {
        name: name.parse().unwrap(),
        key: key.public(),
        serial: CertificateSerial(NOW.0 << 24),
        issued: NOW,
        not_before: NOW,
        not_after: NOW,
        last_not_after: NOW,
        addresses: vec![
            "198.51.100.1".parse().unwrap(),
            "2001:db8::1".parse().unwrap(),
        ],
        allowed_addresses: Vec::new(),
        pod_ranges: PodRanges::try_new(vec![range.parse().unwrap()]).unwrap(),
        recent: vec![NOW],
        revoked_until: None,
        awaiting: Some(key.public().hash()),
        approved: None,
        departed: None,
    }
}

fn uid(first: u8) -> NodeUid {
    NodeUid::from_bytes([first; 16]).unwrap()
}

/// A ledger as a controller in Kubernetes makes it: random keys, UIDs and serials.
pub(super) fn realistic(nodes: usize, now: UnixTime) -> Ledger {
    let mut random = ChaCha20Rng::seed_from_u64(11);
    let pin = Pin::from_bytes([7; 32]);
    let mut ledger = Ledger::empty("sotto.test".parse().unwrap(), pin);
    for number in 0..nodes {
        let (high, low) = (number / 256, number % 256);
        let issued = now.minus(Duration::from_secs(u64::from(random.next_u32() % 80_000)));
        let not_after = issued.plus(Duration::from_secs(72 * 3600));
        let range = format!("10.{high}.{low}.0/24").parse().unwrap();
        let range6 = format!("fd00:10:{high:x}:{low:x}::/64").parse().unwrap();
        let node = NodeRecord {
            name: format!("ip-10-128-{high}-{low}.eu-central-1.compute.internal")
                .parse()
                .unwrap(),
            key: IdentityKey::generate(&mut random).public(),
            serial: CertificateSerial::next(issued, None, &mut random),
            issued,
            not_before: issued.minus(Duration::from_secs(300)),
            not_after,
            last_not_after: not_after,
            addresses: vec![
                format!("100.64.{high}.{low}").parse().unwrap(),
                format!("fd00:64::{high:x}:{low:x}").parse().unwrap(),
            ],
            allowed_addresses: Vec::new(),
            pod_ranges: PodRanges::try_new(vec![range, range6]).unwrap(),
            recent: vec![issued],
            revoked_until: None,
            awaiting: None,
            approved: None,
            departed: None,
        };
        ledger.nodes.insert(NodeUid::generate(&mut random), node);
    }
    ledger
}

/// A ledger in which every field has something.
fn full() -> Ledger {
    let mut random = ChaCha20Rng::seed_from_u64(1);
    let pin = Pin::from_bytes([7; 32]);
    let mut ledger = Ledger::empty("sotto.test".parse().unwrap(), pin);
    ledger
        .nodes
        .insert(uid(1), record("alice", 1, "10.244.0.0/24"));
    ledger
        .nodes
        .insert(uid(2), record("bob", 2, "10.244.1.0/24"));
    ledger.retired.push(RetiredKey {
        key: ledger.nodes[&uid(1)].key.hash(),
        until: NOW,
    });
    let invitation = Invitation {
        name: "eve".parse().unwrap(),
        addresses: vec!["198.51.100.9".parse().unwrap()],
        lifetime: Duration::from_secs(60),
    };
    invite(&mut ledger, &invitation, NOW, &mut random).unwrap();
    ledger
}

fn on_disk(ledger: &Ledger) -> (tempfile::TempDir, LedgerFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = LedgerFile::in_folder(folder.path());
    file.create(ledger).unwrap();
    (folder, file)
}

#[test]
fn a_ledger_reads_back_as_it_was_written() {
    let (_folder, file) = on_disk(&full());

    assert_eq!(file.read().unwrap(), full());
}

#[test]
fn a_packed_ledger_reads_back_and_a_changed_or_endless_one_is_refused() {
    let packed = pack(&full());
    assert_eq!(unpack(&packed).unwrap(), full());

    for at in (0..packed.len()).step_by(3) {
        let mut bytes = packed.clone();
        bytes[at] ^= 0x10;
        // Some bits only fill the last byte.
        assert!(
            unpack(&bytes).is_ok_and(|read| read == full()) || unpack(&bytes).is_err(),
            "byte {at}"
        );
        assert!(unpack(&packed[..at]).is_err(), "cut at {at}");
    }
    let mut bomb = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..80 {
        std::io::Write::write_all(&mut bomb, &vec![b' '; 1 << 20]).unwrap();
    }
    assert!(unpack(&bomb.finish().unwrap()).is_err());
    assert!(unpack(b"").is_err());
}

/// A Secret holds 1 MiB.
#[test]
fn ten_thousand_nodes_of_both_families_fit_into_a_secret() {
    let ledger = realistic(10_000, NOW);

    let packed = pack(&ledger);

    let a_node = packed.len() / 10_000;
    assert!(a_node <= 85, "{a_node} bytes a node");
    assert_eq!(unpack(&packed), Ok(ledger));
}

#[test]
fn a_ledger_torn_at_any_byte_is_refused_by_name_with_the_cure() {
    let (folder, file) = on_disk(&full());
    let path = folder.path().join("ledger");
    let whole = fs::read(&path).unwrap();

    for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();

        let text = file.read().unwrap_err().to_string();
        assert!(
            text.contains(path.to_str().unwrap()) && text.contains("backup"),
            "{text}"
        );
    }
}

#[test]
fn a_missing_ledger_is_refused_with_the_cure_and_never_replaced_by_an_empty_one() {
    let (folder, file) = on_disk(&full());
    fs::remove_file(folder.path().join("ledger")).unwrap();

    let read = file.read().unwrap_err();
    let replaced = file.replace(full()).unwrap_err();

    assert!(matches!(read, LedgerError::Missing { .. }) && read.to_string().contains("backup"));
    assert!(matches!(replaced, LedgerError::Missing { .. }));
}

#[test]
fn what_a_crash_left_half_written_is_not_read() {
    let (folder, file) = on_disk(&full());
    fs::write(folder.path().join("ledger.new"), b"sotto ledger 1 sha").unwrap();

    assert_eq!(file.read().unwrap(), full());
    assert_eq!(file.replace(full()).unwrap().version, 1);
    assert!(!folder.path().join("ledger.new").exists());
}

#[test]
fn a_ledger_is_not_created_over_another() {
    let (_folder, file) = on_disk(&full());

    assert!(matches!(
        file.create(&full()),
        Err(LedgerError::Exists { .. })
    ));
}

#[test]
fn cp05_who_read_an_older_ledger_writes_nothing() {
    let (_folder, file) = on_disk(&full());
    let (mut mine, mut theirs) = (file.read().unwrap(), file.read().unwrap());
    theirs.nodes.remove(&uid(1));
    mine.nodes.remove(&uid(2));
    file.replace(theirs).unwrap();

    let lost = file.replace(mine).unwrap_err();

    assert!(
        matches!(lost, LedgerError::Conflict { expected: 0 }),
        "{lost}"
    );
    assert!(file.read().unwrap().nodes.contains_key(&uid(2)));
}

#[test]
fn cp05_changes_made_at_the_same_time_all_arrive() {
    let (_folder, file) = on_disk(&full());
    std::thread::scope(|scope| {
        for worker in 10..14u8 {
            let file = file.clone();
            scope.spawn(move || {
                for turn in 0..10u8 {
                    let (octet, number) = (worker, worker * 10 + turn);
                    let range = format!("10.{octet}.{turn}.0/24");
                    let node = record(&format!("node{number}"), number.into(), &range);
                    file.update(|ledger| {
                        ledger.nodes.insert(uid(number), node.clone());
                        Ok::<_, LedgerError>(())
                    })
                    .unwrap();
                }
            });
        }
    });

    let ledger = file.read().unwrap();
    assert_eq!((ledger.nodes.len(), ledger.version), (42, 40));
}

#[test]
fn a_ledger_that_gives_one_range_or_key_to_two_nodes_is_refused() {
    let mut ranges = full();
    ranges
        .nodes
        .insert(uid(3), record("mallory", 3, "10.244.1.128/25"));
    let mut keys = full();
    keys.nodes
        .insert(uid(3), record("mallory", 1, "10.244.3.0/24"));

    for ledger in [ranges, keys] {
        let (_folder, file) = on_disk(&ledger);
        let text = file.read().unwrap_err().to_string();
        assert!(
            text.contains("two owners") || text.contains("one key"),
            "{text}"
        );
    }
}

#[test]
fn i8_a_printed_ledger_shows_no_tokens_secret() {
    let ledger = full();
    let token = ledger
        .tokens
        .values()
        .next()
        .unwrap()
        .secret
        .clone()
        .unwrap();
    let secret = token.to_string();

    let shown = format!("{ledger:?}");

    assert!(shown.contains("redacted") && !shown.contains(&secret[secret.len() - 40..]));
}

#[test]
fn the_stamp_changes_with_every_write() {
    let (_folder, file) = on_disk(&full());
    let before = file.stamp();

    file.replace(full()).unwrap();

    assert_ne!(file.stamp(), before);
}

proptest! {
    #[test]
    fn i5_a_changed_byte_is_noticed_and_never_a_panic(at in any::<usize>(), change in 1u8..) {
        let mut bytes = file::encode(&full());
        let at = at % bytes.len();
        bytes[at] ^= change;

        prop_assert!(file::decode(&bytes).is_err());
    }

    #[test]
    fn i5_arbitrary_bytes_are_no_ledger(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(file::decode(&bytes).is_err());
    }
}
