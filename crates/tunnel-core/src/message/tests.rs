use super::*;

fn offer() -> KeyOffer {
    KeyOffer {
        random: Zeroizing::new([7; 32]),
        encapsulation_key: Box::new([8; ENCAPSULATION_KEY_SIZE]),
        base: IndexBase::new(0x12_3456).unwrap(),
        suites: vec![1, 2],
    }
}

fn accept() -> KeyAccept {
    KeyAccept {
        random: Zeroizing::new([9; 32]),
        ciphertext: Box::new([10; CIPHERTEXT_SIZE]),
        base: IndexBase::new(0x65_4321).unwrap(),
        suite: 2,
        confirmation: [11; CONFIRMATION_SIZE],
    }
}

fn collect(collector: &mut Collector, parts: &[Vec<u8>]) -> Vec<Collected> {
    parts
        .iter()
        .filter_map(|part| collector.collect(&Part::decode(part).unwrap()))
        .collect()
}

#[test]
fn messages_survive_encoding() {
    assert_eq!(KeyOffer::decode(&offer().encode()), Ok(offer()));
    assert_eq!(KeyAccept::decode(&accept().encode()), Ok(accept()));
}

#[test]
fn a_message_of_another_length_is_refused() {
    let (offer, accept) = (offer().encode(), accept().encode());

    for body in [
        &offer[..offer.len() - 1],
        &[offer.as_slice(), &[0]].concat(),
    ] {
        assert!(KeyOffer::decode(body).is_err());
    }
    for body in [
        &accept[..accept.len() - 1],
        &[accept.as_slice(), &[0]].concat(),
    ] {
        assert!(KeyAccept::decode(body).is_err());
    }
}

#[test]
fn an_offer_without_suites_is_refused() {
    let mut offer = offer();
    offer.suites.clear();

    assert!(KeyOffer::decode(&offer.encode()).is_err());
}

#[test]
fn an_index_base_of_more_than_23_bits_is_refused() {
    let mut body = offer().encode();
    body[32 + ENCAPSULATION_KEY_SIZE + 2] = 0x80;

    assert!(KeyOffer::decode(&body).is_err());
}

#[test]
fn hp14_headers_that_make_no_sense_are_refused() {
    let good = split(MessageKind::KeyConfirm, OfferId([1; 8]), &[5; 16]).remove(0);
    assert!(Part::decode(&good).is_ok());

    for (position, value) in [(0, 0), (0, 2), (1, 0), (1, 4), (2, 1), (3, 0), (3, 5)] {
        let mut bad = good.clone();
        bad[position] = value;
        assert!(Part::decode(&bad).is_err(), "byte {position} = {value}");
    }
    for length in 0..=HEADER_SIZE {
        assert!(Part::decode(&good[..length]).is_err(), "{length} bytes");
    }
    let too_long = [good.as_slice(), &[0; PART_SIZE]].concat();
    assert!(Part::decode(&too_long).is_err());
}

#[test]
fn a_part_is_small_enough_for_every_underlay() {
    let body = offer().encode();

    for part in split(MessageKind::KeyOffer, OfferId::of(&body), &body) {
        assert!(part.len() <= HEADER_SIZE + PART_SIZE);
    }
}

#[test]
fn parts_make_a_whole_in_any_order_and_across_repeats() {
    let body = offer().encode();
    let id = OfferId::of(&body);
    let parts = split(MessageKind::KeyOffer, id, &body);
    let mut collector = Collector::default();

    let other = split(MessageKind::KeyAccept, id, &accept().encode());
    assert!(collect(&mut collector, &[parts[1].clone(), other[0].clone()]).is_empty());
    let whole = collect(&mut collector, &[parts[1].clone(), parts[0].clone()]);

    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].body, body);
    assert_eq!((whole[0].kind, whole[0].id), (MessageKind::KeyOffer, id));
}

#[test]
fn the_collector_holds_four_messages_at_most() {
    let body = offer().encode();
    let mut collector = Collector::default();
    let first_parts: Vec<_> = (0..5)
        .map(|n| split(MessageKind::KeyOffer, OfferId([n; 8]), &body))
        .collect();

    for parts in &first_parts {
        assert!(collect(&mut collector, &parts[..1]).is_empty());
    }

    assert!(
        collect(&mut collector, &first_parts[0][1..]).is_empty(),
        "evicted"
    );
    assert_eq!(collect(&mut collector, &first_parts[4][1..]).len(), 1);
}
