use super::*;

fn seconds(seconds: u64) -> Moment {
    later(seconds * 1_000)
}

/// Both ways under transport 1, of which the sender of each direction has the given role.
fn pair(alice_role: Role) -> (Node, Node) {
    let (mut alice, mut bob) = (Node::new(0), Node::new(1));
    let bob_role = match alice_role {
        Role::Offerer => Role::Accepter,
        Role::Accepter => Role::Offerer,
    };
    let out = Transport {
        sender: alice_role,
        ..Transport::new(1, 0, 1)
    };
    let back = Transport {
        sender: bob_role,
        ..Transport::new(1, 1, 0)
    };
    alice.command(back.receive());
    alice.command(out.send(0));
    bob.command(out.receive());
    bob.command(back.send(0));
    (alice, bob)
}

fn rekeys(node: &mut Node) -> usize {
    let due = |event: &LaneEvent| matches!(event, LaneEvent::RekeyDue(TransportId(1)));
    node.events().iter().filter(|event| due(event)).count()
}

#[test]
fn p09_the_offerer_asks_at_120_seconds_and_the_accepter_at_150_when_they_send() {
    for (role, due) in [(Role::Offerer, 120), (Role::Accepter, 150)] {
        let (mut alice, _) = pair(role);

        alice.send(&[small(0, 1)], seconds(due - 1));
        assert_eq!(rekeys(&mut alice), 0, "{role:?}");
        alice.send(&[small(0, 1)], seconds(due));
        assert_eq!(rekeys(&mut alice), 1, "{role:?}");
    }
}

#[test]
fn p09_who_only_receives_asks_too() {
    let (mut alice, mut bob) = pair(Role::Offerer);
    let early = bob.send(&[small(1, 0)], seconds(119));
    let due = bob.send(&[small(1, 0)], seconds(119));

    alice.receive_all(&early, seconds(119));
    assert_eq!(rekeys(&mut alice), 0);
    alice.receive_all(&due, seconds(120));
    assert_eq!(rekeys(&mut alice), 1);
}

#[test]
fn a_rekey_is_asked_for_once_a_second_and_never_for_a_sign_of_life() {
    let (mut alice, _) = pair(Role::Offerer);

    alice.command_at(LaneCommand::SendEmpty(PeerIndex(1)), seconds(121));
    assert_eq!(rekeys(&mut alice), 0);
    for millisecond in [0, 1, 999, 1_000] {
        alice.send(
            &[small(0, 1)],
            seconds(121) + Duration::from_millis(millisecond),
        );
    }
    assert_eq!(rekeys(&mut alice), 2);
}

#[test]
fn late_packets_on_an_old_transport_ask_for_nothing() {
    let (mut alice, mut bob) = pair(Role::Offerer);
    let late = bob.send(&[small(1, 0)], seconds(100));
    alice.command_at(
        Transport {
            born: seconds(125),
            ..Transport::new(2, 0, 1)
        }
        .send(0),
        seconds(125),
    );

    assert_eq!(alice.receive_all(&late, seconds(130)).len(), 1);

    assert_eq!(rekeys(&mut alice), 0);
}

#[test]
fn p09_after_180_seconds_packets_wait_for_the_next_transport() {
    let (mut alice, _) = pair(Role::Offerer);
    assert_eq!(alice.send(&[small(0, 1)], seconds(179)).len(), 1);
    alice.events();

    assert!(alice.send(&[small(0, 1)], seconds(180)).is_empty());
    alice.command_at(LaneCommand::SendEmpty(PeerIndex(1)), seconds(180));

    assert!(alice.sent().is_empty());
    assert_eq!(alice.events(), [LaneEvent::Want(PeerIndex(1))]);
    alice.command_at(
        Transport {
            born: seconds(181),
            ..Transport::new(2, 0, 1)
        }
        .send(0),
        seconds(181),
    );
    assert_eq!(alice.sent().len(), 1, "what waited is sent");
    assert_eq!(alice.all_drops(), []);
}

#[test]
fn p09_packets_are_received_until_270_seconds() {
    let (mut alice, mut bob) = pair(Role::Offerer);
    let runs = bob.send(&[small(1, 0)], seconds(179));
    let last = bob.send(&[small(1, 0)], seconds(179));

    assert_eq!(alice.receive_all(&runs, seconds(269)).len(), 1);
    assert!(alice.receive_all(&last, seconds(270)).is_empty());

    assert_eq!(alice.all_drops(), [(DropReason::ReceivingKeyEnded, 1)]);
}

#[test]
fn dp26_a_run_built_before_its_key_ended_is_not_sealed_after() {
    let (mut alice, _) = pair(Role::Offerer);
    alice
        .lane
        .outbound(&small(0, 1), seconds(179), &mut alice.wire);

    alice.lane.flush(seconds(380), &mut alice.wire);

    assert!(alice.sent().is_empty());
    assert_eq!(alice.all_drops(), [(DropReason::SendingKeyEnded, 1)]);
}
