//! Objects that refuse their writes, for somebody filled them up, and a ledger that is full.

use cluster_store::PublishedNode;

use super::*;

/// What the notices of a reason are about.
fn told(scene: &Scene, reason: &str) -> usize {
    let notices = scene.store.notices();
    notices.iter().filter(|one| one.reason == reason).count()
}

fn wish(scene: &Scene, number: u32) {
    let wanted = PublishedNode {
        revocation_wanted: true,
        ..scene.store.node(&identity(number).uid).unwrap()
    };
    scene.store.put_node(wanted);
}

#[tokio::test]
async fn aw08_nodes_whose_objects_refuse_keep_nobody_else_out() {
    let scene = Scene::new("");
    let broken: Vec<_> = (1..=100).map(|number| scene.store.ask(number)).collect();
    let other = scene.store.ask(101);
    let uids = (1..=100).map(|number| identity(number).uid);
    scene.store.break_nodes(uids);
    let mut controller = scene.controller();

    // It is whole: the next one need not wait.
    scene.step(&mut controller).await;

    assert_eq!(scene.store.state(&other), RequestState::Issued);
    assert_eq!(scene.store.state(&broken[0]), RequestState::Waiting);
    assert_eq!(
        told(&scene, "CertificateIssued"),
        101,
        "the ledger has them"
    );
    assert_eq!(controller.tally.read().issued, 101);
    assert_eq!(controller.tally.read().refused_writes, 100);

    assert_eq!(scene.store.take_refusals(), 100);
    scene.step(&mut controller).await;
    assert_eq!(scene.store.take_refusals(), 64, "few of them each time");
    assert_eq!(controller.tally.read().issued, 101, "and told once");
    scene.store.break_nodes([]);
    scene.step(&mut controller).await;
    scene.step(&mut controller).await;
    let all = broken.iter().map(|id| scene.store.state(id));
    assert!(all.into_iter().all(|state| state == RequestState::Issued));
}

#[tokio::test]
async fn aw08_requests_that_refuse_their_answers_keep_nobody_else_waiting_and_are_told_of_once() {
    let scene = Scene::new("");
    let mut broken = Vec::new();
    for number in 1..=20 {
        let (request, mut stamp) = asks(number, &key(number));
        stamp.pod = None;
        broken.push(scene.store.leave(0, request, stamp));
    }
    let other = scene.store.ask(21);
    scene.store.break_answers(broken.clone());
    let mut controller = scene.controller();

    for _ in 0..3 {
        scene.step(&mut controller).await;
    }

    assert_eq!(scene.store.state(&other), RequestState::Issued);
    let refused = |controller: &Controller<MemoryStore>| -> u64 {
        controller.tally.read().refused.values().sum()
    };
    assert_eq!(refused(&controller), 0, "no answer stands");
    scene.store.break_answers([]);
    scene.step(&mut controller).await;
    assert_eq!(refused(&controller), 20);
    assert_eq!(told(&scene, "EnrolmentRefused"), 20);
}

#[tokio::test]
async fn a_revocation_waits_for_no_certificate_of_the_same_step() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    scene.store.ask(9);
    scene.step(&mut controller).await;
    wish(&scene, 9);
    scene.store.ask(1);
    scene.store.ask(2);
    scene.store.take_written();

    scene.step(&mut controller).await;

    let order = ["root", "withdrawal", "certificate", "certificate"];
    assert_eq!(scene.store.take_written()[..4], order);
}

#[tokio::test]
async fn a_step_without_anything_to_do_says_so() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    scene.store.ask(1);
    let mut outcomes = Vec::new();

    let mut random = random();
    for _ in 0..2 {
        let stepped = controller.step(Signing::Allowed, scene.now, &mut random);
        outcomes.push(stepped.await.unwrap());
    }

    assert_eq!(outcomes, [Outcome::Changed, Outcome::Idle]);
}

/// A ledger of 20 nodes that can grow by so many bytes; a renewal, a newcomer and a revocation are wished.
async fn full(room: usize) -> (Scene, Controller<MemoryStore>, [RequestState; 2], bool) {
    let mut scene = Scene::new("");
    let mut controller = scene.controller();
    for number in 1..=20 {
        scene.store.ask(number);
    }
    scene.step(&mut controller).await;
    scene.ledger.leave_room(room);
    scene.now = scene.now.plus(Duration::from_secs(24 * 3600));
    let (request, stamp) = asks(1, &key(1));
    let renewal = scene.store.leave(1, request, stamp);
    let newcomer = scene.store.ask(21);
    wish(&scene, 2);

    let stepped = controller
        .step(Signing::Allowed, scene.now, &mut random())
        .await;

    let states = [renewal, newcomer].map(|id| scene.store.state(&id));
    let is_said = stepped.is_err_and(|error| {
        matches!(error, StepError::Ledger(LedgerError::Full { .. })) && error.may_pass()
    });
    (scene, controller, states, is_said)
}

#[tokio::test]
async fn a_ledger_without_room_for_newcomers_goes_on_with_renewals_and_revocations() {
    let (scene, mut controller, states, is_said) = full(40 * 1024).await;

    assert_eq!(states, [RequestState::Issued, RequestState::Waiting]);
    assert!(is_said);
    assert_eq!(scene.list().entries.len(), 2, "node 2 and its key");
    scene.ledger.leave_room(100 * 1024);
    scene.step(&mut controller).await;
    assert_eq!(scene.ledger.now().nodes.len(), 21);
}

#[tokio::test]
async fn a_full_ledger_goes_on_with_revocations() {
    let (scene, _, states, is_said) = full(1024).await;

    assert_eq!(states, [RequestState::Waiting, RequestState::Waiting]);
    assert!(is_said);
    assert_eq!(scene.list().entries.len(), 2, "node 2 and its key");
    assert_eq!(scene.ledger.now().nodes.len(), 20);
}
