//! Kernel events (uevents), by netlink: what udev listens to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_KOBJECT_UEVENT;
use netlink_sys::{Socket, SocketAddr};

/// The multicast group of the kernel's own events.
const KERNEL_EVENTS: u32 = 1;

/// A socket that hears kernel events; never blocks.
#[derive(Debug)]
pub(crate) struct Uevents(Socket);

impl Uevents {
    /// Begins to listen.
    ///
    /// # Errors
    /// The kernel refuses the socket.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_KOBJECT_UEVENT)?;
        socket.bind(&SocketAddr::new(0, KERNEL_EVENTS))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Takes one event; its length in bytes. Events of other processes read as empty: only the
    /// kernel is believed.
    ///
    /// # Errors
    /// There is none, or some were lost.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut free = &mut *buffer;
        let (length, sender) = self.0.recv_from(&mut free, 0)?;
        Ok(if sender.port_number() == 0 { length } else { 0 })
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
