//! Flows between pods that carry a canary both ways: TCP, UDP, ICMP and fragments, over both
//! families.

mod bulk;
mod ears;
mod flood;
mod stream;

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

pub use bulk::{Sum, bulk, checksum_errors};
pub use ears::{Ears, is_refused, time_exceeded};
pub use flood::{Flood, Listener};
pub use stream::{Connection, Counted, Stream};

use crate::capture::Canary;
use crate::craft::checksum;
use crate::lab::{Place, Pod};

/// How long one answer may take. First packets wait for a handshake.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Tries of a datagram that nobody repeats otherwise.
const TRIES: usize = 5;

/// A kind of packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A connection.
    Tcp,
    /// A datagram that fits the MTU.
    Udp,
    /// An echo request.
    Icmp,
    /// A datagram larger than the MTU.
    Fragments,
}

/// A carrier over IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// What carries it.
    pub carrier: Carrier,
    /// Whether it goes over IPv6.
    pub family: Family,
}

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Flow {
    /// Every carrier over both families.
    pub const ALL: [Self; 8] = [
        Self::new(Carrier::Tcp, Family::V4),
        Self::new(Carrier::Udp, Family::V4),
        Self::new(Carrier::Icmp, Family::V4),
        Self::new(Carrier::Fragments, Family::V4),
        Self::new(Carrier::Tcp, Family::V6),
        Self::new(Carrier::Udp, Family::V6),
        Self::new(Carrier::Icmp, Family::V6),
        Self::new(Carrier::Fragments, Family::V6),
    ];

    const fn new(carrier: Carrier, family: Family) -> Self {
        Self { carrier, family }
    }

    /// A pod's address of the flow's family.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self, pod: &Pod) -> Result<IpAddr> {
        match self.family {
            Family::V4 => pod.ipv4(),
            Family::V6 => pod.ipv6(),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let carrier = match self.carrier {
            Carrier::Tcp => "TCP",
            Carrier::Udp => "UDP",
            Carrier::Icmp => "ICMP",
            Carrier::Fragments => "UDP in fragments",
        };
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        write!(f, "{carrier} over {family}")
    }
}

/// Sends the canary from a pod to another and back.
///
/// # Errors
/// When it does not come back unchanged.
pub fn exchange(flow: Flow, from: &Pod, to: &Pod, canary: &Canary) -> Result<()> {
    let address = flow.address(to)?;
    let result = match flow.carrier {
        Carrier::Tcp => tcp(from, to, address, &canary.repeated(64 * 1024)),
        Carrier::Udp => udp(from, to, address, &canary.repeated(1024)),
        Carrier::Fragments => udp(from, to, address, &canary.repeated(8000)),
        Carrier::Icmp => ping(from, address, &canary.repeated(1024)),
    };
    result.with_context(|| format!("{flow} from {} to {}", from.name(), to.name()))
}

/// Sends each flow; see [`exchange`].
///
/// # Errors
/// As [`exchange`].
pub fn exchange_all(from: &Pod, to: &Pod, canary: &Canary) -> Result<()> {
    for flow in Flow::ALL {
        exchange(flow, from, to, canary)?;
    }
    Ok(())
}

/// Sends bytes over a connection and expects them back.
///
/// # Errors
/// When they do not come back unchanged in time.
pub fn tcp(from: &Pod, to: &Pod, address: IpAddr, payload: &[u8]) -> Result<()> {
    let listener = to.inside(|| Ok(TcpListener::bind((address, 0))?))?;
    let target = listener.local_addr()?;
    let server = std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        stream.write_all(&heard)?;
        Ok(())
    });
    let mut stream = from.inside(|| Ok(TcpStream::connect_timeout(&target, ANSWER_LIMIT * 5)?))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT * 5))?;
    stream.write_all(payload)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    server
        .join()
        .map_err(|_| anyhow::anyhow!("the echo server panicked"))??;
    ensure!(answer == payload, "the answer differs");
    Ok(())
}

/// Sends a datagram and expects it back.
///
/// # Errors
/// When it does not come back unchanged in five tries.
pub fn udp(from: &Pod, to: &Pod, address: IpAddr, payload: &[u8]) -> Result<()> {
    let server = to.inside(|| Ok(UdpSocket::bind((address, 0))?))?;
    server.set_read_timeout(Some(ANSWER_LIMIT))?;
    let client = from.inside(|| {
        let any: SocketAddr = if address.is_ipv4() {
            "0.0.0.0:0".parse()?
        } else {
            "[::]:0".parse()?
        };
        Ok(UdpSocket::bind(any)?)
    })?;
    client.connect(server.local_addr()?)?;
    client.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut buffer = vec![0; 65_536];
    for _ in 0..TRIES {
        client.send(payload)?;
        let Ok((length, source)) = server.recv_from(&mut buffer) else {
            continue;
        };
        server.send_to(buffer.get(..length).unwrap_or_default(), source)?;
        if let Ok(length) = client.recv(&mut buffer) {
            ensure!(buffer.get(..length) == Some(payload), "the answer differs");
            return Ok(());
        }
    }
    anyhow::bail!("no answer")
}

/// Sends an echo request with this payload and expects the reply.
///
/// # Errors
/// When no equal reply comes in five tries.
pub fn ping(from: &Pod, address: IpAddr, payload: &[u8]) -> Result<()> {
    ping_tries(from, address, payload, TRIES)
}

/// [`ping`] from a node itself.
///
/// # Errors
/// When no equal reply comes in five tries.
pub fn ping_from(from: &Place, address: IpAddr, payload: &[u8]) -> Result<()> {
    ping_tries(from, address, payload, TRIES)
}

/// [`ping`] without a second try.
///
/// # Errors
/// When no equal reply comes in 2 s.
pub fn ping_once(from: &Pod, address: IpAddr, payload: &[u8]) -> Result<()> {
    ping_tries(from, address, payload, 1)
}

fn ping_tries(from: &Place, address: IpAddr, payload: &[u8], tries: usize) -> Result<()> {
    let (domain, protocol, request, reply) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let socket = from.inside(|| Ok(Socket::new(domain, Type::RAW, Some(protocol))?))?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    socket.connect(&SocketAddr::new(address, 0).into())?;
    let mut message = vec![request, 0, 0, 0, 0x50, 0x77, 0, 1];
    message.extend(payload);
    if address.is_ipv4() {
        let sum = checksum(&message);
        if let Some(place) = message.get_mut(2..4) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
    for _ in 0..tries {
        socket.send(&message)?;
        let mut buffer = vec![0; 70_000];
        // Other messages may come first; the reply is the one that carries our payload.
        while let Ok(length) = (&socket).read(&mut buffer) {
            let heard = buffer.get(..length).unwrap_or_default();
            let icmp = if address.is_ipv4() {
                heard.get(20..)
            } else {
                Some(heard)
            };
            let Some([kind, rest @ ..]) = icmp else {
                continue;
            };
            if *kind == reply && rest.ends_with(payload) {
                return Ok(());
            }
        }
    }
    anyhow::bail!("no reply")
}
