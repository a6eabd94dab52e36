//! Inner packets: each has a number, and every byte of it follows from the number and the two ends.
//!
//! So that whatever comes out of a tunnel can be made anew and compared. The protocol is one for
//! experiments (RFC 3692), which no offload touches.

use std::net::{IpAddr, Ipv4Addr};

/// What the tun puts before each packet.
const VNET_HEADER: usize = 10;
const IPV4_HEADER: usize = 20;
const PROTOCOL: u8 = 253;

/// Shortest payload: the number.
const SHORTEST: u64 = 8;

/// Longest payload. It makes runs of datagrams of differing lengths.
const LONGEST: u64 = 200;

/// A packet from one node's pod to another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inner {
    /// Its number, unique in the run.
    pub number: u64,
    /// Node of the pod that sends it.
    pub from: usize,
    /// Node of the pod that it is for.
    pub to: usize,
}

impl Inner {
    /// The frame as the tun hands it over: header and packet.
    #[must_use]
    pub fn frame(self) -> Vec<u8> {
        let payload = SHORTEST + self.number * 7 % (LONGEST - SHORTEST);
        let length = IPV4_HEADER as u64 + payload;
        let mut frame = vec![0; VNET_HEADER];
        frame.extend([0x45, 0]);
        frame.extend((length as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, PROTOCOL, 0, 0]);
        frame.extend(pod(self.from).octets());
        frame.extend(pod(self.to).octets());
        frame.extend(self.number.to_be_bytes());
        frame.resize(VNET_HEADER + length as usize, self.number as u8);
        frame
    }

    /// Reads a frame that goes to the tun; `None` unless every byte is as it was sent.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Inner> {
        let packet = frame.get(VNET_HEADER..)?;
        let number = packet.get(IPV4_HEADER..)?.first_chunk()?;
        let inner = Inner {
            number: u64::from_be_bytes(*number),
            from: node(packet.get(12..)?.first_chunk()?)?,
            to: node(packet.get(16..)?.first_chunk()?)?,
        };
        (inner.frame() == frame).then_some(inner)
    }
}

/// The range of a node's pods.
#[must_use]
pub fn pod_range(node: usize) -> String {
    format!("10.244.{node}.0/24")
}

/// A node's endpoint.
#[must_use]
pub fn endpoint(node: usize) -> IpAddr {
    IpAddr::from([198, 51, 100, node as u8 + 1])
}

fn pod(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node as u8, 7)
}

fn node(address: &[u8; 4]) -> Option<usize> {
    let node = usize::from(address[2]);
    (pod(node).octets() == *address).then_some(node)
}
