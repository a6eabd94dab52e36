//! Nodes that are gone, and stores that cannot tell.

use super::*;

/// A cluster of three nodes, and its controller.
async fn three_nodes() -> (Scene, Controller<MemoryStore>) {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    for number in 1..=3 {
        scene.store.ask(number);
    }
    scene.step(&mut controller).await;
    controller.departures.forget_when();
    (scene, controller)
}

#[tokio::test]
async fn aw08_a_node_that_cannot_be_asked_for_keeps_no_request_waiting_and_is_not_revoked() {
    let (scene, mut controller) = three_nodes().await;
    scene.store.set_gone(vec![identity(1).uid, identity(2).uid]);
    scene.store.set_silent(vec![identity(1).uid]);
    let id = scene.store.ask(4);

    scene.step(&mut controller).await;

    assert_eq!(scene.store.state(&id), RequestState::Issued);
    let nodes = scene.ledger.now().nodes;
    let revoked = |number| nodes[&identity(number).uid].revoked_until.is_some();
    assert_eq!((revoked(1), revoked(2)), (false, true));
    assert_eq!(controller.tally.read().unknown_nodes, 1);

    scene.store.set_silent(Vec::new());
    controller.departures.forget_when();
    scene.step(&mut controller).await;
    let first = &scene.ledger.now().nodes[&identity(1).uid];
    assert!(first.revoked_until.is_some(), "it is asked for again");
}

#[tokio::test]
async fn a_node_that_goes_just_after_a_question_is_asked_for_two_seconds_later() {
    let (scene, mut controller) = three_nodes().await;
    scene.step(&mut controller).await;
    assert_eq!(controller.asks_at(), None);
    scene.store.set_gone(vec![identity(1).uid]);

    scene.step(&mut controller).await;

    assert_eq!(scene.list().entries, []);
    let at = controller.asks_at().expect("a question was put off");
    assert!(at <= std::time::Instant::now() + std::time::Duration::from_secs(2));

    controller.departures.forget_when();
    scene.step(&mut controller).await;
    assert!(!scene.list().entries.is_empty());
    assert_eq!(controller.asks_at(), None);
}

#[tokio::test]
async fn a_store_that_can_tell_of_no_node_ends_the_step() {
    let (scene, mut controller) = three_nodes().await;
    scene.store.set_gone(vec![identity(1).uid]);
    scene.store.set_away();

    let mut random = random();
    let stepped = controller.step(Signing::Allowed, scene.now, &mut random);

    assert!(stepped.await.unwrap_err().may_pass());
    assert_eq!(scene.list().entries, []);
}

#[tokio::test]
async fn cp10_a_stranger_whose_node_cannot_be_asked_for_is_not_taken_over() {
    let (scene, mut controller) = three_nodes().await;
    let mut ledger = scene.ledger.now();
    ledger.nodes.remove(&identity(1).uid);
    scene.ledger.put(ledger);
    scene.store.set_silent(vec![identity(1).uid]);

    scene.step(&mut controller).await;

    assert_eq!(scene.ledger.now().nodes.len(), 2);
    assert!(controller.tally.read().ledger_old);
    scene.store.set_silent(Vec::new());
    scene.step(&mut controller).await;
    assert_eq!(scene.ledger.now().nodes.len(), 3);
}

#[tokio::test]
async fn a_step_reads_the_ledger_once_and_once_more_after_a_conflict() {
    let (scene, mut controller) = three_nodes().await;
    let before = scene.ledger.reads();
    scene.step(&mut controller).await;
    assert_eq!(scene.ledger.reads() - before, 1, "where nothing is written");

    scene.store.ask(4);
    let before = scene.ledger.reads();
    scene.step(&mut controller).await;
    assert_eq!(scene.ledger.reads() - before, 1, "where it is written");

    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let stalling = scene.ledger.stalling(&gate);
    let mut stalled = scene.controller_on(stalling.clone());
    let mut random = random();
    scene.store.ask(5);
    let other = async {
        tokio::task::yield_now().await;
        let mut ledger = scene.ledger.now();
        ledger.version += 1;
        scene.ledger.put(ledger);
        gate.add_permits(2);
    };
    let step = stalled.step(Signing::Allowed, scene.now, &mut random);
    let (stepped, ()) = tokio::join!(step, other);
    stepped.unwrap();
    assert_eq!(stalling.reads(), 2);
}
