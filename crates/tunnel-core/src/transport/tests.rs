use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::limits::{BYTES, PACKETS};
use super::*;

const BORN: Moment = Moment::since_boot(Duration::from_secs(1000));
const INDEX: u32 = 0x8000_2a03;
const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

fn key() -> Zeroizing<[u8; 32]> {
    Zeroizing::new([0x42; 32])
}

fn pair(suite: Suite) -> (SealingKey, OpeningKey) {
    (
        SealingKey::new(suite, &key(), INDEX, Role::Offerer, BORN),
        OpeningKey::new(suite, &key(), Role::Accepter, BORN),
    )
}

fn after(seconds: u64) -> Moment {
    BORN + Duration::from_secs(seconds)
}

/// A run of `count` messages of `packet` bytes each, the last one of `last` bytes.
fn run(count: usize, packet: usize, last: usize) -> (Vec<u8>, usize) {
    let segment = packet + OVERHEAD;
    let mut run = vec![0xaa; (count - 1) * segment + last + OVERHEAD];
    for (message, fill) in run.chunks_mut(segment).zip(1..) {
        let end = message.len() - TAG;
        message[HEADER..end].fill(fill);
    }
    (run, segment)
}

fn open(key: &mut OpeningKey, run: &[u8], segment: usize, now: Moment) -> Vec<Opened> {
    let mut run = run.to_vec();
    let mut opened = Vec::new();
    key.open_run(&mut run, segment, now, |offset, result| {
        opened.push((offset, result))
    });
    let packet = |(offset, result): (usize, Result<usize, DropReason>)| {
        result.map(|length| run[offset + HEADER..offset + HEADER + length].to_vec())
    };
    opened.into_iter().map(packet).collect()
}

type Opened = Result<Vec<u8>, DropReason>;

/// Sealed elsewhere: a message with this counter.
fn forge(suite: Suite, counter: u64, packet: &[u8]) -> Vec<u8> {
    let mut message = vec![TYPE_DATA, 0, 0, 0];
    message.extend(INDEX.to_le_bytes());
    message.extend(counter.to_le_bytes());
    let mut body = packet.to_vec();
    let tag = independent(suite).seal_in_place_separate_tag(
        nonce(counter),
        Aad::empty(),
        body.as_mut_slice(),
    );
    message.extend(body);
    message.extend(tag.unwrap().as_ref());
    message
}

fn independent(suite: Suite) -> LessSafeKey {
    let algorithm = match suite {
        Suite::Aes256Gcm => &AES_256_GCM,
        Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        #[cfg(feature = "plaintext-control")]
        Suite::Plaintext => panic!("has no key"),
    };
    LessSafeKey::new(UnboundKey::new(algorithm, &*key()).unwrap())
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[test]
fn a_run_is_opened_to_what_was_sealed() {
    for suite in SUITES {
        let (mut sealing, mut opening) = pair(suite);
        let (mut sealed, segment) = run(5, 1424, 304);

        sealing.seal_run(&mut sealed, segment, BORN).unwrap();

        let opened = open(&mut opening, &sealed, segment, BORN);
        assert_eq!(opened.len(), 5);
        for (packet, fill) in opened.iter().zip(1..) {
            let length = if fill == 5 { 304 } else { 1424 };
            assert_eq!(packet.as_deref(), Ok([fill].repeat(length).as_slice()));
        }
    }
}

#[test]
fn p02_no_run_uses_a_nonce_twice() {
    for suite in SUITES {
        let (mut sealing, _) = pair(suite);
        let mut nonces = BTreeSet::new();
        for (count, age) in [(1, 0), (64, 1), (3, 181), (7, 2), (1, 500), (45, 179)] {
            let (mut sealed, segment) = run(count, 160, 16);
            if sealing.seal_run(&mut sealed, segment, after(age)).is_err() {
                continue;
            }
            for message in sealed.chunks_mut(segment) {
                let counter = field(message, 8).map(u64::from_le_bytes).unwrap();
                let opened = independent(suite).open_in_place(
                    nonce(counter),
                    Aad::empty(),
                    &mut message[HEADER..],
                );
                assert!(opened.is_ok(), "the nonce is not the counter in the header");
                assert!(nonces.insert(counter), "counter {counter} used twice");
            }
        }
        assert_eq!(nonces.len(), 117);
    }
}

#[test]
fn hp01_a_replayed_message_is_dropped() {
    let (mut sealing, mut opening) = pair(Suite::Aes256Gcm);
    let (mut recorded, segment) = run(3, 64, 64);
    sealing.seal_run(&mut recorded, segment, BORN).unwrap();
    assert!(
        open(&mut opening, &recorded, segment, BORN)
            .iter()
            .all(Result::is_ok)
    );

    let again = open(&mut opening, &recorded, segment, BORN);

    assert_eq!(again, vec![Err(DropReason::Replayed); 3]);
}

#[test]
fn a_message_twice_in_one_run_is_opened_once() {
    let message = forge(Suite::Aes256Gcm, 9, &[1; 32]);
    let (_, mut opening) = pair(Suite::Aes256Gcm);

    let opened = open(&mut opening, &message.repeat(2), message.len(), BORN);

    assert_eq!(opened, vec![Ok(vec![1; 32]), Err(DropReason::Replayed)]);
}

#[test]
fn hp04_a_flipped_bit_anywhere_in_counter_packet_or_tag_is_dropped() {
    for suite in SUITES {
        let message = forge(suite, 5, &[3; 48]);
        for at in 8..message.len() {
            for bit in 0..8 {
                let (_, mut opening) = pair(suite);
                let mut flipped = message.clone();
                flipped[at] ^= 1 << bit;

                let opened = open(&mut opening, &flipped, flipped.len(), BORN);

                assert!(
                    matches!(
                        opened.as_slice(),
                        [Err(DropReason::NotAuthentic | DropReason::CounterLimit)]
                    ),
                    "byte {at} bit {bit}"
                );
            }
        }
    }
}

#[test]
fn hp05_a_cut_or_longer_message_is_dropped() {
    let message = forge(Suite::Aes256Gcm, 5, &[3; 48]);
    for length in (0..message.len()).chain([message.len() + 1, 100, 1500, 65_507]) {
        let (_, mut opening) = pair(Suite::Aes256Gcm);
        let mut changed = message.clone();
        changed.resize(length, 0);

        let opened = open(&mut opening, &changed, length, BORN);

        assert!(opened.iter().all(Result::is_err), "{length}");
        assert_eq!(opened.len(), usize::from(length > 0), "{length}");
    }
}

#[test]
fn hp06_a_counter_above_the_limit_is_refused_and_the_window_stays() {
    for counter in [PACKETS, 1 << 60, u64::MAX - 8192 - 1, u64::MAX] {
        let (_, mut opening) = pair(Suite::Aes256Gcm);
        let authentic = forge(Suite::Aes256Gcm, counter, &[3; 48]);
        let mut forged = authentic.clone();
        forged[20] ^= 1;

        for message in [&authentic, &forged] {
            let opened = open(&mut opening, message, message.len(), BORN);
            assert_eq!(opened, vec![Err(DropReason::CounterLimit)], "{counter}");
        }

        let first = forge(Suite::Aes256Gcm, 0, &[3; 48]);
        assert_eq!(
            open(&mut opening, &first, first.len(), BORN),
            vec![Ok(vec![3; 48])]
        );
    }
}

#[test]
fn hp06_counter_zero_and_the_last_one_are_opened() {
    let (_, mut opening) = pair(Suite::ChaCha20Poly1305);
    for counter in [0, PACKETS - 1] {
        let message = forge(Suite::ChaCha20Poly1305, counter, &[3; 48]);
        assert_eq!(
            open(&mut opening, &message, message.len(), BORN),
            vec![Ok(vec![3; 48])]
        );
    }
}

#[test]
fn hp06_a_forged_counter_does_not_move_the_window() {
    let (_, mut opening) = pair(Suite::Aes256Gcm);
    let mut forged = forge(Suite::Aes256Gcm, 1 << 20, &[3; 48]);
    forged[30] ^= 1;
    assert_eq!(
        open(&mut opening, &forged, forged.len(), BORN),
        vec![Err(DropReason::NotAuthentic)]
    );

    let first = forge(Suite::Aes256Gcm, 0, &[3; 48]);

    assert_eq!(
        open(&mut opening, &first, first.len(), BORN),
        vec![Ok(vec![3; 48])]
    );
}

#[test]
fn p09_nothing_is_sent_after_the_last_packet_byte_or_second() {
    let seal = |packets, bytes, age| {
        let (mut sealing, _) = pair(Suite::Aes256Gcm);
        sealing.usage.set(packets, bytes);
        let (mut sealed, segment) = run(2, 64, 64);
        sealing.seal_run(&mut sealed, segment, after(age)).is_ok()
    };

    assert!(seal(PACKETS - 2, BYTES - 128, 179));
    assert!(!seal(PACKETS - 1, 0, 0), "one packet too many");
    assert!(!seal(0, BYTES - 127, 0), "one byte too many");
    assert!(!seal(0, 0, 180), "too old");
}

#[test]
fn p09_a_refused_run_is_left_unsealed_and_spends_nothing() {
    let (mut sealing, _) = pair(Suite::Aes256Gcm);
    sealing.usage.set(PACKETS - 1, 0);
    let (mut two, segment) = run(2, 64, 64);
    assert_eq!(sealing.seal_run(&mut two, segment, BORN), Err(KeyEnded));

    let (mut one, segment) = run(1, 64, 64);

    assert!(sealing.seal_run(&mut one, segment, BORN).is_ok());
    assert_eq!(field(&one, 8), Some((PACKETS - 1).to_le_bytes()));
}

#[test]
fn p09_nothing_is_opened_after_the_last_byte_or_second() {
    let message = forge(Suite::Aes256Gcm, 7, &[3; 48]);
    let opened = |bytes, age| {
        let (_, mut opening) = pair(Suite::Aes256Gcm);
        opening.usage.set(0, bytes);
        open(&mut opening, &message, message.len(), after(age)).remove(0)
    };

    assert!(opened(BYTES - 48, 269).is_ok());
    assert_eq!(opened(BYTES - 47, 0), Err(DropReason::CounterLimit));
    assert_eq!(opened(0, 270), Err(DropReason::ReceivingKeyEnded));
}

#[test]
fn p09_the_offerer_asks_for_the_next_transport_before_the_accepter_does() {
    let due = |role, packets, bytes, age| {
        let mut usage = Usage::new(role, BORN);
        usage.set(packets, bytes);
        usage.rekey_due(after(age))
    };

    for (role, seconds, packets, bytes) in [
        (Role::Offerer, 120, 1 << 26, 1 << 37),
        (Role::Accepter, 150, 1 << 27, 1 << 38),
    ] {
        assert!(!due(role, packets - 1, bytes - 1, seconds - 1), "{role:?}");
        assert!(due(role, packets, 0, 0), "{role:?} packets");
        assert!(due(role, 0, bytes, 0), "{role:?} bytes");
        assert!(due(role, 0, 0, seconds), "{role:?} age");
    }
}

#[cfg(feature = "plaintext-control")]
#[test]
fn the_plaintext_suite_leaves_the_packet_readable_in_the_same_frame() {
    let mut sealing = SealingKey::new(Suite::Plaintext, &key(), INDEX, Role::Offerer, BORN);
    let (mut sealed, segment) = run(1, 64, 64);

    sealing.seal_run(&mut sealed, segment, BORN).unwrap();

    assert_eq!(sealed.len(), 64 + OVERHEAD);
    assert_eq!(&sealed[HEADER..HEADER + 64], [1; 64]);
}

proptest! {
    #[test]
    fn any_bytes_are_opened_or_dropped(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        segment in 0_usize..200,
    ) {
        let (_, mut opening) = pair(Suite::Aes256Gcm);
        let opened = open(&mut opening, &bytes, segment, BORN);
        prop_assert!(opened.iter().all(Result::is_err));
    }
}
