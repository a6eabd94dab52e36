//! The cryptography of one agreement: make an offer, answer one, conclude one's own.
//!
//! Stateless but for what the functions return. Nothing is returned before its confirmation was
//! checked; shared secrets and the key schedule are erased on the way out. When to call what is
//! decided in the parent module.

use ml_kem::kem::{Decapsulate, Encapsulate, Kem, KeyExport};
use ml_kem::{DecapsulationKey768, EncapsulationKey768, MlKem768};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::{Ends, LaneKeys};
use crate::key_schedule::{Direction, KeySchedule, Secrets, Transcript};
use crate::message::{CONFIRMATION_SIZE, KeyAccept, KeyOffer, OfferId};
use crate::plane::{IndexBase, LaneIndex, Suite};

/// An own offer that may still be answered. Its decapsulation key is erased with it.
pub(super) struct OwnOffer {
    pub(super) id: OfferId,
    pub(super) body: Vec<u8>,
    pub(super) base: IndexBase,
    decapsulation_key: DecapsulationKey768,
    random: Zeroizing<[u8; 32]>,
    suites: Vec<Suite>,
}

impl Drop for OwnOffer {
    fn drop(&mut self) {
        self.body.zeroize();
    }
}

/// What both ends derive alike, each seen from its own side.
pub(super) struct Agreed {
    pub(super) suite: Suite,
    pub(super) peer_base: IndexBase,
    pub(super) receive: LaneKeys,
    pub(super) send: LaneKeys,
    /// What KeyConfirm must say: the offerer's to send, the accepter's to expect.
    pub(super) confirm: [u8; CONFIRMATION_SIZE],
}

/// Makes a fresh offer.
pub(super) fn offer(ends: &Ends, base: IndexBase, mut rng: &mut dyn CryptoRng) -> OwnOffer {
    let (decapsulation_key, encapsulation_key) = MlKem768::generate_keypair_from_rng(&mut rng);
    let mut random = Zeroizing::new([0; 32]);
    rng.fill_bytes(random.as_mut_slice());
    let body = KeyOffer {
        random: random.clone(),
        encapsulation_key: Box::new(encapsulation_key.to_bytes().into()),
        base,
        suites: ends.suites.iter().map(|suite| suite.wire()).collect(),
    }
    .encode();
    OwnOffer {
        id: OfferId::of(&body),
        body,
        base,
        decapsulation_key,
        random,
        suites: ends.suites.to_vec(),
    }
}

/// Answers the peer's offer; `None` if it is malformed or shares no suite with us.
pub(super) fn answer(
    ends: &Ends,
    offer_body: &[u8],
    base: IndexBase,
    rng: &mut dyn CryptoRng,
) -> Option<(Vec<u8>, Agreed)> {
    let offer = KeyOffer::decode(offer_body).ok()?;
    let suite = ends.first_common_suite(&offer.suites)?;
    let encapsulation_key = (*offer.encapsulation_key).into();
    let encapsulation_key = EncapsulationKey768::new(&encapsulation_key).ok()?;
    let (ciphertext, shared) = encapsulation_key.encapsulate_with_rng(rng);
    let shared = Zeroizing::new(<[u8; 32]>::from(shared));
    let mut random = Zeroizing::new([0; 32]);
    rng.fill_bytes(random.as_mut_slice());
    let mut accept = KeyAccept {
        random: random.clone(),
        ciphertext: Box::new(ciphertext.into()),
        base,
        suite: suite.wire(),
        confirmation: [0; CONFIRMATION_SIZE],
    };
    let schedule = KeySchedule::new(
        &Transcript {
            offerer_statement: &ends.peer_statement,
            accepter_statement: &ends.own_statement,
            offer: offer_body,
            accept: &accept.encode_unconfirmed(),
        },
        &Secrets {
            shared: &shared,
            offer_random: &offer.random,
            accept_random: &random,
        },
    );
    accept.confirmation = schedule.confirmation(Direction::ToOfferer);
    let agreed = Agreed {
        suite,
        peer_base: offer.base,
        receive: keys(&schedule, suite, Direction::ToAccepter, ends.peer_lanes),
        send: keys(&schedule, suite, Direction::ToOfferer, ends.own_lanes),
        confirm: schedule.confirmation(Direction::ToAccepter),
    };
    Some((accept.encode(), agreed))
}

/// Concludes an own offer with the peer's accept; `None` unless its confirmation is good.
pub(super) fn conclude(ends: &Ends, offer: &OwnOffer, accept_body: &[u8]) -> Option<Agreed> {
    let accept = KeyAccept::decode(accept_body).ok()?;
    let suite = Suite::from_wire(accept.suite).filter(|suite| offer.suites.contains(suite))?;
    let shared = offer
        .decapsulation_key
        .decapsulate(&(*accept.ciphertext).into());
    let shared = Zeroizing::new(<[u8; 32]>::from(shared));
    let schedule = KeySchedule::new(
        &Transcript {
            offerer_statement: &ends.own_statement,
            accepter_statement: &ends.peer_statement,
            offer: &offer.body,
            accept: &accept.encode_unconfirmed(),
        },
        &Secrets {
            shared: &shared,
            offer_random: &offer.random,
            accept_random: &accept.random,
        },
    );
    schedule
        .confirms(Direction::ToOfferer, &accept.confirmation)
        .then(|| Agreed {
            suite,
            peer_base: accept.base,
            receive: keys(&schedule, suite, Direction::ToOfferer, ends.peer_lanes),
            send: keys(&schedule, suite, Direction::ToAccepter, ends.own_lanes),
            confirm: schedule.confirmation(Direction::ToAccepter),
        })
}

/// The keys of one direction, one per lane of its sender.
fn keys(schedule: &KeySchedule, suite: Suite, direction: Direction, lanes: u8) -> LaneKeys {
    (0..lanes)
        .map(LaneIndex)
        .map(|lane| (lane, schedule.key(suite, direction, lane)))
        .collect()
}
