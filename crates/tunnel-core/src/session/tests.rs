use zeroize::Zeroizing;

use super::weak_keys::tests::small_order_points;
use super::*;

const NOW: Moment = Moment::since_boot(Duration::from_secs(1000));

fn own_key(byte: u8) -> Arc<OwnKey> {
    Arc::new(OwnKey::new(&Zeroizing::new([byte; 32])))
}

fn session(own: &Arc<OwnKey>, peer: &OwnKey, index: u32) -> Session {
    let index = SessionIndex::truncate(index);
    Session::new(own, peer.public(), index, |make| make(), NOW).unwrap()
}

/// Alice's session with Bob, and Bob's with Alice.
fn pair() -> (Session, Session) {
    let (alice, bob) = (own_key(1), own_key(2));
    (session(&alice, &bob, 0xa11ce), session(&bob, &alice, 0xb0b))
}

fn responded(received: Received) -> Vec<u8> {
    let Received::Responded(response) = received else {
        panic!("not answered: {received:?}");
    };
    response
}

fn completed(received: Received) -> Vec<u8> {
    let Received::Completed(confirmation) = received else {
        panic!("not completed: {received:?}");
    };
    confirmation
}

fn refusal(received: Received) -> DatagramRefusal {
    let Received::Refused(reason) = received else {
        panic!("not refused: {received:?}");
    };
    reason
}

/// Alice initiates and both confirm.
fn shake(alice: &mut Session, bob: &mut Session) {
    let initiation = alice.initiate(NOW).unwrap();
    let response = responded(bob.handle(&initiation, NOW));
    let confirmation = completed(alice.handle(&response, NOW));
    let received = bob.handle(&confirmation, NOW);
    assert!(matches!(
        received,
        Received::Opened {
            message: None,
            confirmed: true
        }
    ));
}

fn opened(received: Received) -> Vec<u8> {
    let Received::Opened {
        message: Some(message),
        ..
    } = received
    else {
        panic!("nothing opened: {received:?}");
    };
    message
}

#[test]
fn a_message_passes_each_way_once_both_have_confirmed() {
    let (mut alice, mut bob) = pair();
    assert_eq!(alice.seal(b"early", NOW), None);

    shake(&mut alice, &mut bob);
    let to_bob = alice.seal(b"offer", NOW).unwrap();
    let to_alice = bob.seal(b"accept", NOW).unwrap();

    assert_eq!(opened(bob.handle(&to_bob, NOW)), b"offer");
    assert_eq!(opened(alice.handle(&to_alice, NOW)), b"accept");
    assert_eq!(
        refusal(bob.handle(&to_bob, NOW)),
        DatagramRefusal::NotAuthentic
    );
}

#[test]
fn a_responder_sends_nothing_before_it_is_confirmed() {
    let (mut alice, mut bob) = pair();
    let initiation = alice.initiate(NOW).unwrap();
    responded(bob.handle(&initiation, NOW));

    assert_eq!(bob.seal(b"accept", NOW), None);
}

#[test]
fn a_ring_full_of_unconfirmed_sessions_sends_nothing() {
    let (mut alice, mut bob) = pair();
    shake(&mut alice, &mut bob);
    assert!(bob.seal(b"before", NOW).is_some());

    for _ in 0..RING {
        let initiation = alice.initiate(NOW).unwrap();
        responded(bob.handle(&initiation, NOW));
    }

    assert_eq!(bob.seal(b"after", NOW), None, "Alice could not read it");
}

#[test]
fn a_recorded_initiation_is_refused_as_stale() {
    let (mut alice, mut bob) = pair();
    let initiation = alice.initiate(NOW).unwrap();
    responded(bob.handle(&initiation, NOW));

    let reason = refusal(bob.handle(&initiation, NOW));

    assert_eq!(reason, DatagramRefusal::StaleTimestamp);
}

#[test]
fn dropped_sessions_keep_the_replay_timestamp() {
    let (mut alice, mut bob) = pair();
    let initiation = alice.initiate(NOW).unwrap();
    let response = responded(bob.handle(&initiation, NOW));
    completed(alice.handle(&response, NOW));
    let late = NOW + DROP_SESSIONS_AFTER;

    bob.handle_timeout(late);
    alice.handle_timeout(late);

    assert_eq!(alice.seal(b"late", late), None);
    assert_eq!(
        refusal(bob.handle(&initiation, late)),
        DatagramRefusal::StaleTimestamp
    );
    shake(&mut alice, &mut bob);
}

#[test]
fn two_received_initiations_erase_the_own_one() {
    let (mut alice, mut bob) = pair();
    let initiation = alice.initiate(NOW).unwrap();
    let response = responded(bob.handle(&initiation, NOW));
    for _ in 0..2 {
        let other = bob.initiate(NOW).unwrap();
        responded(alice.handle(&other, NOW));
    }

    assert!(matches!(alice.handle(&response, NOW), Received::Erased));
    shake(&mut alice, &mut bob);
}

#[test]
fn hp15_a_response_to_nobody_is_dropped() {
    let (mut alice, mut bob) = pair();
    let initiation = alice.initiate(NOW).unwrap();
    let response = responded(bob.handle(&initiation, NOW));
    let (mut other_alice, _) = pair();

    let reason = refusal(other_alice.handle(&response, NOW));

    assert_eq!(reason, DatagramRefusal::UnexpectedResponse);
    completed(alice.handle(&response, NOW));
    assert_eq!(
        refusal(alice.handle(&response, NOW)),
        DatagramRefusal::UnexpectedResponse,
        "and one to an initiation that was answered"
    );
}

#[test]
fn hp15_a_response_for_another_peers_initiation_is_dropped() {
    let (alice_key, bob_key, eve_key) = (own_key(1), own_key(2), own_key(3));
    let mut to_bob = session(&alice_key, &bob_key, 10);
    let mut to_eve = session(&alice_key, &eve_key, 11);
    let mut eve = session(&eve_key, &alice_key, 12);
    let for_bob = to_bob.initiate(NOW).unwrap();
    let for_eve = to_eve.initiate(NOW).unwrap();
    let mut response = responded(eve.handle(&for_eve, NOW));

    response[8..12].copy_from_slice(&for_bob[4..8]);

    assert_eq!(
        refusal(to_bob.handle(&response, NOW)),
        DatagramRefusal::NotAuthentic
    );
    assert!(to_bob.is_initiating());
}

#[test]
fn hp15_swapped_indexes_are_dropped() {
    let (mut alice, mut bob) = pair();
    let initiation = alice.initiate(NOW).unwrap();
    let mut response = responded(bob.handle(&initiation, NOW));

    let (sender, receiver) = response[4..12].split_at_mut(4);
    sender.swap_with_slice(receiver);

    let reason = refusal(alice.handle(&response, NOW));
    assert_eq!(reason, DatagramRefusal::UnexpectedResponse);
}

#[test]
fn hp16_ephemeral_keys_of_small_order_are_refused() {
    for point in small_order_points() {
        let (mut alice, mut bob) = pair();
        let initiation = alice.initiate(NOW).unwrap();
        let response = responded(bob.handle(&initiation, NOW));

        let mut weak = initiation.clone();
        weak[8..40].copy_from_slice(&point);
        assert_eq!(
            refusal(bob.handle(&weak, NOW)),
            DatagramRefusal::WeakKey,
            "initiation with {point:x?}"
        );
        let mut weak = response.clone();
        weak[12..44].copy_from_slice(&point);
        assert_eq!(
            refusal(alice.handle(&weak, NOW)),
            DatagramRefusal::WeakKey,
            "response with {point:x?}"
        );
        completed(alice.handle(&response, NOW));
    }
}

#[test]
fn nd05_static_keys_of_small_order_and_the_own_one_are_refused() {
    let alice = own_key(1);
    let make = |peer| Session::new(&alice, peer, SessionIndex(1), |make| make(), NOW);

    for point in small_order_points() {
        assert_eq!(make(point).unwrap_err(), PeerKeyError::SmallOrder);
    }
    assert_eq!(make(alice.public()).unwrap_err(), PeerKeyError::Own);
    assert!(make(own_key(2).public()).is_ok());
}

#[test]
fn hp04_each_flipped_bit_of_each_message_is_dropped() {
    for bit in 0..8 {
        let (mut alice, mut bob) = pair();
        let initiation = alice.initiate(NOW).unwrap();
        assert_all_flips_are_dropped(&mut bob, &initiation, bit, 116..148);
        let response = responded(bob.handle(&initiation, NOW));
        assert_all_flips_are_dropped(&mut alice, &response, bit, 60..92);
        let confirmation = completed(alice.handle(&response, NOW));
        bob.handle(&confirmation, NOW);
        let message = alice.seal(b"a control message", NOW).unwrap();
        assert_all_flips_are_dropped(&mut bob, &message, bit, 0..0);
        assert_eq!(opened(bob.handle(&message, NOW)), b"a control message");
    }
}

/// `macs`: mac1 and mac2; mac2 means nothing while it is not asked for.
fn assert_all_flips_are_dropped(
    at: &mut Session,
    datagram: &[u8],
    bit: u32,
    macs: std::ops::Range<usize>,
) {
    let mac2 = macs.end.saturating_sub(16)..macs.end;
    for position in (0..datagram.len()).filter(|it| !mac2.contains(it)) {
        let mut flipped = datagram.to_vec();
        flipped[position] ^= 1 << bit;
        let received = at.handle(&flipped, NOW);
        assert!(
            matches!(received, Received::Refused(_)),
            "byte {position}: {received:?}"
        );
    }
}

#[test]
fn hp05_cut_and_padded_messages_are_dropped() {
    let (mut alice, mut bob) = pair();
    let initiation = alice.initiate(NOW).unwrap();
    let response = responded(bob.handle(&initiation, NOW));
    let confirmation = completed(alice.handle(&response, NOW));
    bob.handle(&confirmation, NOW);
    let message = alice.seal(b"message", NOW).unwrap();

    for datagram in [&initiation, &response, &message] {
        for length in 0..datagram.len() {
            let received = bob.handle(&datagram[..length], NOW);
            assert!(matches!(received, Received::Refused(_)), "{length} bytes");
        }
        for extra in [1, 2, 1000, 65_000] {
            let longer = [datagram.as_slice(), &vec![0; extra]].concat();
            let received = bob.handle(&longer, NOW);
            assert!(matches!(received, Received::Refused(_)), "{extra} more");
        }
    }
}

#[test]
fn hp14_other_types_and_reserved_bytes_are_malformed() {
    let (mut alice, mut bob) = pair();
    let initiation = alice.initiate(NOW).unwrap();
    let response = responded(bob.handle(&initiation, NOW));
    let confirmation = completed(alice.handle(&response, NOW));
    assert_eq!(addressee(&initiation), Ok(Addressee::Initiation));
    let session = Ok(Addressee::Session(SessionIndex(0xa11ce)));
    assert_eq!(addressee(&response), session);

    for datagram in [initiation, response, confirmation] {
        for kind in (0..=255).filter(|kind| *kind != datagram[0]) {
            let mut other = datagram.clone();
            other[0] = kind;
            let read = addressee(&other);
            let is_short_data = kind == 4;
            assert!(is_short_data || read == Err(DatagramRefusal::Malformed));
        }
        for reserved in 1..4 {
            let mut other = datagram.clone();
            other[reserved] = 1;
            assert_eq!(addressee(&other), Err(DatagramRefusal::Malformed));
        }
    }
    for length in 0..32 {
        let read = addressee(&[4, 0, 0, 0].repeat(8)[..length]);
        assert_eq!(read, Err(DatagramRefusal::Malformed));
    }
}

#[test]
fn a_transport_index_is_no_sessions() {
    let mut datagram = vec![0; 64];
    datagram[0] = 4;
    datagram[7] = 0x80;

    let read = addressee(&datagram);

    assert_eq!(read, Err(DatagramRefusal::UnknownIndex));
}

#[test]
fn a_session_index_has_23_bits() {
    let (alice, bob) = (own_key(1), own_key(2));
    let mut widest = session(&alice, &bob, u32::MAX);

    let initiation = widest.initiate(NOW).unwrap();

    assert_eq!(initiation[7] & 0x80, 0, "the top bit marks transports");
    assert_eq!(initiation[5..8], [0xff, 0xff, 0x7f]);
}

#[test]
fn an_attempt_that_is_not_repeated_makes_one_initiation() {
    let (mut alice, _) = pair();

    assert!(alice.initiate_once(NOW).is_some());
    assert!(alice.initiate_once(NOW).is_none(), "one is outstanding");
    let later = NOW + Duration::from_secs(1);
    assert!(alice.handle_timeout(later).is_none());

    assert!(!alice.is_initiating());
    assert!(alice.initiate_once(later).is_some());
}
