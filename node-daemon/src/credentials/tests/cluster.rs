//! A node whose store is the API of a cluster, and a controller that is away.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use cluster_store::RequestState;
use node_identity::{CERTIFICATE_LIFETIME, CertificateRequest, NodeUid, VerifyError};

use super::{Daemon, World, generation};
use crate::config::Store;
use crate::credentials::Renewal;
use crate::enrol::Ask;
use crate::io::random;
use crate::keys;
use crate::sample::{self, NOW, SampleNode};

const HOUR: Duration = Duration::from_secs(3600);

/// Alice's pod, whose token is bound to the node of this UID.
fn in_a_pod(world: &mut World, uid: NodeUid) {
    let token_file = world.directory.path().join("bound-token");
    let claims = format!(r#"{{"kubernetes.io":{{"node":{{"name":"alice","uid":"{uid}"}}}}}}"#);
    let claims = Base64UrlUnpadded::encode_string(claims.as_bytes());
    std::fs::write(&token_file, format!("e30.{claims}.e30")).unwrap();
    world.config.store = Store::Kubernetes(sample::kubernetes(token_file));
}

fn pod_world() -> (World, NodeUid) {
    let mut world = World::new();
    let uid = NodeUid::generate(&mut random::system());
    in_a_pod(&mut world, uid);
    (world, uid)
}

fn submitted(world: &mut World, daemon: &mut Daemon) -> cluster_store::EnrolmentRequest {
    let Some(Ask::Submit(request)) = world.round(daemon) else {
        panic!("nothing was asked")
    };
    request
}

#[test]
fn kl01_a_pod_asks_as_the_node_of_its_token_without_addresses_or_join_token() {
    let (mut world, uid) = pod_world();
    let mut daemon = world.start();

    let request = submitted(&mut world, &mut daemon);

    let asked = CertificateRequest::from_der(&request.pkcs10).unwrap();
    assert!(request.token.is_none() && asked.addresses().is_empty());
    assert_eq!(asked.identity().uid, uid);
    assert_eq!(*asked.key(), daemon.credentials.identity.key.public());
}

#[test]
fn nl05_a_token_of_a_node_made_again_is_seen_and_one_that_cannot_be_read_says_nothing() {
    let (mut world, uid) = pod_world();
    let is_replaced = |world: &World| keys::is_replaced(&world.config, Some(&uid));
    assert!(!is_replaced(&world));

    in_a_pod(&mut world, NodeUid::generate(&mut random::system()));
    assert!(is_replaced(&world));

    let token = world.directory.path().join("bound-token");
    std::fs::write(&token, "cut").unwrap();
    assert!(!is_replaced(&world));
    std::fs::remove_file(token).unwrap();
    assert!(!is_replaced(&world));
}

#[test]
fn nl05_a_node_made_again_under_its_name_has_another_identity_and_asks_anew() {
    let (mut world, _) = pod_world();
    let first = world.enrolled();
    let second_uid = NodeUid::generate(&mut random::system());
    in_a_pod(&mut world, second_uid);

    let mut second = world.start();
    let request = submitted(&mut world, &mut second);

    assert_ne!(
        first.credentials.identity.key.public(),
        second.credentials.identity.key.public()
    );
    assert_eq!(second.credentials.identity.id.uid, second_uid);
    assert!(second.credentials.certificate().is_none());
    let asked = CertificateRequest::from_der(&request.pkcs10).unwrap();
    assert_eq!(asked.identity().uid, second_uid);
}

#[test]
fn an_endpoint_that_the_controller_leaves_out_is_asked_for_seldom() {
    let (mut world, _) = pod_world();
    let mut daemon = world.enrolled();
    world
        .config
        .endpoints
        .push("198.51.100.77".parse().unwrap());
    daemon.credentials.config = world.config.clone();

    let mut requests = 0;
    for _ in 0..6 * 60 {
        world.pass(Duration::from_secs(60));
        if let Some(Ask::Submit(request)) = world.round(&mut daemon) {
            requests += 1;
            world.issue(&request);
        }
    }

    assert!((5..=7).contains(&requests), "{requests} in six hours");
}

#[test]
fn a_certificate_for_another_key_keeps_its_successor_waiting_no_second() {
    let (mut world, _) = pod_world();
    let mut daemon = world.start();
    let request = submitted(&mut world, &mut daemon);
    world.issue(&request);
    let own = world.shown.nodes[0].certificate.take();
    // What the store shows of a node whose disk was lost.
    let id = daemon.credentials.identity.id.clone();
    let lost = SampleNode::new("alice", 1);
    let old = world.authority.certify(&id, lost.key.public(), 1);
    world.node(id.uid).certificate = Some(old.to_der().to_vec());
    world.round(&mut daemon);
    assert!(daemon.credentials.certificate().is_none());

    world.pass(Duration::from_secs(1));
    world.node(id.uid).certificate = own;
    world.round(&mut daemon);

    assert!(daemon.credentials.certificate().is_some());
}

#[test]
fn cp02_a_pod_comes_up_from_what_it_kept_without_the_api() {
    let (mut world, _) = pod_world();
    let first = world.enrolled();

    world.shown.nodes.clear();
    let second = world.start();

    assert!(generation(&first) > 0);
    assert_eq!(generation(&second), generation(&first));
    assert!(second.credentials.certificate().is_some());
}

#[test]
fn cp04_a_controller_that_is_away_for_an_hour_changes_nothing_and_at_half_life_it_alarms() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    let before = generation(&daemon);
    let mut wait = |time| {
        world.pass(time);
        let asked = world.round(&mut daemon);
        (daemon.credentials.renewal(), generation(&daemon), asked)
    };

    assert_eq!(wait(HOUR), (Renewal::InTime, before, None));
    let half = CERTIFICATE_LIFETIME / 2;
    let (renewal, _, asked) = wait(half - 2 * HOUR);
    assert_eq!(renewal, Renewal::InTime);
    assert!(matches!(asked, Some(Ask::Submit(_))), "it asks in vain");
    assert_eq!(wait(HOUR).0, Renewal::Overdue);
}

#[test]
fn kl05_a_certificate_that_comes_after_half_life_ends_the_alarm() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    world.pass(CERTIFICATE_LIFETIME / 2 + HOUR);
    let request = submitted(&mut world, &mut daemon);
    assert_eq!(daemon.credentials.renewal(), Renewal::Overdue);

    // The sample authority's certificates all begin at one moment.
    world.now.wall = NOW;
    world.issue(&request);
    world.round(&mut daemon);
    world.round(&mut daemon);

    assert_eq!(daemon.credentials.renewal(), Renewal::InTime);
}

#[test]
fn kl05_an_ended_certificate_makes_no_peer_and_a_refused_renewal_is_told() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    let envelope = daemon.credentials.generations()[0].envelope.clone();
    world.pass(CERTIFICATE_LIFETIME + HOUR);
    let request = submitted(&mut world, &mut daemon);
    let id = request.id();
    let enrolment = daemon.credentials.enrolment();
    enrolment.handle_submitted(&request, id);
    enrolment.handle_state(id, Some(RequestState::Refused), world.now.moment);

    let judged = daemon.peers.judge_own(&envelope, world.now.wall);

    assert!(
        matches!(judged, Err(VerifyError::Expired { .. })),
        "{judged:?}"
    );
    assert!(daemon.credentials.obstacle().unwrap().contains("refused"));
}

#[test]
fn cp08_a_node_that_the_restored_api_does_not_know_asks_at_once_and_comes_back() {
    let (mut world, _) = pod_world();
    let mut daemon = world.enrolled();
    let before = generation(&daemon);
    world.pass(HOUR);

    world.shown.nodes.clear();
    let request = submitted(&mut world, &mut daemon);

    assert!(
        world.shown.nodes.is_empty(),
        "it has no place to publish in"
    );
    assert_eq!(generation(&daemon), before, "it keeps what it has");
    world.issue(&request);
    world.round(&mut daemon);
    assert!(generation(&daemon) > before);
    assert!(!world.shown.nodes[0].envelopes.is_empty());
    world.pass(HOUR);
    assert_eq!(world.round(&mut daemon), None);
}

#[test]
fn cp08_an_entry_of_another_node_under_this_name_is_none_of_this_node() {
    let (mut world, _) = pod_world();
    let mut daemon = world.enrolled();
    world.pass(HOUR);

    let other = NodeUid::generate(&mut random::system());
    world.shown.nodes[0] = cluster_store::PublishedNode {
        name: Some("alice".parse().unwrap()),
        ..cluster_store::PublishedNode::empty(other)
    };
    submitted(&mut world, &mut daemon);

    assert!(world.shown.nodes[0].envelopes.is_empty());
}

#[test]
fn an_entry_that_somebody_keeps_removing_is_asked_for_once_a_minute() {
    let (mut world, _) = pod_world();
    let mut daemon = world.enrolled();
    world.pass(HOUR);

    let mut requests = 0;
    for _ in 0..600 {
        world.pass(Duration::from_secs(1));
        world.shown.nodes.clear();
        if let Some(Ask::Submit(request)) = world.round(&mut daemon) {
            requests += 1;
            world.issue(&request);
            world.round(&mut daemon);
        }
    }

    assert!((9..=11).contains(&requests), "{requests} in ten minutes");
}

#[test]
fn a_folder_that_shows_nothing_of_a_node_is_written_to() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    world.pass(HOUR);

    world.shown.nodes.clear();

    assert_eq!(world.round(&mut daemon), None);
    assert!(!world.shown.nodes[0].envelopes.is_empty());
}
