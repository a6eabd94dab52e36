use rand_core::Rng;

use super::*;

mod cluster;
mod generations;
mod hostile;
mod net;
mod peers;
mod timing;

use net::{ALICE, BOB, Net};

#[test]
fn two_nodes_agree_on_a_transport() {
    let mut net = Net::acquainted(1, [1, 1]);

    net.want(ALICE);
    net.advance(Duration::from_millis(10));

    net.assert_agreed();
}

#[test]
fn nodes_with_different_numbers_of_lanes_agree() {
    let mut net = Net::acquainted(2, [3, 1]);

    net.want(BOB);
    net.advance(Duration::from_millis(10));

    net.assert_agreed();
    let lanes = &net.nodes[ALICE].lanes;
    assert_eq!(net.nodes[BOB].lanes.receiving.len(), 1);
    assert_eq!(lanes.receiving.len(), 3, "each lane is told");
    for ((_, lane), transport) in &lanes.receiving {
        for (sender, _) in &transport.keys {
            assert_eq!(sender.receiver(3), *lane, "a lane holds its own keys only");
        }
    }
}

#[test]
fn an_idle_node_sends_nothing() {
    let mut net = Net::connected(3, [1, 1]);
    net.tape.clear();

    net.advance(Duration::from_secs(3600));

    assert_eq!(net.tape.len(), 0);
}

#[test]
fn a_transport_ends_at_its_limits_and_wants_nothing_by_itself() {
    let mut net = Net::connected(4, [2, 2]);

    net.advance(Duration::from_secs(178));
    net.assert_agreed();
    net.advance(Duration::from_secs(2));
    assert_eq!(net.choice(ALICE), None, "not sent under after 180 s");
    assert_eq!(net.nodes[BOB].lanes.receiving.len(), 2);
    net.advance(Duration::from_secs(90));

    for node in &net.nodes {
        assert!(node.lanes.receiving.is_empty(), "nor received after 270 s");
    }
    let initiations = net.nodes.iter().map(|it| it.initiations);
    assert_eq!(initiations.sum::<usize>(), 1);
}

#[test]
fn a_rekey_leaves_no_moment_without_an_agreed_transport() {
    let mut net = Net::connected(5, [1, 2]);
    net.always_agreed = true;

    for _ in 0..20 {
        net.advance(Duration::from_secs(120));
        let transport = net.choice(ALICE).unwrap();
        net.lane_event(ALICE, LaneEvent::RekeyDue(transport));
        net.advance(Duration::from_secs(1));
        assert_ne!(net.choice(ALICE), Some(transport));
        net.lane_event(ALICE, LaneEvent::RekeyDue(transport));
    }

    assert_eq!(net.nodes[ALICE].initiations, 21);
    net.assert_no_key_was_given_twice();
}

#[test]
fn dp25_both_ends_rekey_at_once_and_end_with_one_transport() {
    for seed in 0..60 {
        let mut net = Net::connected(1000 + seed, [1, 1]);
        net.always_agreed = true;
        let mut random = cluster::rng(seed);
        net.fate = Box::new(move |_| vec![Duration::from_micros(random.next_u64() % 3000)]);
        let before = [ALICE, BOB].map(|node| net.nodes[node].lanes.choices.len());

        for node in [ALICE, BOB] {
            let transport = net.choice(node).unwrap();
            net.lane_event(node, LaneEvent::RekeyDue(transport));
            net.advance(Duration::from_micros(seed * 10));
        }
        net.advance(Duration::from_secs(30));

        net.assert_agreed();
        for node in [ALICE, BOB] {
            let changes = net.nodes[node].lanes.choices.len() - before[node];
            assert!(changes <= 2, "seed {seed}: {changes} changes of one rekey");
        }
        let [alice, bob] = [ALICE, BOB].map(|node| net.nodes[node].lanes.choices.len());
        net.advance(Duration::from_secs(60));
        assert_eq!(
            [alice, bob],
            [ALICE, BOB].map(|it| net.nodes[it].lanes.choices.len())
        );
        net.assert_no_key_was_given_twice();
    }
}

#[test]
fn loss_delay_and_duplicates_only_delay_an_agreement() {
    let mut slowest = Duration::ZERO;
    for seed in 0..40 {
        let mut net = Net::acquainted(2000 + seed, [2, 3]);
        let mut random = cluster::rng(seed);
        net.fate = Box::new(move |_| {
            let copies = [0, 1, 1, 1, 1, 1, 1, 2][random.next_u32() as usize % 8];
            (0..copies)
                .map(|_| Duration::from_millis(random.next_u64() % 40))
                .collect()
        });

        net.want(ALICE);
        let start = net.now;
        while !(net.is_agreed(ALICE, BOB) && net.is_agreed(BOB, ALICE)) {
            net.advance(Duration::from_millis(100));
            let taken = net.now.duration_since(start);
            assert!(taken < Duration::from_secs(30), "seed {seed}");
            slowest = slowest.max(taken);
        }
        net.assert_no_key_was_given_twice();
    }
    assert!(slowest > Duration::from_secs(1), "something was lost");
}

#[test]
fn p02_copied_datagrams_install_nothing_twice() {
    let mut net = Net::acquainted(6, [1, 1]);
    net.fate = Box::new(|it| {
        let copies = if it.kind() == 4 { 100 } else { 1 };
        (0..copies).map(Duration::from_millis).collect()
    });

    net.want(ALICE);
    net.advance(Duration::from_secs(20));

    net.assert_agreed();
    net.assert_no_key_was_given_twice();
    assert_eq!(net.nodes[ALICE].lanes.received_keys.len(), 1);
}

#[test]
fn lane_commands_never_show_keys() {
    let mut net = Net::acquainted(7, [1, 1]);
    net.want(ALICE);
    net.advance(Duration::from_secs(1));

    for node in &net.nodes {
        for transport in node.lanes.sending.values() {
            let shown = format!("{:?}", LaneCommand::Send(transport.clone()));
            let key = format!("{:?}", transport.key.as_slice());
            assert!(!shown.contains(key.trim_matches(['[', ']'])), "{shown}");
        }
    }
}

#[test]
fn a_control_side_may_live_in_any_thread() {
    fn is_send<T: Send>() {}

    is_send::<Control>();
}
