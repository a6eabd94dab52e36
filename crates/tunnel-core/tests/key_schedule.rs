//! The key schedule against vectors that a script of another language computed
//! (`vectors/key_schedule.py` prints `vectors/key_schedule.txt`).

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;

use tunnel_core::key_schedule::{Direction, KeySchedule, Secrets, Transcript};
use tunnel_core::plane::{LaneIndex, Suite};

const VECTORS: &str = include_str!("vectors/key_schedule.txt");

type Case = BTreeMap<String, Vec<u8>>;

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in VECTORS.lines() {
        let (name, hex) = line.rsplit_once(' ').unwrap();
        if name == "case" {
            cases.push(Case::new());
        }
        let value = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        cases.last_mut().unwrap().insert(name.to_owned(), value);
    }
    cases
}

fn array(case: &Case, name: &str) -> [u8; 32] {
    case[name].as_slice().try_into().unwrap()
}

fn schedule(case: &Case) -> KeySchedule {
    KeySchedule::new(
        &Transcript {
            offerer_statement: &array(case, "offerer_statement"),
            accepter_statement: &array(case, "accepter_statement"),
            offer: &case["offer"],
            accept: &case["accept"],
        },
        &Secrets {
            shared: &array(case, "shared"),
            offer_random: &array(case, "offer_random"),
            accept_random: &array(case, "accept_random"),
        },
    )
}

const DIRECTIONS: [(u8, Direction); 2] = [(0, Direction::ToAccepter), (1, Direction::ToOfferer)];

#[test]
fn p01_keys_equal_the_independent_vectors() {
    let mut keys = 0;
    for case in cases() {
        let schedule = schedule(&case);
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            for (number, direction) in DIRECTIONS {
                for lane in [0, 1, 255] {
                    let expected = &case[&format!("key {} {number} {lane}", suite.wire())];
                    let key = schedule.key(suite, direction, LaneIndex(lane));
                    assert_eq!(key.as_slice(), expected, "{suite:?} {direction:?} {lane}");
                    keys += 1;
                }
            }
        }
    }
    assert_eq!(keys, 3 * 12);
}

#[test]
fn p01_confirmations_equal_the_independent_vectors() {
    for case in cases() {
        for (number, direction) in DIRECTIONS {
            let expected = &case[&format!("confirmation {number}")];
            assert_eq!(schedule(&case).confirmation(direction).as_slice(), expected);
        }
    }
}

#[test]
fn p01_no_two_keys_are_equal() {
    let schedule = schedule(&cases()[0]);
    let mut keys = std::collections::BTreeSet::new();

    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        for (_, direction) in DIRECTIONS {
            for lane in 0..=255 {
                keys.insert(schedule.key(suite, direction, LaneIndex(lane)).to_vec());
            }
        }
    }

    assert_eq!(keys.len(), 2 * 2 * 256);
}

#[test]
fn p01_each_flipped_byte_of_the_transcript_fails_its_confirmation() {
    let original = cases().remove(0);
    let confirmations = DIRECTIONS.map(|(_, it)| (it, schedule(&original).confirmation(it)));
    let inputs = [
        "offerer_statement",
        "accepter_statement",
        "offer",
        "accept",
        "shared",
        "offer_random",
        "accept_random",
    ];
    for (direction, confirmation) in confirmations {
        assert!(schedule(&original).confirms(direction, &confirmation));
    }

    for name in inputs {
        for position in 0..original[name].len() {
            let mut flipped = original.clone();
            flipped.get_mut(name).unwrap()[position] ^= 1;
            let schedule = schedule(&flipped);
            for (direction, confirmation) in confirmations {
                assert!(
                    !schedule.confirms(direction, &confirmation),
                    "byte {position} of {name}"
                );
            }
        }
    }
}

#[test]
fn p01_a_confirmation_of_the_other_direction_is_no_confirmation() {
    let schedule = schedule(&cases()[0]);

    let echoed = schedule.confirmation(Direction::ToOfferer);

    assert!(!schedule.confirms(Direction::ToAccepter, &echoed));
}
