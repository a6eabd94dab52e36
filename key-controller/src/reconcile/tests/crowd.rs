//! Many nodes at once, and many controllers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::*;

/// No two certificates of one serial differ, and no two nodes have one range.
fn check_history(scene: &Scene) {
    let mut serials = BTreeMap::new();
    for der in scene.store.history() {
        let terms = NodeCertificate::from_der(&der).unwrap().terms().clone();
        let serial = (terms.identity.uid, terms.serial);
        let other = serials.insert(serial, terms.clone());
        assert!(other.is_none_or(|other| other == terms), "{serial:?}");
    }
    let all: Vec<_> = serials.values().collect();
    for (position, one) in all.iter().enumerate() {
        for other in &all[position + 1..] {
            let same = one.identity == other.identity;
            assert!(same || !one.pod_ranges.overlaps(&other.pod_ranges));
        }
    }
}

#[tokio::test]
async fn cp05_a_leader_stalled_before_its_write_loses_and_decides_again() {
    let scene = Scene::new("pod_ranges_from = \"controller\"");
    let gate = Arc::new(Semaphore::new(0));
    let mut stalled = scene.controller_on(scene.ledger.stalling(&gate));
    let mut other = scene.controller();
    let first = scene.store.ask(1);

    let (mut late, mut early) = (random(), random());
    let stalls = stalled.step(Signing::Allowed, scene.now, &mut late);
    let goes_on = async {
        // The stalled one has read requests and ledger, and waits in front of its write.
        tokio::task::yield_now().await;
        scene.store.ask(2);
        other
            .step(Signing::Allowed, scene.now, &mut early)
            .await
            .unwrap();
        let published = scene.certificate(1);
        gate.add_permits(2);
        published
    };
    let (stepped, published) = tokio::join!(stalls, goes_on);

    stepped.unwrap();
    assert_eq!(scene.store.state(&first), RequestState::Issued);
    assert_eq!(
        scene.certificate(1).to_der(),
        published.to_der(),
        "as the faster one made it"
    );
    assert_eq!(scene.ledger.now().nodes.len(), 2);
    check_history(&scene);
}

#[tokio::test]
async fn cp05_two_leaders_in_turn_never_give_one_range_or_serial_twice() {
    let scene = Scene::new("pod_ranges_from = \"controller\"");
    let (mut one, mut two) = (scene.controller(), scene.controller());
    for number in 0..20 {
        scene.store.ask(number);
        let (mut left, mut right) = (random(), random());

        let stepped = tokio::join!(
            one.step(Signing::Allowed, scene.now, &mut left),
            two.step(Signing::Allowed, scene.now, &mut right),
        );

        stepped.0.and(stepped.1).unwrap();
    }

    assert_eq!(scene.ledger.now().nodes.len(), 20);
    check_history(&scene);
}

#[tokio::test]
async fn cp12_a_thousand_nodes_at_once_cost_one_write_of_the_ledger() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    scene.step(&mut controller).await;
    let before = scene.ledger.now().version;
    for number in 0..1000 {
        scene.store.ask(number);
    }
    let started = Instant::now();

    scene.step(&mut controller).await;

    let took = started.elapsed();
    assert_eq!(scene.ledger.now().version, before + 1);
    let states = scene.store.states();
    assert!(states.iter().all(|state| *state == RequestState::Issued));
    assert_eq!(scene.store.views().len(), 1000);
    assert!(took < Duration::from_secs(60), "{took:?}");
    let calls = scene.store.calls();
    scene.step(&mut controller).await;
    assert_eq!(
        scene.store.calls() - calls,
        1,
        "nothing is written twice but the views"
    );
}

#[tokio::test]
async fn cp15_while_signing_is_withheld_requests_wait_and_revocations_are_made() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    scene.store.ask(1);
    scene.step(&mut controller).await;
    let second = scene.store.ask(2);
    scene.store.set_gone(vec![identity(1).uid]);
    controller.departures.forget_when();

    let listed = scene.store.listed();
    let mut random = random();
    let withheld = controller.step(Signing::Withheld, scene.now, &mut random);
    withheld.await.unwrap();

    assert_eq!(scene.store.listed(), listed, "no Pod or Node is asked for");

    assert_eq!(scene.store.state(&second), RequestState::Waiting);
    assert_eq!(scene.list().entries.len(), 2, "node 1 and its key");
    scene.step(&mut controller).await;
    assert_eq!(scene.store.state(&second), RequestState::Issued);
}

#[tokio::test]
async fn cp08_of_more_missing_nodes_than_are_asked_for_at_once_none_is_revoked_and_each_is_held() {
    let scene = Scene::new("");
    let count = 1000;
    let mut ledger = scene.ledger.now();
    ledger.nodes = crate::ledger::test_ledger(count, scene.now).nodes;
    let all: Vec<NodeUid> = ledger.nodes.keys().copied().collect();
    scene.ledger.put(ledger);
    scene.store.set_gone(all.clone());
    let mut controller = scene.controller();

    for step in 1..=6 {
        controller.departures.forget_when();
        scene.step(&mut controller).await;

        let held = controller.tally.read().held;
        assert_eq!(held, (256 * step).min(1000), "step {step}");
    }

    assert_eq!(scene.list().entries, []);
    let mut asked = scene.store.asked();
    asked.sort_unstable();
    assert_eq!(asked, all, "who is held is asked for no more");
}

#[tokio::test]
async fn cp12_what_was_said_of_a_pod_and_a_node_long_ago_grants_nothing() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    let id = scene.store.ask(1);
    scene.store.look_back(Duration::from_secs(31));

    scene.step(&mut controller).await;

    assert_eq!(scene.store.state(&id), RequestState::Waiting);
    assert_eq!(scene.ledger.now().nodes.len(), 0);
    scene.store.look_back(Duration::from_secs(20));
    scene.step(&mut controller).await;
    assert_eq!(scene.store.state(&id), RequestState::Issued);
}
