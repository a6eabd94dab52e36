//! Messages that nobody honest would send, or not at this time.

use super::*;

#[test]
fn p11_a_late_accept_of_an_abandoned_offer_is_ignored() {
    let mut two = Two::new();
    two.want(ALICE);
    let offer = two.say(ALICE);
    two.hear(BOB, &offer);
    let accept = two.say(BOB);
    two.advance(91);
    two.sides[ALICE].messages.clear();

    two.hear(ALICE, &accept);
    two.want(ALICE);
    two.hear(ALICE, &accept);

    assert!(two.sides[ALICE].installed.is_empty());
    assert!(
        two.sides[ALICE]
            .messages
            .iter()
            .all(|it| it.kind == MessageKind::KeyOffer)
    );
}

#[test]
fn p11_a_reflected_offer_or_accept_is_ignored() {
    let mut two = Two::new();
    two.want(BOB);
    let offer = two.say(BOB);

    two.hear(BOB, &offer);
    assert!(two.sides[BOB].messages.is_empty());
    two.hear(ALICE, &offer);
    let accept = two.say(ALICE);
    two.hear(ALICE, &accept);
    let confirm_as_accept = Collected {
        kind: MessageKind::KeyConfirm,
        body: accept.body[accept.body.len() - 16..].to_vec(),
        ..accept
    };
    two.hear(ALICE, &confirm_as_accept);

    assert_eq!(two.confirmed(ALICE), 0, "her own confirmation is no answer");
    assert_eq!(two.sides[BOB].installed.len(), 0);
}

#[test]
fn p11_a_relay_in_the_middle_gets_no_confirmation() {
    let (mut alice, mut bob) = (side(1, 3), side(2, 3));
    let now = Moment::since_boot(Duration::from_secs(500));
    alice.agreement.handle_want(now);
    alice.run(now);
    let offer = alice.messages.pop_front().unwrap();

    // Mallory (3) has a session with each and hands the messages on as they are.
    bob.handle(&offer, PairIs::Allowed, now);
    let accept = bob.messages.pop_front().unwrap();
    alice.handle(&accept, PairIs::Allowed, now);

    assert!(alice.installed.is_empty());
    assert!(alice.messages.is_empty());
}

#[test]
fn each_flipped_byte_of_an_accept_or_confirmation_is_ignored() {
    let mut two = Two::new();
    two.want(ALICE);
    let offer = two.say(ALICE);
    two.hear(BOB, &offer);
    let accept = two.say(BOB);

    for position in 0..accept.body.len() {
        let mut flipped = accept.clone();
        flipped.body[position] ^= 0x10;
        two.hear(ALICE, &flipped);
        assert!(two.sides[ALICE].installed.is_empty(), "byte {position}");
    }
    two.hear(ALICE, &accept);
    let confirm = two.say(ALICE);
    for position in 0..confirm.body.len() {
        let mut flipped = confirm.clone();
        flipped.body[position] ^= 0x10;
        two.hear(BOB, &flipped);
        assert_eq!(two.confirmed(BOB), 0, "byte {position}");
    }
    two.hear(BOB, &confirm);

    assert_eq!(two.confirmed(BOB), 1);
}

#[test]
fn a_suite_that_was_not_offered_is_refused() {
    let mut two = Two::new();
    let everything = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
    two.sides[BOB].agreement.ends.suites = everything.into();
    two.want(ALICE);
    let offer = two.say(ALICE);
    two.hear(BOB, &offer);
    let accept = two.say(BOB);

    assert_eq!(
        accept.body[accept.body.len() - 17],
        2,
        "the only one offered"
    );
    let mut other = offer.clone();
    let suite = other.body.len() - 1;
    other.body[suite] = 99;
    other.id = OfferId::of(&other.body);
    two.hear(BOB, &other);
    assert!(
        two.sides[BOB].messages.is_empty(),
        "no common suite, no answer"
    );
}

#[test]
#[cfg(not(feature = "plaintext-control"))]
fn dp00_the_ordinary_build_neither_offers_nor_accepts_plaintext() {
    use crate::control::{AesInstructions, Settings};

    for aes in [AesInstructions::Present, AesInstructions::Absent] {
        let suites = Settings::ordinary(1, aes).suites();
        assert!(suites.iter().all(|it| matches!(it.wire(), 1 | 2)));
    }
    assert_eq!(Suite::from_wire(255), None);
    let mut two = Two::new();
    two.want(ALICE);
    let mut offer = two.say(ALICE);
    let suite = offer.body.len() - 1;
    offer.body[suite] = 255;
    offer.id = OfferId::of(&offer.body);

    two.hear(BOB, &offer);

    assert!(two.sides[BOB].installed.is_empty());
}
