use super::*;
use crate::io::namespace::in_namespace;

const PORT: u16 = 51_820;

fn run<'a>(source: Option<&str>, destination: &str, datagrams: &'a [u8]) -> Run<'a> {
    Run {
        source: source.map(|source| source.parse().unwrap()),
        destination: destination.parse().unwrap(),
        segment: 1452,
        datagrams,
    }
}

fn receive(socket: &LaneSocket, buffer: &mut [u8]) -> Received {
    let mut control = nix::cmsg_space!(i32);
    socket.receive(buffer, &mut control).unwrap()
}

#[test]
fn ipv4_addresses_are_plain_outside_and_mapped_inside() {
    for address in ["198.51.100.1:51820", "[2001:db8::1]:51821"] {
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(plain(mapped(address)), address);
    }
    assert_eq!(
        mapped("198.51.100.1:9".parse().unwrap()).to_string(),
        "[::ffff:198.51.100.1]:9"
    );
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn a_run_is_one_batch_at_the_other_end_in_both_families() {
    in_namespace(|| {
        let (a, b) = (
            LaneSocket::bind(PORT).unwrap(),
            LaneSocket::bind(PORT + 1).unwrap(),
        );
        let mut buffer = vec![0; LONGEST_BATCH];
        let datagrams: Vec<u8> = (0..44 * 1452 + 700).map(|at| (at % 251) as u8).collect();
        for (from, to) in [("127.0.0.2", "127.0.0.1:51821"), ("::1", "[::1]:51821")] {
            assert_eq!(a.send_run(&run(Some(from), to, &datagrams)), 0);

            let source = SocketAddr::new(from.parse().unwrap(), PORT);
            let expected = Received::Batch {
                source,
                length: datagrams.len(),
                segment: 1452,
            };
            assert_eq!(receive(&b, &mut buffer), expected);
            assert_eq!(buffer[..datagrams.len()], datagrams);
            assert_eq!(receive(&b, &mut buffer), Received::Nothing);
        }
    });
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn a_run_over_a_link_that_has_shrunk_goes_one_by_one() {
    in_namespace(|| {
        crate::io::namespace::ip("link set lo mtu 1400");
        let (a, b) = (
            LaneSocket::bind(PORT).unwrap(),
            LaneSocket::bind(PORT + 1).unwrap(),
        );
        let datagrams = vec![7; 3 * 1452];

        assert_eq!(a.send_run(&run(None, "127.0.0.1:51821", &datagrams)), 0);

        let mut buffer = vec![0; LONGEST_BATCH];
        let mut length = 0;
        while let Received::Batch { length: batch, .. } = receive(&b, &mut buffer) {
            length += batch;
        }
        assert_eq!(length, datagrams.len());
    });
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn dp27_a_run_that_cannot_be_sent_is_counted() {
    in_namespace(|| {
        let socket = LaneSocket::bind(PORT).unwrap();
        let datagrams = vec![7; 2 * 1452];

        assert_eq!(
            socket.send_run(&run(None, "198.51.100.1:51820", &datagrams)),
            2
        );
        assert_eq!(
            socket.send_run(&run(Some("198.51.100.7"), "127.0.0.1:51820", &datagrams)),
            2
        );
    });
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn a_port_that_somebody_has_is_named() {
    in_namespace(|| {
        let _first = LaneSocket::bind(PORT).unwrap();

        let error = LaneSocket::bind(PORT).err().unwrap();

        let text = error.to_string();
        assert!(
            matches!(error, UdpError::PortTaken { port: PORT, .. }),
            "{text}"
        );
        assert!(text.contains("51820") && text.contains("another program has it"));
    });
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn hp05_a_datagram_of_the_longest_size_is_received_whole() {
    in_namespace(|| {
        let (a, b) = (
            LaneSocket::bind(PORT).unwrap(),
            LaneSocket::bind(PORT + 1).unwrap(),
        );
        let datagram = vec![9; 65_507];
        let destination = "127.0.0.1:51821".parse().unwrap();
        a.send_datagram(None, destination, &datagram).unwrap();

        let mut buffer = vec![0; LONGEST_BATCH];
        let source = "127.0.0.1:51820".parse().unwrap();
        let expected = Received::Batch {
            source,
            length: 65_507,
            segment: 65_507,
        };
        assert_eq!(receive(&b, &mut buffer), expected);
    });
}

#[test]
#[ignore = "needs root: makes a network namespace"]
fn a_datagram_longer_than_the_buffer_is_lost_and_the_next_one_is_not() {
    in_namespace(|| {
        let (a, b) = (
            LaneSocket::bind(PORT).unwrap(),
            LaneSocket::bind(PORT + 1).unwrap(),
        );
        let destination = "127.0.0.1:51821".parse().unwrap();
        a.send_datagram(None, destination, &[1; 2_000]).unwrap();
        a.send_datagram(None, destination, &[2; 20]).unwrap();

        let mut buffer = vec![0; 1_000];
        assert_eq!(receive(&b, &mut buffer), Received::Lost);
        assert!(matches!(
            receive(&b, &mut buffer),
            Received::Batch { length: 20, .. }
        ));
    });
}
