use super::*;
use crate::ledger::test_ledger;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn uids(ledger: &Ledger, numbers: std::ops::Range<usize>) -> BTreeSet<NodeUid> {
    let all: Vec<NodeUid> = ledger.nodes.keys().copied().collect();
    all[numbers].iter().copied().collect()
}

/// One look at `ledger`, in which every one of `gone` is asked for.
fn revoke_gone(ledger: &mut Ledger, gone: &BTreeSet<NodeUid>, now: UnixTime) -> Braked {
    let absent = Absent {
        gone: gone.clone(),
        unasked: BTreeSet::new(),
    };
    revoke_departed(ledger, &absent, now)
}

fn is_revoked(ledger: &Ledger, uid: &NodeUid) -> bool {
    ledger.nodes[uid].revoked_until.is_some()
}

#[test]
fn nl04_a_node_whose_object_is_gone_is_revoked_at_once() {
    let mut ledger = test_ledger(20, NOW);
    let gone = uids(&ledger, 0..1);

    let braked = revoke_gone(&mut ledger, &gone, NOW);

    assert_eq!(braked.revoked, Vec::from_iter(gone));
    assert!(is_revoked(&ledger, &braked.revoked[0]));
    assert!(ledger.revocations.outdated);
    assert_eq!(
        revoke_gone(&mut ledger, &BTreeSet::new(), NOW),
        Braked::default()
    );
}

#[test]
fn cp08_an_empty_list_of_nodes_revokes_nobody_and_waits_for_an_operator() {
    let mut ledger = test_ledger(20, NOW);
    let gone = uids(&ledger, 0..20);

    let braked = revoke_gone(&mut ledger, &gone, NOW);
    let a_day_later = revoke_gone(&mut ledger, &gone, NOW.plus(Duration::from_secs(86_400)));

    assert_eq!((braked.revoked.len(), braked.newly_held.len()), (0, 20));
    assert_eq!(a_day_later, Braked::default(), "time alone releases nobody");
    assert_eq!(held(&ledger).count(), 20);
    assert!(ledger.nodes.keys().all(|uid| !is_revoked(&ledger, uid)));
}

#[test]
fn nodes_that_come_back_are_held_no_more() {
    let mut ledger = test_ledger(20, NOW);
    let gone = uids(&ledger, 0..20);
    revoke_gone(&mut ledger, &gone, NOW);

    revoke_gone(
        &mut ledger,
        &BTreeSet::new(),
        NOW.plus(Duration::from_secs(60)),
    );

    assert_eq!(held(&ledger).count(), 0);
    let later = NOW.plus(Duration::from_secs(3600));
    let one = uids(&ledger, 0..1);
    assert_eq!(revoke_gone(&mut ledger, &one, later).revoked.len(), 1);
}

#[test]
fn departures_one_by_one_within_ten_minutes_are_counted_together() {
    let mut ledger = test_ledger(40, NOW);
    let mut gone = BTreeSet::new();
    let mut revoked = 0;
    for number in 0..8 {
        gone.extend(uids(&ledger, number..number + 1));
        let now = NOW.plus(Duration::from_secs(60 * number as u64));
        revoked += revoke_gone(&mut ledger, &gone, now).revoked.len();
    }

    assert_eq!(revoked, 4, "a tenth of 40");
    assert_eq!(held(&ledger).count(), 4);
}

#[test]
fn three_nodes_of_four_may_go_and_slow_departures_always() {
    let mut small = test_ledger(4, NOW);
    let gone = uids(&small, 0..3);
    assert_eq!(revoke_gone(&mut small, &gone, NOW).revoked.len(), 3);

    let mut ledger = test_ledger(10, NOW);
    let all = uids(&ledger, 0..10);
    for (number, uid) in all.into_iter().enumerate() {
        let now = NOW.plus(WINDOW * u32::try_from(number).unwrap());
        let braked = revoke_gone(&mut ledger, &BTreeSet::from([uid]), now);
        assert_eq!(braked.revoked, [uid]);
    }
}

#[test]
fn the_next_leader_knows_what_is_held() {
    let mut ledger = test_ledger(20, NOW);
    let gone = uids(&ledger, 0..20);
    revoke_gone(&mut ledger, &gone, NOW);

    let ledger = crate::ledger::unpack(&crate::ledger::pack(&ledger)).unwrap();

    assert_eq!(held(&ledger).count(), 20);
}

#[test]
fn cp08_nodes_not_yet_asked_for_count_before_the_first_is_revoked() {
    let mut ledger = test_ledger(1000, NOW);
    let all = uids(&ledger, 0..1000);
    let asked = uids(&ledger, 0..50);
    let absent = Absent {
        unasked: all.difference(&asked).copied().collect(),
        gone: asked,
    };

    let braked = revoke_departed(&mut ledger, &absent, NOW);

    assert_eq!((braked.revoked.len(), braked.newly_held.len()), (0, 50));
    // What is held is not asked for again, and stays held.
    let rest = Absent {
        gone: BTreeSet::new(),
        unasked: all,
    };
    revoke_departed(&mut ledger, &rest, NOW.plus(WINDOW * 9));
    assert_eq!(held(&ledger).count(), 50);
}

#[test]
fn a_held_node_whose_certificates_have_ended_is_revoked_once_it_is_found_gone_again() {
    let mut ledger = test_ledger(20, NOW);
    let gone = uids(&ledger, 0..20);
    revoke_gone(&mut ledger, &gone, NOW);
    let later = NOW.plus(Duration::from_secs(73 * 3600));
    let unasked = Absent {
        gone: BTreeSet::new(),
        unasked: gone.clone(),
    };

    let waits = revoke_departed(&mut ledger, &unasked, later);
    let asked = revoke_gone(&mut ledger, &gone, later);

    assert_eq!((waits.revoked.len(), asked.revoked.len()), (0, 20));
    assert_eq!(held(&ledger).count(), 0);
}
