//! Ledgers and clusters put back from a backup.

use super::lives::envelope;
use super::*;

/// What etcd holds: the ledger and what is published of nodes.
struct Backup(
    Ledger,
    std::collections::BTreeMap<NodeUid, cluster_store::PublishedNode>,
);

impl Backup {
    fn of(scene: &Scene) -> Self {
        Self(scene.ledger.now(), scene.store.nodes())
    }

    fn restore(self, scene: &Scene) {
        scene.ledger.put(self.0);
        scene.store.put_nodes(self.1);
    }
}

impl Scene {
    /// What a daemon does that finds in the store less than it holds: it publishes its envelope
    /// again, or asks where there is no place for it.
    async fn shows_again(&self, number: u32, held: &NodeCertificate) -> Option<RequestId> {
        let envelopes = [envelope(number, held)];
        let uid = identity(number).uid;
        match self.store.publish_envelopes(&uid, &envelopes).await {
            Ok(()) => None,
            Err(StoreError::NotThere { .. }) => {
                let (request, stamp) = asks(number, &key(number));
                Some(self.store.leave(200, request, stamp))
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn cp10_a_cluster_restored_from_yesterday_goes_on_above_what_its_nodes_hold() {
    let mut scene = Scene::new("");
    scene.store.ask(1);
    scene.store.ask(2);
    scene.step(&mut scene.controller()).await;
    let yesterday = Backup::of(&scene);
    scene.now = scene.now.plus(Duration::from_secs(24 * 3600));
    let (request, stamp) = asks(1, &key(1));
    scene.store.leave(1, request, stamp);
    scene.step(&mut scene.controller()).await;
    let held = scene.certificate(1);

    yesterday.restore(&scene);
    assert_eq!(scene.shows_again(1, &held).await, None);
    let mut controller = scene.controller();
    scene.step(&mut controller).await;

    let known = &scene.ledger.now().nodes[&identity(1).uid];
    assert_eq!(known.serial, held.terms().serial);
    assert_eq!(
        scene.certificate(1).to_der(),
        held.to_der(),
        "byte for byte"
    );
    let is_told = |notice: &cluster_store::Notice| notice.reason == "LedgerOld";
    assert!(scene.store.notices().iter().any(is_told));
    scene.now = scene.now.plus(Duration::from_secs(24 * 3600));
    let (request, stamp) = asks(1, &key(1));
    let renewal = scene.store.leave(2, request, stamp);
    scene.step(&mut controller).await;
    assert_eq!(scene.store.state(&renewal), RequestState::Issued);
    assert!(scene.certificate(1).terms().serial > held.terms().serial);
}

/// Of a node that joined after the backup there is no object, so it can show nothing.
#[tokio::test]
async fn cp10_a_node_that_the_restored_cluster_never_knew_keeps_its_range() {
    for ranges in ["node", "controller"] {
        let mut scene = Scene::new(&format!("pod_ranges_from = \"{ranges}\""));
        scene.store.ask(1);
        scene.step(&mut scene.controller()).await;
        let yesterday = Backup::of(&scene);
        scene.store.ask(2);
        scene.step(&mut scene.controller()).await;
        let held = scene.certificate(2);

        yesterday.restore(&scene);
        scene.now = scene.now.plus(Duration::from_secs(60));
        // A newcomer is faster.
        let newcomer = scene.store.ask(3);
        scene.step(&mut scene.controller()).await;
        let asked = scene.shows_again(2, &held).await.unwrap();
        scene.step(&mut scene.controller()).await;

        for id in [newcomer, asked] {
            assert_eq!(scene.store.state(&id), RequestState::Issued, "{ranges}");
        }
        let (again, new) = (scene.certificate(2), scene.certificate(3));
        assert_eq!(
            again.terms().pod_ranges,
            held.terms().pod_ranges,
            "{ranges}"
        );
        assert!(again.terms().serial > held.terms().serial);
        assert!(!new.terms().pod_ranges.overlaps(&held.terms().pod_ranges));
    }
}

#[tokio::test]
async fn cp10_a_certificate_that_contradicts_the_restored_ledger_stops_it() {
    let scene = Scene::new("");
    scene.store.ask(1);
    scene.step(&mut scene.controller()).await;
    let mut other = scene.ledger.now();
    let held = scene.certificate(1);
    // In the restored ledger somebody else has the range.
    let mut record = other.nodes.remove(&identity(1).uid).unwrap();
    record.name = "node2".parse().unwrap();
    record.key = key(2).public();
    other.nodes.insert(identity(2).uid, record);
    scene.ledger.put(other);
    let id = scene.store.ask(3);
    let mut controller = scene.controller();

    scene.step(&mut controller).await;

    assert!(controller.tally.read().ledger_old);
    assert_eq!(scene.store.state(&id), RequestState::Waiting);
    assert_eq!(
        scene.certificate(1).to_der(),
        held.to_der(),
        "what proves it stays"
    );
}

#[tokio::test]
async fn cp10_a_node_of_another_cluster_with_the_same_root_is_not_taken_over() {
    let scene = Scene::new("");
    scene.store.ask(1);
    scene.step(&mut scene.controller()).await;
    let mut ledger = scene.ledger.now();
    ledger.nodes.clear();
    scene.ledger.put(ledger);
    scene.store.set_gone(vec![identity(1).uid]);
    let mut controller = scene.controller();

    scene.step(&mut controller).await;

    assert_eq!(scene.ledger.now().nodes.len(), 0);
    assert!(controller.tally.read().ledger_old);
    scene.store.set_gone(Vec::new());
    scene.step(&mut controller).await;
    assert_eq!(scene.ledger.now().nodes.len(), 1);
}

#[tokio::test]
async fn cp10_a_ledger_restored_alone_learns_its_revocations_from_the_signed_list() {
    let mut scene = Scene::new("");
    let mut controller = scene.controller();
    scene.store.ask(1);
    scene.step(&mut controller).await;
    let yesterday = scene.ledger.now();
    scene.store.ask(2);
    scene.step(&mut controller).await;
    scene.now = scene.now.plus(Duration::from_secs(60));
    scene.store.set_gone(vec![identity(1).uid, identity(2).uid]);
    controller.departures.forget_when();
    scene.step(&mut controller).await;
    let before = scene.list();
    scene.ledger.put(yesterday);
    // The one is back by name and UID, and asks.
    scene.store.set_gone(Vec::new());
    let ids = [1, 2].map(|number| {
        let (request, stamp) = asks(number, &key(number));
        scene.store.leave(5, request, stamp)
    });

    let mut controller = scene.controller();
    scene.step(&mut controller).await;

    assert!(!controller.tally.read().ledger_old, "nothing stops it");
    for entry in &before.entries {
        let subjects: Vec<_> = scene.list().entries.iter().map(|one| one.subject).collect();
        assert!(subjects.contains(&entry.subject), "{:?}", entry.subject);
    }
    for id in ids {
        assert_eq!(scene.store.state(&id), RequestState::Refused);
    }
}
