use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

/// A kernel that knows the links and routes that a test gives it.
#[derive(Default)]
struct FakeKernel {
    links: BTreeSet<String>,
    routes: BTreeSet<IpAddr>,
    now: Duration,
}

impl Links for FakeKernel {
    fn has_link(&self, name: &str) -> bool {
        self.links.contains(name)
    }

    fn since_boot(&self) -> Duration {
        self.now
    }
}

impl Kernel for FakeKernel {
    type Error = std::fmt::Error;

    fn has_host_route(&mut self, address: IpAddr) -> Result<bool, std::fmt::Error> {
        Ok(self.routes.contains(&address))
    }
}

/// A node with a pool of its own and a kernel in which a pod's link lives until the test ends it.
struct Node {
    folder: tempfile::TempDir,
    state: NodeState,
    kernel: FakeKernel,
}

impl Node {
    /// 10.244.1.0/29: pods may have .2 to .6, because .1 is the tun device's.
    fn with_five_addresses() -> Self {
        Self::with_ranges(&["10.244.1.0/29"], &["10.244.1.1"])
    }

    fn with_ranges(ranges: &[&str], reserved: &[&str]) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            state: NodeState {
                pod_ranges: ranges.iter().map(|text| text.parse().unwrap()).collect(),
                cluster_pod_ranges: vec![
                    "10.244.0.0/16".parse().unwrap(),
                    "fd00:10:244::/56".parse().unwrap(),
                ],
                reserved: reserved.iter().map(|text| text.parse().unwrap()).collect(),
                mtu: 1420,
                boot_id: "boot-1".into(),
                link_group: 0x5353,
            },
            kernel: FakeKernel::default(),
        }
    }

    fn pool(&self) -> Pool {
        Pool::new(self.folder.path(), &self.state.boot_id)
    }

    /// Reserves without making the link, as an ADD does before it talks to the kernel.
    fn reserve(&mut self, pod: &str) -> Result<Held, PoolError> {
        let inode = pod.bytes().fold(1, |sum, byte| sum * 7 + u64::from(byte));
        self.reserve_in(inode, pod)
    }

    fn reserve_in(&mut self, inode: u64, link: &str) -> Result<Held, PoolError> {
        self.reserve_as(inode, link, None)
    }

    fn reserve_as(
        &mut self,
        inode: u64,
        link: &str,
        assigned: Option<&[IpAddr]>,
    ) -> Result<Held, PoolError> {
        let netns = NetnsIdentity {
            path: "/var/run/netns/x".into(),
            inode,
        };
        let wanted = Wanted {
            key: &key(link),
            link,
            netns: &netns,
            node: &self.state,
            assigned,
        };
        self.pool().reserve(&wanted, &mut self.kernel, soon())
    }

    /// A whole ADD: the reservation and the link stay.
    fn attach(&mut self, pod: &str) -> Result<Vec<String>, PoolError> {
        let held = self.reserve(pod)?;
        self.kernel.links.insert(pod.into());
        let addresses = held.reservation().unwrap().addresses.iter();
        Ok(addresses.map(ToString::to_string).collect())
    }

    fn detach(&mut self, pod: &str) {
        self.kernel.links.remove(pod);
        if let Claim::Ours(held) = self.pool().claim(&key(pod), pod, soon()).unwrap() {
            held.release(self.kernel.now).unwrap();
        }
    }

    fn held_count(&self) -> usize {
        self.pool().reservations().unwrap().len()
    }
}

mod assigned;

fn key(pod: &str) -> AttachmentKey {
    AttachmentKey {
        container_id: pod.parse().unwrap(),
        interface: "eth0".parse().unwrap(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

#[test]
fn a_pod_gets_one_address_of_each_family_and_never_the_tun_devices() {
    let mut node = Node::with_ranges(
        &["10.244.1.0/24", "fd00:10:244:1::/64"],
        &["10.244.1.1", "fd00:10:244:1::1"],
    );

    let first = node.attach("a").unwrap();
    let second = node.attach("b").unwrap();

    assert_eq!(first, ["10.244.1.2", "fd00:10:244:1::2"]);
    assert_eq!(second, ["10.244.1.3", "fd00:10:244:1::3"]);
}

#[test]
fn the_first_and_the_last_address_of_a_range_go_to_nobody() {
    let mut node = Node::with_ranges(&["10.244.1.0/30"], &["10.244.1.1"]);

    assert_eq!(node.attach("a").unwrap(), ["10.244.1.2"]);
    assert!(matches!(node.attach("b"), Err(PoolError::Exhausted { .. })));
}

#[test]
fn what_is_no_file_among_the_reservations_keeps_nobody_waiting() {
    let mut node = Node::with_five_addresses();
    node.attach("a").unwrap();
    let held = node.folder.path().join("pool/boot-1/held");
    let (pipe, around) = (held.join("pipe.json"), held.join("around.json"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink(&around, &around).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(held.join("socket.json"));
    fs::create_dir(held.join("folder.json")).unwrap();

    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send((node.attach("b").unwrap(), node)).ok());
    let (attached, _node) = finished.recv_timeout(Duration::from_secs(10)).unwrap();

    assert_eq!(attached, ["10.244.1.3"]);
    assert!(socket.is_ok());
    assert!(!pipe.exists(), "swept like a reservation without a link");
}

#[test]
fn a_second_attachment_of_a_pod_is_refused_before_anything_is_reserved() {
    let mut node = Node::with_five_addresses();
    drop(node.reserve_in(5, "first").unwrap());
    node.kernel.links.insert("first".into());

    let second = node.reserve_in(5, "second");

    assert!(
        matches!(second, Err(PoolError::SecondAttachment { .. })),
        "{second:?}"
    );
    assert_eq!(node.held_count(), 1);
    node.detach("first");
    assert!(node.reserve_in(5, "second").is_ok(), "the first is gone");
}

#[test]
fn a_pipe_in_place_of_the_lock_is_an_error_at_once() {
    let mut node = Node::with_five_addresses();
    let folder = node.folder.path().join("pool/boot-1");
    fs::create_dir_all(&folder).unwrap();
    nix::unistd::mkfifo(&folder.join("lock"), nix::sys::stat::Mode::S_IRWXU).unwrap();

    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send((node.attach("a").unwrap_err(), node)).ok());
    let (error, _node) = finished.recv_timeout(Duration::from_secs(10)).unwrap();

    assert!(matches!(error, PoolError::File { .. }), "{error:?}");
}

#[test]
fn a_pipe_among_the_resting_addresses_keeps_nobody_waiting() {
    let mut node = Node::with_five_addresses();
    node.attach("a").unwrap();
    node.detach("a");
    let resting = node.folder.path().join("pool/boot-1/resting");
    let pipe = resting.join(resting::name(Duration::ZERO, "b"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();

    assert_eq!(node.attach("b").unwrap(), ["10.244.1.3"]);
    assert!(!pipe.exists(), "it says nothing, so nothing rests");
}

#[test]
fn a_second_range_is_used_when_the_first_is_full() {
    let mut node = Node::with_ranges(&["10.244.1.0/30", "10.244.7.4/32"], &["10.244.1.1"]);
    node.attach("a").unwrap();

    assert_eq!(node.attach("b").unwrap(), ["10.244.7.4"]);
}

#[test]
fn cn05_a_second_reservation_of_one_attachment_is_refused_and_changes_nothing() {
    let mut node = Node::with_five_addresses();
    node.attach("a").unwrap();

    let second = node.attach("a");

    assert!(matches!(second, Err(PoolError::AlreadyReserved(_))));
    assert_eq!(node.held_count(), 1);
    assert_eq!(node.attach("b").unwrap(), ["10.244.1.3"]);
}

#[test]
fn cn06_the_late_del_of_an_old_container_frees_only_the_old_one() {
    let mut node = Node::with_five_addresses();
    node.attach("old").unwrap();
    node.attach("new").unwrap();

    node.detach("old");
    node.detach("old");

    let held = node.pool().reservations().unwrap();
    assert_eq!(held.iter().map(Found::link).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn an_address_rests_before_another_pod_gets_it() {
    let mut node = Node::with_five_addresses();
    node.attach("a").unwrap();
    node.detach("a");

    assert_eq!(node.attach("b").unwrap(), ["10.244.1.3"]);
    node.kernel.now += REST - Duration::from_millis(1);
    assert_eq!(node.attach("c").unwrap(), ["10.244.1.4"]);
    node.kernel.now += Duration::from_millis(1);
    assert_eq!(node.attach("d").unwrap(), ["10.244.1.2"]);
}

#[test]
fn cn08_the_oldest_rest_ends_before_an_add_fails() {
    let mut node = Node::with_five_addresses();
    for pod in ["a", "b", "c", "d", "e"] {
        node.attach(pod).unwrap();
    }
    assert!(matches!(node.attach("f"), Err(PoolError::Exhausted { .. })));
    node.kernel.now = Duration::from_secs(10);
    node.detach("c");
    node.kernel.now = Duration::from_secs(20);
    node.detach("a");

    assert_eq!(
        node.attach("g").unwrap(),
        ["10.244.1.4"],
        "c's, which rested longest"
    );
    assert_eq!(node.attach("h").unwrap(), ["10.244.1.2"]);
    let error = node.attach("i").unwrap_err().to_string();
    assert!(
        error.contains("IPv4") && error.contains("10.244.1.0/29"),
        "{error}"
    );
}

#[test]
fn cn08_status_sees_a_full_pool_and_its_recovery() {
    let mut node = Node::with_five_addresses();
    for pod in ["a", "b", "c", "d", "e"] {
        assert_eq!(full_families(&node), [""; 0]);
        node.attach(pod).unwrap();
    }

    assert_eq!(full_families(&node), ["IPv4"]);

    node.detach("b");
    assert_eq!(full_families(&node), [""; 0]);
}

fn full_families(node: &Node) -> Vec<&'static str> {
    node.pool()
        .exhausted_families(&node.state, &node.kernel)
        .unwrap()
}

#[test]
fn i3_an_address_that_the_kernel_has_a_route_for_is_not_given_away() {
    let mut node = Node::with_five_addresses();
    node.kernel.routes.insert("10.244.1.2".parse().unwrap());

    assert_eq!(node.attach("a").unwrap(), ["10.244.1.3"]);
}

#[test]
fn cn04_what_a_killed_add_reserved_is_freed_by_the_next_one() {
    let mut node = Node::with_five_addresses();
    drop(node.reserve("killed").unwrap());

    assert_eq!(node.attach("next").unwrap(), ["10.244.1.3"], ".2 rests");

    assert_eq!(node.held_count(), 1);
}

#[test]
fn i4_after_reconciling_every_reservation_has_its_link() {
    let mut node = Node::with_five_addresses();
    for pod in ["alive", "vanished"] {
        node.attach(pod).unwrap();
    }
    let at_work = node.reserve("at-work").unwrap();
    drop(node.reserve("killed").unwrap());
    node.kernel.links.remove("vanished");

    let mut freed = node.pool().reconcile(&node.kernel, soon()).unwrap();

    freed.sort();
    assert_eq!(freed, ["killed", "vanished"]);
    drop(at_work);
    node.pool().reconcile(&node.kernel, soon()).unwrap();
    let held = node.pool().reservations().unwrap();
    assert_eq!(held.iter().map(Found::link).collect::<Vec<_>>(), ["alive"]);
}

#[test]
fn a_node_without_pods_has_nothing_to_reconcile() {
    let node = Node::with_five_addresses();

    let freed = node.pool().reconcile(&node.kernel, soon()).unwrap();

    assert_eq!(freed, [""; 0]);
}

#[test]
fn what_an_add_at_work_reserved_is_not_freed() {
    let mut node = Node::with_five_addresses();
    let at_work = node.reserve("slow").unwrap();

    node.attach("next").unwrap();

    assert_eq!(node.held_count(), 2);
    drop(at_work);
}

#[test]
fn an_undone_add_gives_its_address_back_without_rest() {
    let mut node = Node::with_five_addresses();
    node.reserve("undone").unwrap().cancel().unwrap();

    assert_eq!(node.attach("next").unwrap(), ["10.244.1.2"]);
}

#[test]
fn cn04_a_file_that_a_killed_add_left_unfinished_is_removed() {
    let mut node = Node::with_five_addresses();
    node.attach("a").unwrap();
    let unfinished = node.pool().held_folder().join(".b");
    fs::write(&unfinished, "{\"vers").unwrap();

    node.attach("b").unwrap();

    assert!(!unfinished.exists());
}

#[test]
fn cn04_a_del_removes_what_its_killed_add_left_unfinished() {
    let mut node = Node::with_five_addresses();
    node.attach("a").unwrap();
    let unfinished = node.pool().held_folder().join(".b");
    fs::write(&unfinished, "{\"vers").unwrap();

    node.detach("b");

    assert!(!unfinished.exists());
    assert_eq!(node.held_count(), 1);
}

#[test]
fn a_torn_reservation_does_not_stop_the_others() {
    let mut node = Node::with_five_addresses();
    node.attach("a").unwrap();
    fs::write(node.pool().held_folder().join("torn.json"), "{\"vers").unwrap();

    assert_eq!(node.attach("b").unwrap(), ["10.244.1.3"]);
    assert_eq!(node.held_count(), 2, "the torn one had no link and is gone");
}

#[test]
fn nl02_reservations_of_an_earlier_boot_count_for_nothing() {
    let mut node = Node::with_five_addresses();
    node.attach("a").unwrap();
    node.state.boot_id = "boot-2".into();
    node.kernel = FakeKernel::default();

    assert_eq!(node.attach("b").unwrap(), ["10.244.1.2"]);
}

#[test]
fn a_del_waits_for_the_add_at_work_and_gives_up_at_its_deadline() {
    let mut node = Node::with_five_addresses();
    let at_work = node.reserve("a").unwrap();

    let claim = node.pool().claim(&key("a"), "a", soon());

    assert!(matches!(claim, Err(PoolError::Busy(_))));
    drop(at_work);
    let claim = node.pool().claim(&key("a"), "a", soon());
    assert!(matches!(claim, Ok(Claim::Ours(_))));
}

#[test]
fn a_del_leaves_another_attachment_of_the_same_hash_alone() {
    let mut node = Node::with_five_addresses();
    node.attach("a").unwrap();

    let claim = node.pool().claim(&key("b"), "a", soon()).unwrap();

    assert!(matches!(claim, Claim::Anothers));
}

#[test]
fn an_add_gives_up_when_the_pools_lock_stays_taken() {
    let mut node = Node::with_five_addresses();
    let pool = node.pool();
    pool.create_folders().unwrap();
    let _lock = pool.lock(soon()).unwrap();

    let outcome = node.reserve("a");

    assert!(matches!(outcome.err(), Some(PoolError::Busy(_))));
}

#[test]
fn a_link_that_the_kernel_does_not_tell_of_is_taken_to_exist() {
    for silence in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::EPERM] {
        assert!(may_exist(Err(silence)), "{silence}");
    }
    assert!(NodeLinks.has_link("lo"));
    assert!(!NodeLinks.has_link("so-none"));
    assert!(!NodeLinks.has_link("a name longer than any link's"));
}
