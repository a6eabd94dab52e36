//! Two lanes with real tuns and sockets. The sockets share a namespace (the underlay, loopback);
//! each tun has one of its own (a node with its pods):
//! ```text
//! client ─ so0 10.244.0.1 ─ lane :51820 ─ lo ─ lane :51821 ─ so0 10.244.1.1 ─ server
//! ```

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use tunnel_core::owner::{Owner, OwnerTable};
use tunnel_core::plane::{
    IndexBase, PeerIndex, ReceivingTransport, Role, SendingTransport, Suite, TransportId,
};
use zeroize::Zeroizing;

use super::*;
use crate::io::namespace::{in_namespace, ip};

const PORT: u16 = 51_820;
const PATIENCE: Duration = Duration::from_secs(20);

/// One end: its lane and the events it told.
struct End {
    lane: LaneHandle,
    events: events::Receiver<(LaneIndex, LaneEvent)>,
}

fn start(queue: TunQueue, socket: LaneSocket) -> End {
    let (sender, events) = events::channel(64);
    let config = LaneConfig {
        index: LaneIndex(0),
        lanes: 1,
        mtu: Mtu(1420),
        poll_for: Duration::from_micros(60),
        queue,
        socket: Arc::new(socket),
        events: sender,
    };
    End {
        lane: spawn(config).unwrap(),
        events,
    }
}

fn owners(own: u8) -> LaneCommand {
    let ranges = (0..2).flat_map(|node: u8| {
        let owner = if node == own {
            Owner::Own
        } else {
            Owner::Peer(PeerIndex(node.into()))
        };
        let ipv4 = [[10, 244, node, 0], [10, 244, node, 255]].map(IpAddr::from);
        let group = u16::from(node);
        let ipv6 = [
            [0xfd00, 0x10, 0x244, group, 0, 0, 0, 0],
            [0xfd00, 0x10, 0x244, group, 0xffff, 0xffff, 0xffff, 0xffff],
        ]
        .map(IpAddr::from);
        [ipv4, ipv6].map(|[first, last]| (owner, first..=last))
    });
    LaneCommand::Owners(Arc::new(OwnerTable::new(ranges).unwrap()))
}

/// Sending and receiving half of the transport from one node to the other.
fn transport(from: u8, destination: &str) -> [LaneCommand; 2] {
    let (id, base) = (
        TransportId(1),
        IndexBase::new(77 + u32::from(from)).unwrap(),
    );
    let key = Zeroizing::new([from; 32]);
    let (suite, role, born) = (Suite::Aes256Gcm, Role::Offerer, clock::moment());
    let to = 1 - from;
    let send = LaneCommand::Send(SendingTransport {
        id,
        peer: PeerIndex(to.into()),
        suite,
        role,
        base,
        key: key.clone(),
        destination: destination.parse().unwrap(),
        source: None,
        born,
    });
    let keys = vec![(LaneIndex(0), key)];
    let peer = PeerIndex(from.into());
    let receive = LaneCommand::Receive(ReceivingTransport {
        id,
        peer,
        suite,
        role,
        base,
        keys,
        born,
    });
    [send, receive]
}

/// A node's namespace: opens the tun there and does the work when told to. The namespace lasts
/// until the node is dropped, so that no packet meets a device that goes down.
struct Node {
    go: Option<Sender<()>>,
    done: Receiver<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Node {
    fn new(number: u8, work: fn()) -> (Node, TunQueue) {
        let (queue, opened) = channel();
        let (go, told) = channel();
        let (tell, done) = channel();
        let inside = move || {
            let device = TunQueue::open("so0").unwrap();
            ip(&format!("addr add 10.244.{number}.1/16 dev so0"));
            ip(&format!(
                "addr add fd00:10:244:{number}::1/56 dev so0 nodad"
            ));
            ip("link set so0 up mtu 1420");
            queue.send(device).unwrap();
            if told.recv().is_ok() {
                work();
                tell.send(()).unwrap();
                // Until the node is dropped.
                let _ = told.recv();
            }
        };
        let thread = Some(thread::spawn(move || in_namespace(inside)));
        (
            Node {
                go: Some(go),
                done,
                thread,
            },
            opened.recv_timeout(PATIENCE).unwrap(),
        )
    }

    fn go(&self) {
        self.go.as_ref().unwrap().send(()).unwrap();
    }

    fn is_done(&self) {
        self.done.recv_timeout(PATIENCE).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.go = None;
        let _ = self.thread.take().unwrap().join();
    }
}

fn tcp_and_udp_over(underlay: [&'static str; 2]) {
    in_namespace(move || {
        let sockets = [0, 1].map(|number| LaneSocket::bind(PORT + number).unwrap());
        let (server, server_queue) = Node::new(1, serve);
        let (client, client_queue) = Node::new(0, request);
        let [a, b] = sockets;
        let (a, b) = (start(client_queue, a), start(server_queue, b));
        let [to_b, from_a] = transport(0, underlay[1]);
        let [to_a, from_b] = transport(1, underlay[0]);
        for command in [owners(0), from_b, to_b] {
            a.lane.command(command);
        }
        for command in [owners(1), from_a, to_a] {
            b.lane.command(command);
        }

        server.go();
        client.go();

        client.is_done();
        server.is_done();
        for (end, mut events) in [(a.lane, a.events), (b.lane, b.events)] {
            assert!(end.is_running());
            for reason in DropReason::ALL {
                // The kernel's own multicast has no owner.
                let expected = *reason == DropReason::NoOwner;
                assert!(
                    expected || end.counters().drops(*reason) == 0,
                    "{}",
                    reason.label()
                );
            }
            let opened = LaneEvent::FirstOpened(TransportId(1));
            assert_eq!(events.try_recv().unwrap(), (LaneIndex(0), opened));
        }
    });
}

const BYTES: usize = 8 << 20;

fn content() -> Vec<u8> {
    (0..BYTES)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn request() {
    for address in ["10.244.1.1:8080", "[fd00:10:244:1::1]:8080"] {
        let mut stream = connect(address.parse().unwrap());
        stream.write_all(&content()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer == content(), "{} bytes", answer.len());

        let udp = UdpSocket::bind((
            if address.starts_with('[') {
                "::"
            } else {
                "0.0.0.0"
            },
            0,
        ));
        let udp = udp.unwrap();
        udp.set_read_timeout(Some(PATIENCE)).unwrap();
        // The longest one goes as fragments.
        for length in [0, 1, 200, 1392, 1393, 9_000, 65_000] {
            let datagram = &content()[..length];
            udp.send_to(datagram, address.replace("8080", "8081"))
                .unwrap();
            let mut answer = vec![0; 65_536];
            let length = udp.recv(&mut answer).unwrap();
            assert!(answer[..length] == *datagram, "{length}");
        }
    }
    no_checksum_errors();
}

/// Sends back what comes, whole.
fn serve() {
    let udp = UdpSocket::bind("[::]:8081").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut datagram = vec![0; 65_536];
            for _ in 0..14 {
                let (length, source) = udp.recv_from(&mut datagram).unwrap();
                udp.send_to(&datagram[..length], source).unwrap();
            }
        });
        let listener = TcpListener::bind("[::]:8080").unwrap();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = Vec::new();
            stream.read_to_end(&mut question).unwrap();
            stream.write_all(&question).unwrap();
        }
    });
    no_checksum_errors();
}

fn connect(address: SocketAddr) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return stream,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        yield_now();
    }
}

fn no_checksum_errors() {
    let ipv4 = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let lines: Vec<_> = ipv4.lines().collect();
    for pair in lines.chunks(2) {
        let names = pair[0].split(' ');
        for (name, value) in names.zip(pair[1].split(' ')) {
            let wrong = name.contains("Csum") && value != "0";
            assert!(!wrong, "{} {name} {value}", pair[0]);
        }
    }
    let ipv6 = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    for line in ipv6.lines().filter(|line| line.contains("Csum")) {
        assert!(line.ends_with("\t0"), "{line}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn tcp_and_udp_pass_two_lanes_unchanged_over_ipv4() {
    tcp_and_udp_over(["127.0.0.1:51820", "127.0.0.1:51821"]);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn tcp_and_udp_pass_two_lanes_unchanged_over_ipv6() {
    tcp_and_udp_over(["[::1]:51820", "[::1]:51821"]);
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn a_lane_stops_when_its_handle_is_dropped_and_leaves_the_device() {
    in_namespace(|| {
        let end = start(
            TunQueue::open("so0").unwrap(),
            LaneSocket::bind(PORT).unwrap(),
        );
        assert!(end.lane.is_running());

        drop(end);

        ip("link show so0");
        LaneSocket::bind(PORT).unwrap();
    });
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn a_lane_whose_device_is_deleted_ends_and_says_so() {
    in_namespace(|| {
        let end = start(
            TunQueue::open("so0").unwrap(),
            LaneSocket::bind(PORT).unwrap(),
        );
        ip("link delete so0");

        let start = Instant::now();
        while end.lane.is_running() {
            assert!(start.elapsed() < PATIENCE);
            yield_now();
        }
    });
}
