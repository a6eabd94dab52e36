//! Liveness, hints, jitter, clocks: what the control side does when nothing arrives.

use super::cluster::START;
use super::net::delivered;
use super::*;

fn sent(packets: u64) -> Traffic {
    Traffic {
        data_sent: packets,
        all_sent: packets,
        ..Traffic::default()
    }
}

#[test]
fn silence_wants_a_transport_after_fifteen_seconds() {
    let mut net = Net::connected(1, [1, 1]);
    let before = net.nodes[ALICE].initiations;

    net.traffic(ALICE, sent(5));
    for _ in 0..14 {
        net.advance(Duration::from_secs(1));
        net.traffic(ALICE, sent(5));
    }
    assert_eq!(net.nodes[ALICE].initiations, before);
    net.advance(Duration::from_secs(1));
    net.traffic(ALICE, sent(5));

    assert_eq!(net.nodes[ALICE].initiations, before + 1);
}

#[test]
fn data_that_is_not_answered_by_data_is_answered_by_an_empty_packet() {
    let mut net = Net::connected(2, [1, 1]);
    let received = Traffic {
        data_received: 5,
        all_received: 5,
        ..Traffic::default()
    };

    for _ in 0..60 {
        net.traffic(BOB, received);
        net.advance(Duration::from_secs(1));
    }

    assert_eq!(net.nodes[BOB].lanes.empties, 1);
}

#[test]
fn a_restarted_peer_that_meets_unknown_indexes_is_reached_within_a_second() {
    let mut net = Net::connected(3, [1, 1]);
    net.advance(Duration::from_secs(20));
    net.restart(BOB, 0);
    net.introduce_to(BOB);
    let alice = net.address(ALICE).ip();

    net.lane_event(BOB, LaneEvent::UnknownIndex(alice));
    net.advance(Duration::from_secs(1));

    net.assert_agreed();
}

#[test]
fn unknown_indexes_cause_nothing_while_the_peer_is_heard() {
    let mut net = Net::connected(4, [1, 1]);
    let alice = net.address(ALICE).ip();
    let before = net.nodes[BOB].initiations;

    for second in 0..60 {
        let received = Traffic {
            all_received: second,
            ..Traffic::default()
        };
        net.traffic(BOB, received);
        for _ in 0..50 {
            net.lane_event(BOB, LaneEvent::UnknownIndex(alice));
            net.advance(Duration::from_millis(20));
        }
    }

    assert_eq!(net.nodes[BOB].initiations, before);
}

#[test]
fn stale_timestamps_from_a_silent_peer_make_us_initiate() {
    let mut net = Net::connected(5, [1, 1]);
    let recorded = net.tape.iter().find(|it| it.kind() == 1).unwrap().clone();
    let before = net.nodes[BOB].initiations;

    net.advance(Duration::from_secs(3));
    net.inject(BOB, recorded.source, &recorded.payload);
    net.advance(Duration::from_secs(2));
    assert_eq!(net.nodes[BOB].initiations, before, "a session is young");
    net.advance(Duration::from_secs(5));
    net.inject(BOB, recorded.source, &recorded.payload);
    net.advance(Duration::from_secs(2));

    assert_eq!(net.nodes[BOB].initiations, before + 1);
}

#[test]
fn peers_move_to_a_new_generation_spread_over_ten_seconds() {
    let mut seconds = std::collections::BTreeSet::new();
    for seed in 0..30 {
        let mut net = Net::connected(100 + seed, [1, 1]);
        let before = net.nodes[BOB].initiations;
        net.renew(ALICE, 500);
        net.fate = Box::new(|_| Vec::new());
        net.introduce_to(BOB);
        let start = net.now;
        while net.nodes[BOB].initiations == before {
            net.advance(Duration::from_millis(100));
        }
        let taken = net.now.duration_since(start);
        assert!(taken <= Duration::from_millis(10_100), "{taken:?}");
        seconds.insert(taken.as_secs());
    }

    assert!(seconds.len() > 4, "{seconds:?}");
}

#[test]
fn a_restarted_daemon_initiates_to_those_it_spoke_with() {
    let mut net = Net::connected(6, [1, 1]);
    net.restart(ALICE, 0);
    net.introduce_to(ALICE);
    let bob = net.nodes[BOB].identity.uid();
    let now = net.now;

    net.nodes[ALICE].control.handle_restart(&[bob], now);
    net.advance(Duration::from_secs(11));

    net.assert_agreed();
}

#[test]
fn a_clock_far_behind_the_last_timestamps_asks_for_a_new_generation() {
    for (behind, asks) in [(29, false), (31, true), (3600, true)] {
        let mut net = Net::strangers(7, [1, 1]);
        let mut generation = net.nodes[ALICE].identity.generation(&net.root, 500);
        generation.highest_stamp = Some(UnixTime(START.0 + behind));
        let now = net.now;
        let alice = &mut net.nodes[ALICE].control;
        alice.handle_generation(&generation, now).unwrap();
        net.introduce_all();

        net.want(ALICE);
        net.advance(Duration::from_secs(1));

        let reason = NewGenerationReason::ClockBehind;
        let asked = ControlEvent::NewGenerationWanted(reason);
        let count = net.nodes[ALICE].events.iter().filter(|it| **it == asked);
        assert_eq!(count.count(), usize::from(asks), "{behind} s behind");
        net.assert_agreed();
    }
}

#[test]
fn one_new_generation_is_asked_for_however_many_old_ones_the_clock_is_behind() {
    let mut net = Net::strangers(7, [1, 1]);
    let now = net.now;
    for number in [500, 501, 502] {
        let mut generation = net.nodes[ALICE].identity.generation(&net.root, number);
        generation.highest_stamp = Some(UnixTime(START.0 + 3600));
        let alice = &mut net.nodes[ALICE].control;
        alice.handle_generation(&generation, now).unwrap();
    }
    net.introduce_all();

    net.want(ALICE);
    net.advance(Duration::from_secs(1));

    let asked = ControlEvent::NewGenerationWanted(NewGenerationReason::ClockBehind);
    let count = net.nodes[ALICE].events.iter().filter(|it| **it == asked);
    assert_eq!(count.count(), 1);
}

#[test]
fn the_highest_timestamp_is_told_as_it_grows() {
    let mut net = Net::connected(8, [1, 1]);
    let told = |net: &Net| -> Vec<u64> {
        let mut told = Vec::new();
        for event in &net.nodes[ALICE].events {
            if let ControlEvent::StampAdvanced { seconds, .. } = event {
                told.push(*seconds);
            }
        }
        told
    };
    assert_eq!(told(&net), [START.0]);

    net.advance(Duration::from_secs(50));
    net.fate = Box::new(|_| Vec::new());
    let transport = net.choice(ALICE).unwrap();
    net.lane_event(ALICE, LaneEvent::RekeyDue(transport));
    net.advance(Duration::from_secs(4));

    assert_eq!(told(&net), [START.0, START.0 + 51]);
}

#[test]
fn a_copied_memory_sends_nothing_before_it_has_a_new_generation() {
    let mut net = Net::connected(9, [1, 1]);
    net.tape.clear();
    let now = net.now;

    net.nodes[ALICE].control.handle_memory_copied(now);
    net.collect(ALICE);

    let lanes = &net.nodes[ALICE].lanes;
    assert!(lanes.sending.is_empty() && lanes.receiving.is_empty());
    net.want(ALICE);
    net.want(BOB);
    net.advance(Duration::from_secs(5));
    assert!(net.tape.iter().all(|it| it.from == BOB), "Alice is silent");
    net.renew(ALICE, 500);
    net.introduce_all();
    net.want(ALICE);
    net.advance(Duration::from_secs(1));
    net.assert_agreed();
}

#[test]
fn p10_a_copied_memory_retires_every_own_generation() {
    let mut net = Net::connected(12, [1, 1]);
    net.renew(ALICE, 500);
    let own: Vec<_> = net.nodes[ALICE]
        .control
        .own
        .iter()
        .map(|it| it.rank)
        .collect();
    assert_eq!(own.len(), 2);
    let now = net.now;

    net.nodes[ALICE].control.handle_memory_copied(now);
    net.collect(ALICE);

    let retired = |rank| {
        let event = ControlEvent::OwnGenerationRetired(rank);
        net.nodes[ALICE].events.contains(&event)
    };
    assert!(own.into_iter().all(retired));
    assert_eq!(net.nodes[ALICE].control.own.len(), 0);
}

#[test]
fn a_peer_that_stays_away_is_given_up_and_wanted_again() {
    let mut net = Net::acquainted(10, [1, 1]);
    net.fate = Box::new(|_| Vec::new());
    net.want(ALICE);
    net.advance(Duration::from_secs(100));

    let given_up = |it: &&ControlEvent| matches!(it, ControlEvent::AgreementGivenUp { .. });
    assert_eq!(net.nodes[ALICE].events.iter().filter(given_up).count(), 1);
    let quiet = net.tape.len();
    net.advance(Duration::from_secs(600));
    assert_eq!(net.tape.len(), quiet);
    net.fate = Box::new(|_| delivered());
    net.want(ALICE);
    net.advance(Duration::from_secs(1));

    net.assert_agreed();
}

#[test]
fn a_want_said_before_the_lane_had_the_choice_is_no_want() {
    let mut net = Net::connected(11, [1, 1]);
    let before = net.nodes[BOB].initiations;
    let choice = net.choice(BOB).unwrap();
    net.lane_event(BOB, LaneEvent::RekeyDue(choice));
    net.advance(Duration::from_millis(100));
    assert_ne!(net.choice(BOB), Some(choice));

    net.want(BOB);

    assert_eq!(net.nodes[BOB].initiations, before + 1);
}
