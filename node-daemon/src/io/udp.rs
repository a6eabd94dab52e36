//! A lane's UDP socket: both families, whole batches each way.
//!
//! One dual-stack socket; IPv4 peers have v4-mapped addresses on it, which are turned into plain
//! ones here and nowhere else. A run goes out as one `UDP_SEGMENT` send; `UDP_GRO` gives batches
//! coming in. The own address is pinned for each send: the peer accepts certified ones only.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::Duration;

use libc::c_int;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, SndBuf, SndBufForce, UdpGroSegment};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SetSockOpt, SockaddrIn6, recvmsg, sendmsg,
    setsockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tracing::warn;
use tunnel_core::lane::Run;

/// Receive buffer of the socket in bytes: some hundred batches. The default of 208 KiB holds two.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Send buffer of the socket in bytes (a guess: half of it).
const SEND_BUFFER: usize = 4 << 20;

/// Longest wait for room in the send buffer (a guess): after it the run is dropped, so that a
/// stuck interface stops no lane.
const SEND_PATIENCE: Duration = Duration::from_millis(100);

/// Longest batch: the kernel cuts what is longer than the buffer.
pub(crate) const LONGEST_BATCH: usize = 65_536;

/// Why there is no socket.
#[derive(Debug, Error)]
pub(crate) enum UdpError {
    /// Somebody has the port.
    #[error(
        "listen on UDP port {port}: another program has it, stop that one or set another `port`"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The machine has no IPv6 sockets.
    #[error("listen on UDP port {port}: IPv6 is switched off, boot without `ipv6.disable=1`")]
    NoIpv6 {
        /// The port.
        port: u16,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("listen on UDP port {port}: cannot {what}")]
    Listen {
        /// The port.
        port: u16,
        /// What was refused.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What was received: one batch of datagrams from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A batch at the start of the buffer.
    Batch {
        /// Where it came from, IPv4 in its own form.
        source: SocketAddr,
        /// Its length in all.
        length: usize,
        /// Length of each datagram but the last.
        segment: usize,
    },
    /// It did not fit into the buffer, or has no source; it is gone.
    Lost,
    /// There is none.
    Nothing,
}

/// A lane's socket. The control side sends its messages on the first lane's.
pub(crate) struct LaneSocket {
    socket: Socket,
}

impl LaneSocket {
    /// Listens on a port, on every address of both families.
    ///
    /// # Errors
    /// The port is taken, or the kernel refuses an option.
    pub(crate) fn bind(port: u16) -> Result<LaneSocket, UdpError> {
        let listen = |what| move |source| UdpError::Listen { port, what, source };
        let socket =
            Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)).map_err(|source| {
                match source.raw_os_error() {
                    Some(libc::EAFNOSUPPORT) => UdpError::NoIpv6 { port, source },
                    _ => UdpError::Listen {
                        port,
                        what: "make a socket",
                        source,
                    },
                }
            })?;
        socket.set_only_v6(false).map_err(listen("take IPv4 too"))?;
        ignore_path_mtu(&socket).map_err(listen("ignore path MTU"))?;
        set_buffers(&socket);
        if let Err(errno) = setsockopt(&socket, UdpGroSegment, &true) {
            warn!(%errno, "Kernel does not batch received datagrams, receiving is slow");
        }
        socket
            .set_write_timeout(Some(SEND_PATIENCE))
            .map_err(listen("set a timeout"))?;
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        socket
            .bind(&any.into())
            .map_err(|source| match source.raw_os_error() {
                Some(libc::EADDRINUSE) => UdpError::PortTaken { port, source },
                _ => UdpError::Listen {
                    port,
                    what: "bind",
                    source,
                },
            })?;
        Ok(LaneSocket { socket })
    }

    /// Takes a batch into the buffer without waiting.
    ///
    /// # Errors
    /// What the kernel says; the socket stays usable.
    pub(crate) fn receive(&self, buffer: &mut [u8], control: &mut [u8]) -> io::Result<Received> {
        let mut pieces = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received =
            recvmsg::<SockaddrIn6>(self.socket.as_raw_fd(), &mut pieces, Some(control), flags);
        let message = match received {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Received::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        let Some(source) = message.address else {
            return Ok(Received::Lost);
        };
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Ok(Received::Lost);
        }
        let mut segment = message.bytes;
        for control in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::UdpGroSegments(size) = control {
                segment = usize::try_from(size).unwrap_or(message.bytes);
            }
        }
        let source = plain(source.into());
        Ok(Received::Batch {
            source,
            length: message.bytes,
            segment: segment.max(1),
        })
    }

    /// Sends a run; returns how many of its datagrams could not be sent.
    pub(crate) fn send_run(&self, run: &Run<'_>) -> u64 {
        let segment = u16::try_from(run.segment).unwrap_or(u16::MAX);
        if run.datagrams.len() > run.segment {
            let sizes = [ControlMessage::UdpGsoSegments(&segment)];
            let sent = self.send(run.source, run.destination, run.datagrams, &sizes, BLOCKING);
            match sent {
                Ok(()) => return 0,
                // No checksum offload on the way, or a link whose MTU has shrunk: one by one it
                // still goes.
                Err(Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE) => {}
                Err(_) => return run.datagrams.len().div_ceil(run.segment.max(1)) as u64,
            }
        }
        let mut lost = 0;
        for datagram in run.datagrams.chunks(run.segment.max(1)) {
            let sent = self.send(run.source, run.destination, datagram, &[], BLOCKING);
            lost += u64::from(sent.is_err());
        }
        lost
    }

    /// Sends one datagram of the control side, without waiting.
    ///
    /// # Errors
    /// What the kernel says; such messages are repeated anyway.
    pub(crate) fn send_datagram(
        &self,
        source: Option<IpAddr>,
        destination: SocketAddr,
        datagram: &[u8],
    ) -> io::Result<()> {
        Ok(self.send(source, destination, datagram, &[], MsgFlags::MSG_DONTWAIT)?)
    }

    fn send(
        &self,
        source: Option<IpAddr>,
        destination: SocketAddr,
        datagrams: &[u8],
        sizes: &[ControlMessage<'_>],
        flags: MsgFlags,
    ) -> nix::Result<()> {
        let destination = SockaddrIn6::from(mapped(destination));
        let pinned = source.map(|source| libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr {
                s6_addr: mapped_address(source).octets(),
            },
            ipi6_ifindex: 0,
        });
        let socket = self.socket.as_raw_fd();
        let pieces = [IoSlice::new(datagrams)];
        match (&pinned, sizes) {
            (Some(pinned), [ControlMessage::UdpGsoSegments(size)]) => {
                let control = [
                    ControlMessage::Ipv6PacketInfo(pinned),
                    ControlMessage::UdpGsoSegments(size),
                ];
                sendmsg(socket, &pieces, &control, flags, Some(&destination))
            }
            (Some(pinned), _) => {
                let control = [ControlMessage::Ipv6PacketInfo(pinned)];
                sendmsg(socket, &pieces, &control, flags, Some(&destination))
            }
            (None, sizes) => sendmsg(socket, &pieces, sizes, flags, Some(&destination)),
        }
        .map(|_| ())
    }
}

const BLOCKING: MsgFlags = MsgFlags::empty();

impl AsFd for LaneSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends at the interface's MTU whatever ICMP says: a forged "packet too big" must not shrink
/// what we send. IPv4 goes without "don't fragment", so that a narrower path still carries it.
fn ignore_path_mtu(socket: &Socket) -> io::Result<()> {
    set(
        socket,
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_OMIT,
    )?;
    set(
        socket,
        libc::IPPROTO_IPV6,
        libc::IPV6_MTU_DISCOVER,
        libc::IPV6_PMTUDISC_OMIT,
    )
}

fn set_buffers(socket: &Socket) {
    force(socket, RcvBufForce, RcvBuf, RECEIVE_BUFFER, "receive");
    force(socket, SndBufForce, SndBuf, SEND_BUFFER, "send");
}

fn force(
    socket: &Socket,
    forced: impl SetSockOpt<Val = usize>,
    limited: impl SetSockOpt<Val = usize>,
    bytes: usize,
    which: &'static str,
) {
    if setsockopt(socket, forced, &bytes).is_ok() {
        return;
    }
    // Without CAP_NET_ADMIN the kernel takes what net.core allows.
    if let Err(errno) = setsockopt(socket, limited, &bytes) {
        warn!(%errno, which, "Socket buffer stays at the system's default, bursts are lost");
    }
}

fn set(socket: &Socket, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the option reads one `int`, which lives longer than the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The address as the socket wants it.
fn mapped(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V4(address) => {
            SocketAddrV6::new(address.ip().to_ipv6_mapped(), address.port(), 0, 0)
        }
        SocketAddr::V6(address) => address,
    }
}

fn mapped_address(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The address as everybody else wants it.
fn plain(address: SocketAddrV6) -> SocketAddr {
    match address.ip().to_ipv4_mapped() {
        Some(ipv4) => SocketAddr::from((ipv4, address.port())),
        None => SocketAddr::V6(address),
    }
}

#[cfg(test)]
mod tests;
