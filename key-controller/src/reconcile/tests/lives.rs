//! Lives of nodes and controllers: crashes, restores, revocations, root changes.

use std::collections::BTreeMap;

use cluster_store::{IdentityView, PendingReason, PublishedNode};
use node_identity::{Envelope, Generation, KeyStatement, RevokedSubject, TunnelKey};

use super::*;

pub(super) fn envelope(number: u32, certificate: &NodeCertificate) -> Vec<u8> {
    let tunnel = TunnelKey::generate(&mut ChaCha20Rng::seed_from_u64(77));
    let statement = KeyStatement {
        identity: identity(number),
        certificate_serial: certificate.terms().serial,
        identity_key_hash: key(number).public().hash(),
        generation: Generation(NOW.0),
        tunnel_key: tunnel.public(),
        endpoints: certificate.terms().addresses.clone(),
        base_port: 51820,
        lanes: 1,
    };
    let sealed = Envelope::seal(&statement, &key(number), &tunnel, certificate);
    sealed.unwrap().to_der()
}

fn revokes(list: &RevocationList, number: u32) -> bool {
    let subject = RevokedSubject::Node(identity(number).uid);
    list.entries.iter().any(|entry| entry.subject == subject)
}

#[tokio::test]
async fn kl01_a_request_is_answered_in_one_step() {
    let scene = Scene::new("");
    let id = scene.store.ask(1);

    scene.step(&mut scene.controller()).await;

    assert_eq!(scene.store.state(&id), RequestState::Issued);
    assert_eq!(scene.certificate(1).terms().key, key(1).public());
    let view = &scene.store.views()[0];
    assert_eq!(view.identity, IdentityView::Verified);
    assert_eq!(scene.store.notices()[0].reason, "CertificateIssued");
}

#[tokio::test]
async fn kl03_a_controller_killed_at_any_step_leaves_what_the_next_one_finishes() {
    for call in 1..20 {
        let mut scene = Scene::new("");
        scene.store.ask(1);
        scene.step(&mut scene.controller()).await;
        // A renewal, a newcomer and a revocation at once.
        scene.now = scene.now.plus(Duration::from_secs(24 * 3600));
        let (request, stamp) = asks(1, &key(1));
        let renewal = scene.store.leave(1, request, stamp);
        let newcomer = scene.store.ask(2);
        let mut random = random();
        scene.store.fail_at(call);

        let mut killed = scene.controller();
        let stepped = killed.step(Signing::Allowed, scene.now, &mut random).await;
        drop(killed);
        scene.store.fail_at(usize::MAX);
        let promised = scene.ledger.now().nodes;
        scene.step(&mut scene.controller()).await;

        for id in [renewal, newcomer] {
            assert_eq!(scene.store.state(&id), RequestState::Issued, "call {call}");
        }
        for number in [1, 2] {
            let (promised, node) = (&promised[&identity(number).uid], scene.certificate(number));
            assert_eq!(node.terms().serial, promised.serial, "call {call}");
        }
        assert_eq!(
            scene.ledger.now().nodes,
            promised,
            "nothing is granted twice"
        );
        if stepped.is_ok() {
            return assert!(call > 4, "each write was cut short once");
        }
    }
    panic!("a step has fewer writes than that");
}

#[tokio::test]
async fn kl12_a_revoked_node_is_out_with_the_next_step() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    scene.store.ask(1);
    scene.store.ask(2);
    scene.step(&mut controller).await;
    let wanted = PublishedNode {
        revocation_wanted: true,
        ..scene.store.node(&identity(1).uid).unwrap()
    };
    scene.store.put_node(wanted);

    scene.step(&mut controller).await;

    let list = scene.list();
    assert!(revokes(&list, 1) && !revokes(&list, 2));
    assert_eq!(scene.store.node(&identity(1).uid), None);
    let (request, stamp) = asks(1, &key(1));
    let again = scene.store.leave(9, request, stamp);
    scene.step(&mut controller).await;
    assert_eq!(scene.store.state(&again), RequestState::Refused);
    let refusals: Vec<_> = scene.store.notices();
    let refused = refusals.iter().find(|one| one.reason == "EnrolmentRefused");
    assert!(refused.is_some_and(|one| one.message.ends_with("revoked")));
}

#[tokio::test]
async fn kl12_a_revoked_node_stays_out_until_its_node_is_gone() {
    let mut scene = Scene::new("");
    let mut controller = scene.controller();
    scene.store.ask(1);
    scene.step(&mut controller).await;
    let uid = identity(1).uid;
    let wanted = PublishedNode {
        revocation_wanted: true,
        ..scene.store.node(&uid).unwrap()
    };
    scene.store.put_node(wanted);
    scene.step(&mut controller).await;
    // Somebody who may write the object takes the operator's word away.
    scene.store.put_nodes(BTreeMap::new());

    scene.now = NOW.plus(Duration::from_secs(74 * 3600));
    scene.step(&mut controller).await;
    scene.step(&mut controller).await;
    assert!(!revokes(&scene.list(), 1), "no certificate of it lives");
    let again = scene.store.ask(1);
    scene.step(&mut controller).await;
    assert_eq!(scene.store.state(&again), RequestState::Refused);

    scene.store.set_gone(vec![uid]);
    controller.departures.forget_when();
    scene.step(&mut controller).await;
    let ledger = scene.ledger.now();
    assert!(!ledger.nodes.contains_key(&uid), "it can be forgotten");
}

#[tokio::test]
async fn kl12_a_revoked_node_whose_daemon_goes_on_is_said_to_be_out_once() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    scene.store.ask(1);
    scene.step(&mut controller).await;
    scene.store.keep_envelopes();
    let certificate = scene.certificate(1);
    let wanted = PublishedNode {
        revocation_wanted: true,
        envelopes: vec![envelope(1, &certificate)],
        ..scene.store.node(&identity(1).uid).unwrap()
    };
    scene.store.put_node(wanted);

    scene.step(&mut controller).await;
    let said = controller.withdrawn.clone();
    let notices = scene.store.notices().len();
    let mut random = random();
    let again = controller.step(Signing::Allowed, scene.now, &mut random);
    assert_eq!(again.await.unwrap(), Outcome::Idle);

    let left = scene.store.node(&identity(1).uid).unwrap();
    assert_eq!((left.certificate, left.envelopes.len()), (None, 1));
    assert!(said.contains(&identity(1).uid));
    assert_eq!(
        controller.withdrawn, said,
        "a line is said for a newcomer alone"
    );
    assert_eq!(scene.store.notices().len(), notices);
}

#[tokio::test]
async fn kl12_a_wish_under_another_name_revokes_nobody() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    scene.store.ask(1);
    scene.step(&mut controller).await;
    let wish = PublishedNode {
        revocation_wanted: true,
        name: Some("node2".parse().unwrap()),
        ..PublishedNode::empty(identity(1).uid)
    };
    scene.store.put_node(wish);

    scene.step(&mut controller).await;

    assert_eq!(scene.list().entries, []);
}

#[tokio::test]
async fn nl04_a_deleted_node_is_revoked_and_its_name_is_free_in_the_same_step() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    scene.store.ask(1);
    scene.step(&mut controller).await;
    scene.store.set_gone(vec![identity(1).uid]);
    controller.departures.forget_when();
    // The same name, range and address, as another Node.
    let (_, mut stamp) = asks(1, &key(1));
    let again = SpiffeId {
        uid: identity(7).uid,
        ..identity(1)
    };
    stamp.node_uid = vec![again.uid.to_string()];
    stamp.node.as_mut().unwrap().uid = again.uid.to_string();
    let request = CertificateRequest::create(&key(7), &again, &[]).unwrap();
    let request = EnrolmentRequest {
        pkcs10: request.to_der().to_vec(),
        token: None,
    };
    let id = scene.store.leave(7, request, stamp);

    scene.step(&mut controller).await;

    assert_eq!(scene.store.state(&id), RequestState::Issued);
    assert!(revokes(&scene.list(), 1));
    let views = scene.store.views();
    assert_eq!(
        (views.len(), views[0].uid),
        (1, again.uid),
        "one view a name, of the living"
    );
}

#[tokio::test]
async fn cp08_an_api_without_nodes_revokes_nobody() {
    let scene = Scene::new("");
    let mut controller = scene.controller();
    for number in 0..20 {
        scene.store.ask(number);
    }
    scene.step(&mut controller).await;
    scene
        .store
        .set_gone((0..20).map(|number| identity(number).uid).collect());
    controller.departures.forget_when();

    scene.step(&mut controller).await;

    assert_eq!(scene.list().entries, []);
    assert_eq!(controller.tally.read().held, 20);
    let held = |view: &cluster_store::NodeView| view.reason.contains("revoke it by name");
    assert!(scene.store.views().iter().all(held));
}

#[tokio::test]
async fn a_node_that_waits_is_shown_with_the_reason() {
    let scene = Scene::new("");
    let (request, mut stamp) = asks(1, &key(1));
    stamp.node.as_mut().unwrap().pod_ranges.clear();
    let id = scene.store.leave(0, request, stamp);

    scene.step(&mut scene.controller()).await;

    let reason = PendingReason::NoNodePodRange;
    assert_eq!(scene.store.state(&id), RequestState::Pending(reason));
    let view = &scene.store.views()[0];
    assert_eq!(
        (view.identity, &view.reason),
        (IdentityView::Pending, &reason.to_string())
    );
    assert_eq!(scene.store.notices()[0].reason, "EnrolmentPending");
}

#[tokio::test]
async fn kl07_a_root_change_certifies_every_node_anew_and_keeps_ranges_and_revocations() {
    let mut scene = Scene::new("");
    scene.store.ask(1);
    scene.store.ask(2);
    scene.step(&mut scene.controller()).await;
    scene.store.set_gone(vec![identity(2).uid]);
    scene.step(&mut scene.controller()).await;
    let (old, old_root) = (scene.certificate(1), signer(&scene.root).root().clone());
    let mut old_leader = scene.controller();
    scene.root = root(2);
    let new_root = signer(&scene.root).root().clone();
    let mut ledger = scene.ledger.now();
    ledger.hand_over(new_root.pin(), scene.now, &mut random());
    scene.ledger.put(ledger);

    scene.step(&mut scene.controller()).await;
    let stayed = old_leader
        .step(Signing::Allowed, scene.now, &mut random())
        .await;

    let new = scene.certificate(1);
    assert!(new_root.has_signed(&new) && !old_root.has_signed(&new));
    assert!(new.terms().serial > old.terms().serial);
    assert_eq!(new.terms().pod_ranges, old.terms().pod_ranges);
    assert!(revokes(&scene.list(), 2));
    let error = stayed.unwrap_err();
    assert!(
        !error.may_pass(),
        "{error}: a leader with the old root ends"
    );
}
