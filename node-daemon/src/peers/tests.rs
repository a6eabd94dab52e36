//! What the store may show, and who is believed then.

mod hostile;
mod restarts;
mod roots;
mod telling;

use cluster_store::Published;
use node_identity::{Envelope, Floor, Revocations, SignedRevocationList, TrustedRoots, UnixTime};

use super::disk::{PeersOnDisk, VERIFIED_FOLDER};
use super::{Claims, Peers, Standing};
use crate::sample::{Authority, NOW, SampleNode, filed};

struct Cluster {
    authority: Authority,
    alice: SampleNode,
    bob: SampleNode,
    carol: SampleNode,
}

impl Cluster {
    fn new() -> Self {
        let authority = Authority::new();
        let [alice, bob, carol] = [("alice", 1), ("bob", 2), ("carol", 3)]
            .map(|(name, number)| SampleNode::new(name, number));
        Self {
            authority,
            alice,
            bob,
            carol,
        }
    }

    /// Alice's view, still empty.
    fn peers(&self) -> Peers {
        self.peers_with(Floor::default(), Revocations::default())
    }

    fn peers_with(&self, floor: Floor, revocations: Revocations) -> Peers {
        let (pins, ranges) = (
            [self.authority.root.pin()],
            vec!["10.244.0.0/16".parse().unwrap()],
        );
        let cluster = node_identity::PodRanges::try_new(ranges).unwrap();
        Peers::new(
            self.alice.id.uid,
            self.alice.key.public().hash(),
            &pins,
            &cluster,
            floor,
            revocations,
        )
    }
}

fn names(peers: &mut Peers) -> Vec<String> {
    let mut names: Vec<_> = peers
        .admitted()
        .iter()
        .map(|peer| peer.identity().name.to_string())
        .collect();
    names.sort();
    names
}

fn reason(peers: &Peers, name: &str) -> String {
    peers
        .refused()
        .find(|(refused, _)| *refused == name)
        .map(|(_, reason)| reason.to_owned())
        .unwrap_or_default()
}

#[test]
fn verified_nodes_become_peers_and_the_node_itself_does_not() {
    let mut cluster = Cluster::new();
    let (own, bob) = (
        cluster.authority.envelope(&cluster.alice, 1),
        cluster.authority.envelope(&cluster.bob, 1),
    );
    let mut peers = cluster.peers();

    let learned = peers.absorb(&cluster.authority.published(&[&own, &bob]), NOW);

    assert!(learned.set && learned.floor && learned.roots.len() == 1);
    assert_eq!(names(&mut peers), ["bob"]);
    assert_eq!(peers.own_published().unwrap().0, 1);
    assert_eq!(peers.refused().count(), 0);
}

#[test]
fn cp08_an_empty_or_shrinking_list_removes_nobody() {
    let mut cluster = Cluster::new();
    let (bob, carol) = (
        cluster.authority.envelope(&cluster.bob, 1),
        cluster.authority.envelope(&cluster.carol, 1),
    );
    let mut peers = cluster.peers();
    peers.absorb(&cluster.authority.published(&[&bob, &carol]), NOW);

    let shrunk = peers.absorb(&cluster.authority.published(&[&carol]), NOW);
    let empty = peers.absorb(&Published::default(), NOW);

    assert!(!shrunk.set && !empty.set);
    assert_eq!(names(&mut peers), ["bob", "carol"]);
}

#[test]
fn a_node_of_another_root_is_refused_by_name() {
    let cluster = Cluster::new();
    let mut other = Authority::new();
    let mallory = other.envelope(&SampleNode::new("mallory", 9), 1);
    let mut peers = cluster.peers();

    let learned = peers.absorb(&cluster.authority.published(&[&mallory]), NOW);

    assert!(!learned.set && !learned.floor);
    assert!(names(&mut peers).is_empty());
    assert!(
        reason(&peers, "mallory").contains("from no pinned root"),
        "{}",
        reason(&peers, "mallory")
    );
}

#[test]
fn aw02_i6_an_edited_envelope_changes_nothing_wherever_it_is_edited() {
    let mut cluster = Cluster::new();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let mut peers = cluster.peers();
    peers.absorb(&cluster.authority.published(&[&bob]), NOW);
    let before = peers.admitted();

    for at in 0..bob.to_der().len() {
        let mut published = cluster.authority.published(&[&bob]);
        published.nodes[0].envelopes[0][at] ^= 1;
        let learned = peers.absorb(&published, NOW);

        assert!(!learned.set, "byte {at}");
        assert!(peers.refused().next().is_some(), "byte {at}");
        assert_eq!(peers.admitted(), before, "byte {at}");
    }
}

#[test]
fn aw03_an_old_envelope_beside_the_new_one_is_no_news_but_alone_it_is() {
    let mut cluster = Cluster::new();
    let (old, new) = (
        cluster.authority.envelope(&cluster.bob, 1),
        cluster.authority.envelope(&cluster.bob, 2),
    );
    let mut peers = cluster.peers();
    let mut both = cluster.authority.published(&[&new]);
    both.nodes[0].envelopes.push(old.to_der());

    peers.absorb(&both, NOW);
    assert_eq!(peers.refused().count(), 0);
    peers.absorb(&cluster.authority.published(&[&old]), NOW);

    assert!(
        reason(&peers, "bob").contains("superseded"),
        "{}",
        reason(&peers, "bob")
    );
    assert_eq!(
        *peers.believed(&cluster.bob.id.uid).unwrap().envelope(),
        new
    );
}

#[test]
fn a_revoked_node_goes_and_no_later_list_brings_it_back() {
    let mut cluster = Cluster::new();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let mut peers = cluster.peers();
    peers.absorb(&cluster.authority.published(&[&bob]), NOW);
    let mut revoked = cluster.authority.published(&[&bob]);
    revoked.roots = vec![cluster.authority.published_root(2, &[&cluster.bob])];

    let learned = peers.absorb(&revoked, NOW);
    assert!(learned.set && learned.revocations && learned.gone.contains(&cluster.bob.id.uid));
    revoked.roots = vec![cluster.authority.published_root(3, &[])];
    let again = cluster.authority.envelope(&cluster.bob, 9);
    revoked.nodes = vec![filed(&again)];
    peers.absorb(&revoked, NOW);

    assert!(names(&mut peers).is_empty());
    assert!(reason(&peers, "bob").contains("revoked"));
}

#[test]
fn a_root_whose_pin_was_taken_out_revokes_nobody() {
    let mut cluster = Cluster::new();
    let former = Authority::new();
    let list = former.published_root(2, &[&cluster.alice, &cluster.bob]);
    let signed = SignedRevocationList::from_der(&list.revocations.unwrap()).unwrap();
    let trusted = TrustedRoots::new(&[former.root.pin()], [former.root.clone()]);
    let mut revocations = Revocations::default();
    revocations
        .accept(&signed.verify(&trusted).unwrap())
        .unwrap();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let mut peers = cluster.peers_with(Floor::default(), revocations);

    peers.absorb(&cluster.authority.published(&[&bob]), NOW);
    let later = peers.expire(NOW);

    assert_eq!(names(&mut peers), ["bob"]);
    assert!(!later.set);
    assert_eq!(peers.own_standing(), Standing::Good);
}

#[test]
fn the_floor_of_a_node_that_ended_is_forgotten() {
    let mut cluster = Cluster::new();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let mut peers = cluster.peers();
    peers.absorb(&cluster.authority.published(&[&bob]), NOW);
    let before = peers.floor.to_bytes().len();

    peers.expire(NOW);
    assert_eq!(peers.floor.to_bytes().len(), before);
    peers.expire(UnixTime(bob.certificate().terms().not_after.0 + 1));

    assert!(peers.floor.to_bytes().len() < before);
}

#[test]
fn a_node_that_is_revoked_itself_knows() {
    let cluster = Cluster::new();
    let mut peers = cluster.peers();
    let mut shown = cluster.authority.published(&[]);
    peers.absorb(&shown, NOW);
    assert_eq!(peers.own_standing(), Standing::Good);

    shown.roots = vec![cluster.authority.published_root(2, &[&cluster.alice])];
    peers.absorb(&shown, NOW);

    assert_eq!(peers.own_standing(), Standing::Revoked);
}

#[test]
fn an_older_revocation_list_is_refused() {
    let cluster = Cluster::new();
    let mut peers = cluster.peers();
    let shown = |number| Published {
        roots: vec![cluster.authority.published_root(number, &[])],
        ..Published::default()
    };

    peers.absorb(&shown(5), NOW);
    peers.absorb(&shown(4), NOW);

    let name = format!("revocations of {}", cluster.authority.root.pin());
    assert!(
        reason(&peers, &name).contains("list 5 was accepted before"),
        "{}",
        reason(&peers, &name)
    );
}

#[test]
fn an_expired_peer_goes_and_a_clock_set_back_does_not_revive_it() {
    let mut cluster = Cluster::new();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let mut peers = cluster.peers();
    peers.absorb(&cluster.authority.published(&[&bob]), NOW);
    let after = UnixTime(bob.certificate().terms().not_after.0 + 1);

    assert!(!peers.expire(UnixTime(after.0 - 1)).set);
    assert!(peers.expire(after).set);
    peers.absorb(&cluster.authority.published(&[&bob]), after);

    assert!(names(&mut peers).is_empty());
    assert!(
        reason(&peers, "bob").contains("ended"),
        "{}",
        reason(&peers, "bob")
    );
}

#[test]
fn learned_twice_is_learned_once() {
    let mut cluster = Cluster::new();
    let bob = cluster.authority.envelope(&cluster.bob, 1);
    let mut peers = cluster.peers();

    let mut learned = peers.absorb(&cluster.authority.published(&[&bob]), NOW);
    learned.merge(peers.expire(UnixTime(bob.certificate().terms().not_after.0 + 1)));

    assert!(
        learned.envelopes.is_empty(),
        "who is gone by now is not written down"
    );
    assert_eq!(learned.gone.len(), 1);
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Alice's set with these two on disk.
fn kept(cluster: &mut Cluster, directory: &std::path::Path) -> [Envelope; 2] {
    let both = [
        cluster.authority.envelope(&cluster.bob, 1),
        cluster.authority.envelope(&cluster.carol, 1),
    ];
    let mut peers = cluster.peers();
    let learned = peers.absorb(&cluster.authority.published(&[&both[0], &both[1]]), NOW);
    run(PeersOnDisk::open(directory).unwrap().keep(&peers, &learned)).unwrap();
    both
}

fn restart(cluster: &Cluster, directory: &std::path::Path) -> Peers {
    let disk = PeersOnDisk::open(directory).unwrap();
    let (floor, revocations) = disk.memory().unwrap();
    let mut peers = cluster.peers_with(floor, revocations);
    let kept = run(disk.published()).unwrap();
    peers.recall(&kept, NOW);
    peers
}

#[test]
fn cp02_without_a_store_the_last_verified_set_is_back_after_a_restart() {
    let mut cluster = Cluster::new();
    let directory = tempfile::tempdir().unwrap();
    kept(&mut cluster, directory.path());

    let mut peers = restart(&cluster, directory.path());

    assert_eq!(names(&mut peers), ["bob", "carol"]);
}

#[test]
fn cp10_the_floor_survives_a_restart() {
    let mut cluster = Cluster::new();
    let directory = tempfile::tempdir().unwrap();
    let old = cluster.authority.envelope(&cluster.bob, 0);
    kept(&mut cluster, directory.path());
    std::fs::remove_dir_all(directory.path().join(VERIFIED_FOLDER)).unwrap();

    let mut peers = restart(&cluster, directory.path());
    peers.absorb(&cluster.authority.published(&[&old]), NOW);

    assert!(names(&mut peers).is_empty());
    assert!(reason(&peers, "bob").contains("superseded"));
}

#[test]
fn bi13_a_damaged_entry_of_the_kept_set_is_refused_and_the_rest_goes_on() {
    let mut cluster = Cluster::new();
    let directory = tempfile::tempdir().unwrap();
    kept(&mut cluster, directory.path());
    let entry = directory
        .path()
        .join(VERIFIED_FOLDER)
        .join("envelopes")
        .join(format!("{}.json", cluster.bob.id.uid));
    let whole = std::fs::read(&entry).unwrap();

    for cut in [0, 1, whole.len() / 2, whole.len() - 2] {
        std::fs::write(&entry, &whole[..cut]).unwrap();
        let mut peers = restart(&cluster, directory.path());
        assert_eq!(names(&mut peers), ["carol"], "cut at {cut}");
        assert!(
            peers
                .refused()
                .any(|(name, _)| name.contains(&cluster.bob.id.uid.to_string()))
        );
    }
}

#[test]
fn bi13_a_damaged_floor_is_set_aside_and_the_daemon_goes_on() {
    let mut cluster = Cluster::new();
    let directory = tempfile::tempdir().unwrap();
    kept(&mut cluster, directory.path());
    let floor = directory.path().join(super::disk::FLOOR_FILE);
    let whole = std::fs::read(&floor).unwrap();

    for cut in [0, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&floor, &whole[..cut]).unwrap();
        let mut peers = restart(&cluster, directory.path());
        assert_eq!(names(&mut peers), ["bob", "carol"]);
        assert!(kept_files::aside(&floor).exists());
    }
}

#[test]
fn a_node_whose_own_range_is_anothers_knows() {
    let mut cluster = Cluster::new();
    let own = cluster.authority.envelope(&cluster.alice, 1);
    let newer = SampleNode::new("mallory", 1);
    let newer = cluster.authority.envelope(&newer, 1);
    let mut peers = cluster.peers();
    peers.absorb(&cluster.authority.published(&[]), NOW);
    let own = peers.judge_own(&own, NOW).unwrap();
    peers.set_own(own);
    assert!(names(&mut peers).is_empty());
    assert_eq!(peers.own_claims(), Claims::Hold);

    peers.absorb(&cluster.authority.published(&[&newer]), NOW);

    assert_eq!(names(&mut peers), ["mallory"]);
    assert_eq!(peers.own_claims(), Claims::Lost);
}
