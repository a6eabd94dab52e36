//! A node's way to its papers, with a controller and a store that the test plays.

mod cluster;
mod copies;
mod faults;
mod restarts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster_store::{EnrolmentRequest, Published, RequestState};
use node_identity::{CertificateRequest, Floor, Revocations, UnixTime};
use tunnel_core::moment::Moment;

use super::Credentials;
use crate::clock::Now;
use crate::config::Config;
use crate::enrol::Ask;
use crate::io::random;
use crate::keys::{self, MachineIds};
use crate::peers::Peers;
use crate::sample::{self, Authority, NOW, SampleNode};

/// Alice's daemon and the world around it.
struct World {
    directory: tempfile::TempDir,
    authority: Authority,
    config: Config,
    now: Now,
    shown: Published,
}

/// What a daemon has in memory.
struct Daemon {
    credentials: Credentials,
    peers: Peers,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let config = sample::config(&authority, directory.path());
        sample::hand_token(&authority, &config);
        let now = Now {
            moment: Moment::since_boot(Duration::from_secs(100)),
            wall: NOW,
        };
        let shown = authority.published(&[]);
        Self {
            directory,
            authority,
            config,
            now,
            shown,
        }
    }

    fn tunnel_keys(&self) -> PathBuf {
        self.directory.path().join("run/tunnel-keys.json")
    }

    fn start(&self) -> Daemon {
        self.start_with(Floor::default())
    }

    fn start_with(&self, floor: Floor) -> Daemon {
        let ids = MachineIds::read(&self.config).unwrap();
        let invited = keys::invitation(&self.config).unwrap();
        let identity = keys::open(&self.config, &ids, invited, &mut random::system()).unwrap();
        let (uid, key) = (identity.id.uid, identity.key.public().hash());
        let cluster = &self.config.cluster_pod_ranges;
        let peers = Peers::new(
            uid,
            key,
            &self.config.pins,
            cluster,
            floor,
            Revocations::default(),
        );
        let credentials =
            Credentials::load(&self.config, identity, &ids.boot, Some(self.tunnel_keys())).unwrap();
        let mut daemon = Daemon { credentials, peers };
        let on_disk = Published {
            roots: self.shown.roots.clone(),
            ..Published::default()
        };
        daemon.peers.absorb(&on_disk, self.now.wall);
        self.install(&mut daemon);
        daemon
    }

    fn pass(&mut self, time: Duration) {
        self.now.moment += time;
        self.now.wall = self.now.wall.plus(time);
    }

    /// The controller's certificate for what was asked.
    fn issue(&mut self, request: &EnrolmentRequest) {
        let asked = CertificateRequest::from_der(&request.pkcs10).unwrap();
        let certificate = self.authority.certify(asked.identity(), *asked.key(), 1);
        let node = self.node(asked.identity().uid);
        node.certificate = Some(certificate.to_der().to_vec());
    }

    fn node(&mut self, uid: node_identity::NodeUid) -> &mut cluster_store::PublishedNode {
        if self.shown.nodes.is_empty() {
            self.shown
                .nodes
                .push(cluster_store::PublishedNode::empty(uid));
        }
        &mut self.shown.nodes[0]
    }

    /// One round of the control task, as far as papers go; returns what the store was asked.
    fn round(&mut self, daemon: &mut Daemon) -> Option<Ask> {
        daemon.peers.absorb(&self.shown, self.now.wall);
        let done = daemon
            .credentials
            .handle_published(&self.shown, &daemon.peers, self.now);
        daemon.credentials.handle_time(&daemon.peers, self.now);
        self.install(daemon);
        if let Some(envelopes) = daemon.credentials.poll_publish(self.now.moment) {
            self.node(daemon.credentials.identity.id.uid)
                .envelopes
                .clone_from(&envelopes);
            daemon.credentials.handle_envelopes_published(envelopes);
        }
        self.install(daemon);
        done.or_else(|| daemon.credentials.poll_ask(self.now.moment))
    }

    fn install(&self, daemon: &mut Daemon) {
        while let Some(installed) = daemon.credentials.poll_install(&daemon.peers, self.now) {
            installed.kept.unwrap();
            daemon.peers.set_own(installed.generation.verified);
        }
    }

    /// A daemon with certificate and generation.
    fn enrolled(&mut self) -> Daemon {
        let mut daemon = self.start();
        let Some(Ask::Submit(request)) = self.round(&mut daemon) else {
            panic!("nothing was asked")
        };
        self.issue(&request);
        self.round(&mut daemon);
        daemon
    }
}

fn generation(daemon: &Daemon) -> u64 {
    daemon
        .credentials
        .generations()
        .first()
        .map_or(0, |newest| newest.statement().generation.0)
}

#[test]
fn a_node_asks_with_its_token_until_it_has_a_certificate() {
    let mut world = World::new();
    let mut daemon = world.start();

    let Some(Ask::Submit(request)) = world.round(&mut daemon) else {
        panic!("nothing was asked")
    };
    assert!(request.token.is_some());
    daemon
        .credentials
        .enrolment()
        .handle_submitted(&request, request.id());
    assert_eq!(world.round(&mut daemon), None, "not before its time");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.round(&mut daemon), Some(Ask::State(request.id())));
    world.issue(&request);

    assert_eq!(world.round(&mut daemon), Some(Ask::Withdraw(request.id())));
    assert_eq!(daemon.credentials.obstacle(), None);
    assert!(
        daemon
            .credentials
            .pod_ranges()
            .contains("10.244.1.9".parse().unwrap())
    );
    assert_eq!(generation(&daemon), world.now.wall.0);
    assert_eq!(
        world.shown.nodes[0].envelopes.len(),
        1,
        "its statement is published"
    );
}

#[test]
fn a_request_that_vanished_is_left_again_and_a_refused_one_is_made_anew_later() {
    let mut world = World::new();
    let mut daemon = world.start();
    let Some(Ask::Submit(request)) = world.round(&mut daemon) else {
        panic!("nothing was asked")
    };
    let id = request.id();
    daemon
        .credentials
        .enrolment()
        .handle_submitted(&request, id);

    daemon
        .credentials
        .enrolment()
        .handle_state(id, None, world.now.moment);
    world.pass(Duration::from_secs(2));
    assert!(matches!(world.round(&mut daemon), Some(Ask::Submit(_))));
    daemon
        .credentials
        .enrolment()
        .handle_submitted(&request, id);
    daemon
        .credentials
        .enrolment()
        .handle_state(id, Some(RequestState::Refused), world.now.moment);
    let obstacle = daemon.credentials.obstacle().unwrap();
    assert!(obstacle.contains("refused"), "{obstacle}");
    world.pass(Duration::from_secs(30));
    assert_eq!(world.round(&mut daemon), None);
    world.pass(Duration::from_secs(31));

    assert!(matches!(world.round(&mut daemon), Some(Ask::Submit(_))));
}

#[test]
fn a_restart_keeps_certificate_and_generation() {
    let mut world = World::new();
    let first = world.enrolled();
    let before = first.credentials.generations()[0].envelope.clone();
    drop(first);
    world.pass(Duration::from_secs(60));

    let mut second = world.start();
    let asked = world.round(&mut second);

    assert_eq!(asked, None);
    assert_eq!(second.credentials.generations()[0].envelope, before);
}

#[test]
fn a_boot_makes_a_new_generation_from_the_kept_certificate() {
    let mut world = World::new();
    let before = generation(&world.enrolled());
    std::fs::write(&world.config.boot_id_file, "boot-2").unwrap();
    world.pass(Duration::from_secs(60));

    let mut booted = world.start();
    assert_eq!(generation(&booted), 0, "the old boot's key is refused");
    let asked = world.round(&mut booted);

    assert_eq!(asked, None, "the certificate is still good");
    assert!(generation(&booted) > before);
}

#[test]
fn a_renewal_is_asked_for_after_a_day_without_the_token_and_brings_a_new_generation() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    let before = generation(&daemon);
    world.pass(Duration::from_secs(22 * 3600));
    assert!(!matches!(world.round(&mut daemon), Some(Ask::Submit(_))));
    world.pass(Duration::from_secs(2 * 3600));

    let Some(Ask::Submit(request)) = world.round(&mut daemon) else {
        panic!("no renewal")
    };
    assert!(request.token.is_none());
    world.issue(&request);
    world.pass(Duration::from_secs(1));
    world.round(&mut daemon);

    assert!(generation(&daemon) > before);
    let (newest, certificate) = (
        &daemon.credentials.generations()[0],
        daemon.credentials.certificate().unwrap(),
    );
    assert_eq!(
        newest.statement().certificate_serial,
        certificate.terms().serial
    );
    assert_eq!(
        world.shown.nodes[0].envelopes.len(),
        2,
        "the one before is shown beside it"
    );
}

#[test]
fn a_generation_is_renewed_after_twelve_hours_but_kept_while_the_store_refuses() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    let before = generation(&daemon);
    world.pass(Duration::from_secs(12 * 3600));

    daemon.credentials.handle_time(&daemon.peers, world.now);
    assert!(
        daemon
            .credentials
            .poll_install(&daemon.peers, world.now)
            .is_none(),
        "unpublished, it is not used"
    );
    assert_eq!(generation(&daemon), before);
    world.round(&mut daemon);

    assert!(generation(&daemon) > before);
}

#[test]
fn changed_endpoints_or_ports_make_a_new_generation() {
    let mut world = World::new();
    let before = generation(&world.enrolled());
    world.config.port = 51_900;
    world.pass(Duration::from_secs(1));

    let mut daemon = world.start();
    world.round(&mut daemon);

    assert!(generation(&daemon) > before);
    assert_eq!(
        daemon.credentials.generations()[0].statement().base_port,
        51_900
    );
}

#[test]
fn a_certificate_of_another_root_or_for_another_key_is_refused() {
    let mut world = World::new();
    let mut daemon = world.start();
    let Some(Ask::Submit(request)) = world.round(&mut daemon) else {
        panic!("nothing was asked")
    };
    let asked = CertificateRequest::from_der(&request.pkcs10).unwrap();
    let stranger = SampleNode::new("alice", 1);
    let wrong = [
        Authority::new().certify(asked.identity(), *asked.key(), 1),
        world
            .authority
            .certify(asked.identity(), stranger.key.public(), 1),
        world.authority.certify(&stranger.id, *asked.key(), 1),
    ];

    for certificate in wrong {
        world.node(asked.identity().uid).certificate = Some(certificate.to_der().to_vec());
        world.pass(Duration::from_secs(60));
        world.round(&mut daemon);
        assert!(daemon.credentials.certificate().is_none());
    }
    world.node(asked.identity().uid).certificate = Some(vec![0x30, 0]);
    world.round(&mut daemon);
    world.issue(&request);
    world.pass(Duration::from_secs(60));
    world.round(&mut daemon);

    assert!(
        daemon.credentials.certificate().is_some(),
        "the right one is taken all the same"
    );
}

#[test]
fn an_older_certificate_never_takes_the_place_of_a_newer() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    let older = world.shown.nodes[0].certificate.clone();
    world.pass(Duration::from_secs(24 * 3600));
    let Some(Ask::Submit(request)) = world.round(&mut daemon) else {
        panic!("no renewal")
    };
    world.issue(&request);
    world.round(&mut daemon);
    let serial = daemon.credentials.certificate().unwrap().terms().serial;

    world.shown.nodes[0].certificate = older;
    world.round(&mut daemon);

    assert_eq!(
        daemon.credentials.certificate().unwrap().terms().serial,
        serial
    );
}

#[test]
fn what_somebody_writes_over_our_statement_is_written_over_again() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    let ours = world.shown.nodes[0].envelopes.clone();

    world.shown.nodes[0].envelopes = vec![vec![1, 2, 3]];
    world.round(&mut daemon);
    assert_ne!(
        world.shown.nodes[0].envelopes, ours,
        "not more often than once a second"
    );
    world.pass(Duration::from_secs(1));
    world.round(&mut daemon);

    assert_eq!(world.shown.nodes[0].envelopes, ours);
}

#[test]
fn a_revoked_node_asks_and_publishes_no_more() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    let alice = SampleNode {
        id: daemon.credentials.identity.id.clone(),
        ..SampleNode::new("alice", 1)
    };
    world.shown.roots = vec![world.authority.published_root(2, &[&alice])];
    world.shown.nodes.clear();
    world.pass(Duration::from_secs(30 * 3600));

    let asked = world.round(&mut daemon);

    assert_eq!(asked, None);
    assert!(world.shown.nodes.is_empty(), "nothing was published");
}

#[test]
fn bi13_damaged_tunnel_keys_and_certificate_are_replaced() {
    let mut world = World::new();
    world.enrolled();
    let keys = std::fs::read(world.tunnel_keys()).unwrap();
    let certificate = world.config.state_directory.join(super::CERTIFICATE_FILE);
    let der = std::fs::read(&certificate).unwrap();
    let write = |path: &Path, bytes: &[u8]| kept_files::write(path, bytes, 0o600).unwrap();

    for at in (0..keys.len()).step_by(97) {
        write(&world.tunnel_keys(), &keys[..at]);
        assert_eq!(generation(&world.start()), 0, "cut at {at}");
    }
    for at in (0..der.len()).step_by(13) {
        write(&certificate, &der[..at]);
        assert!(
            world.start().credentials.certificate().is_none(),
            "cut at {at}"
        );
    }
    let mut daemon = world.start();
    world.pass(Duration::from_secs(60));
    world.round(&mut daemon);

    assert!(
        generation(&daemon) > 0,
        "the store still has the certificate"
    );
}

#[test]
fn a_stamp_is_remembered_beside_its_key() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    let newest = daemon.credentials.generations()[0].statement();
    let rank = tunnel_core::control::GenerationRank {
        serial: newest.certificate_serial.0,
        generation: newest.generation.0,
    };

    daemon.credentials.remember_stamp(rank, NOW.0 + 5).unwrap();

    assert_eq!(
        world.start().credentials.generations()[0].stamp,
        Some(UnixTime(NOW.0 + 5))
    );
}
