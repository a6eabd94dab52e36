//! A packet socket on one interface that keeps only what its filter picks.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

use crate::guard::leak_filter::{Instruction, KEPT};

/// Sees what one interface sends and receives; the kernel drops what the filter does not want.
pub(crate) struct PacketTap {
    socket: Socket,
}

impl PacketTap {
    /// Opens a tap on an interface. The filter is attached before the socket is bound, so that
    /// nothing else is ever queued.
    ///
    /// # Errors
    /// When the kernel refuses: CAP_NET_RAW is needed.
    pub(crate) fn open(interface: u32, filter: &[Instruction]) -> io::Result<Self> {
        // Protocol 0 receives nothing until the socket is bound.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), None)?;
        let filter: Vec<_> = filter
            .iter()
            .map(|step| SockFilter::new(step.code, step.if_true, step.if_false, step.operand))
            .collect();
        socket.attach_filter(&filter)?;
        socket.bind(&link_address(interface)?)?;
        Ok(Self { socket })
    }

    /// Takes one packet: the first bytes of its IP header, or nothing when none waits.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = vec![0; usize::try_from(KEPT).unwrap_or(64)];
        let length = (&self.socket).read(&mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }
}

impl AsFd for PacketTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Taps of outgoing packets exist for all protocols only.
fn link_address(interface: u32) -> io::Result<SockAddr> {
    let all_protocols = u16::try_from(libc::ETH_P_ALL).unwrap_or(3).to_be();
    let index = i32::try_from(interface).map_err(io::Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the address types that the storage is made for: it fits, is
    // aligned, and all-zero bytes are a valid value of it.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_protocol = all_protocols;
    address.sll_ifindex = index;
    let length =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the storage holds an initialised `sockaddr_ll` of exactly this length.
    Ok(unsafe { SockAddr::new(storage, length) })
}
