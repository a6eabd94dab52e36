//! A pod that notes who it hears, and pods that listen for ICMP errors.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::{ANSWER_LIMIT, TRIES};
use crate::capture::Canary;
use crate::lab::Pod;

/// Silence after which nothing more is expected.
const QUIET: Duration = Duration::from_millis(700);

/// A UDP socket that notes the sources of what it gets.
#[derive(Debug)]
pub struct Ears(UdpSocket);

impl Ears {
    /// Opens it on one of a pod's addresses, on a port that the kernel chooses.
    ///
    /// # Errors
    /// When the address is not the pod's.
    pub fn open(pod: &Pod, address: IpAddr) -> Result<Self> {
        let socket = pod.inside(|| Ok(UdpSocket::bind((address, 0))?))?;
        socket.set_read_timeout(Some(QUIET))?;
        Ok(Self(socket))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    /// Sources heard, until nothing comes for a while.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn sources(&self) -> Result<Vec<IpAddr>> {
        let mut buffer = [0; 2048];
        let next = || self.0.recv_from(&mut buffer).ok();
        Ok(std::iter::from_fn(next)
            .map(|(_, source)| source.ip())
            .collect())
    }
}

/// Sends a datagram with a hop limit and returns who says that it was exceeded.
///
/// # Errors
/// When nobody says so in five tries.
pub fn time_exceeded(from: &Pod, to: IpAddr, hops: u32, canary: &Canary) -> Result<IpAddr> {
    let (domain, protocol, kind) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 11),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 3),
    };
    // Any socket is a UdpSocket to std: it only reads datagrams with their sources.
    let ears: UdpSocket = from
        .inside(|| Ok(Socket::new(domain, Type::RAW, Some(protocol))?))?
        .into();
    ears.set_read_timeout(Some(ANSWER_LIMIT))?;
    let sender = from.inside(|| Ok(Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?))?;
    match to {
        IpAddr::V4(_) => sender.set_ttl_v4(hops)?,
        IpAddr::V6(_) => sender.set_unicast_hops_v6(hops)?,
    }
    for _ in 0..TRIES {
        // An error for an earlier datagram is reported on the next send.
        let _ = sender.send_to(&canary.repeated(400), &SocketAddr::new(to, 9999).into());
        let mut buffer = [0; 2048];
        while let Ok((length, source)) = ears.recv_from(&mut buffer) {
            // IPv4 comes with its header.
            let at = if to.is_ipv4() { 20 } else { 0 };
            if at < length && buffer.get(at) == Some(&kind) {
                return Ok(source.ip());
            }
        }
    }
    bail!("nobody says that hop {hops} to {to} was exceeded (ICMP type {kind})")
}

/// Whether a pod answers that a UDP port is closed.
///
/// # Errors
/// When no socket can be made.
pub fn is_refused(from: &Pod, to: SocketAddr, canary: &Canary) -> Result<bool> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = from.inside(|| Ok(UdpSocket::bind(any)?))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    for _ in 0..TRIES {
        let sent = socket.send(&canary.repeated(400));
        let answer = sent.and_then(|_| socket.recv(&mut [0; 16]));
        if answer.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return Ok(true);
        }
    }
    Ok(false)
}
