//! Netlink sockets: requests to the kernel and its notices of change.
//!
//! Blocking on purpose: a request is answered at once, and the watchdog has a thread of its own.
//! Routes, rules and links are in [`route`], nftables' generation number and connection tracking
//! in [`netfilter`]. What to ask for is decided in `guard/`.

pub(crate) mod netfilter;
pub(crate) mod route;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};
use thiserror::Error;

const HEADER: usize = 16;
const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
/// A dump that raced with a change is asked for again this often. A guess.
const DUMP_ATTEMPTS: u32 = 5;

/// Why a request to the kernel failed.
#[derive(Debug, Error)]
pub(crate) enum NetlinkError {
    /// No socket.
    #[error("open a netlink socket: does the daemon have CAP_NET_ADMIN in this network namespace?")]
    Open(#[source] io::Error),
    /// Nothing sent or received.
    #[error("ask the kernel to {what}")]
    Exchange {
        /// What was asked.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel said no.
    #[error("{what}: the kernel refused")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its error code.
        #[source]
        source: io::Error,
    },
    /// The tables changed each time they were read.
    #[error(
        "{0}: the list kept changing while it was read, another program may be rewriting it in a loop"
    )]
    Unstable(&'static str),
}

impl NetlinkError {
    /// Whether the kernel refused with this `errno`.
    pub(crate) fn is(&self, errno: i32) -> bool {
        match self {
            Self::Refused { source, .. } => source.raw_os_error() == Some(errno),
            Self::Open(_) | Self::Exchange { .. } | Self::Unstable(_) => false,
        }
    }
}

/// One answer of the kernel: message type and what follows the header.
pub(crate) struct Answer {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

/// A socket for requests.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket of the given netlink protocol.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub(crate) fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(protocol).map_err(NetlinkError::Open)?;
        socket.bind_auto().map_err(NetlinkError::Open)?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(NetlinkError::Open)?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(1 << 16),
        })
    }

    /// Asks for one change and waits for the kernel's word on it.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] with the kernel's reason.
    pub(crate) fn change(
        &mut self,
        what: &'static str,
        kind: u16,
        flags: u16,
        body: &[u8],
    ) -> Result<(), NetlinkError> {
        self.exchange(what, kind, flags | NLM_F_ACK, body).map(drop)
    }

    /// Asks for one object, or nothing if the kernel only acknowledges.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] with the kernel's reason.
    pub(crate) fn ask(
        &mut self,
        what: &'static str,
        kind: u16,
        body: &[u8],
    ) -> Result<Vec<Answer>, NetlinkError> {
        self.exchange(what, kind, NLM_F_ACK, body)
            .map(|(answers, _)| answers)
    }

    /// Asks for a whole list, again if it changed meanwhile.
    ///
    /// # Errors
    /// [`NetlinkError::Unstable`] when it never stands still.
    pub(crate) fn dump(
        &mut self,
        what: &'static str,
        kind: u16,
        body: &[u8],
    ) -> Result<Vec<Answer>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            let (answers, interrupted) = self.exchange(what, kind, NLM_F_DUMP, body)?;
            if !interrupted {
                return Ok(answers);
            }
        }
        Err(NetlinkError::Unstable(what))
    }

    fn exchange(
        &mut self,
        what: &'static str,
        kind: u16,
        flags: u16,
        body: &[u8],
    ) -> Result<(Vec<Answer>, bool), NetlinkError> {
        let failed = |source| NetlinkError::Exchange { what, source };
        self.sequence = self.sequence.wrapping_add(1);
        let request = frame(kind, flags | NLM_F_REQUEST, self.sequence, body);
        self.socket.send(&request, 0).map_err(failed)?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0).map_err(failed)?;
            for message in Messages(&self.buffer) {
                if message.sequence != self.sequence {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    KIND_DONE => return Ok((answers, interrupted)),
                    KIND_ERROR => {
                        let source = refusal(message.body);
                        return match source {
                            None => Ok((answers, interrupted)),
                            Some(source) => Err(NetlinkError::Refused { what, source }),
                        };
                    }
                    kind => answers.push(Answer {
                        kind,
                        body: message.body.to_vec(),
                    }),
                }
            }
        }
    }
}

/// A socket that hears of changes made by anybody.
pub(crate) struct Notices {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Notices {
    /// Opens a socket of the given protocol that is told about the given groups.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub(crate) fn open(protocol: isize, groups: &[u32]) -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(protocol).map_err(NetlinkError::Open)?;
        socket.bind_auto().map_err(NetlinkError::Open)?;
        socket.set_non_blocking(true).map_err(NetlinkError::Open)?;
        for group in groups {
            socket.add_membership(*group).map_err(NetlinkError::Open)?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(1 << 16),
        })
    }

    /// Takes all notices that wait and says whether there was one. Which one does not matter:
    /// each is a reason to look.
    pub(crate) fn take(&mut self) -> bool {
        let mut heard = false;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => heard = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS: notices were lost, so something happened.
                Err(_) => return true,
            }
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn frame(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend(length.to_ne_bytes());
    frame.extend(kind.to_ne_bytes());
    frame.extend(flags.to_ne_bytes());
    frame.extend(sequence.to_ne_bytes());
    frame.extend(0_u32.to_ne_bytes());
    frame.extend(body);
    frame
}

/// The kernel's error code in an error message; zero is an acknowledgement.
fn refusal(body: &[u8]) -> Option<io::Error> {
    let code = body
        .first_chunk::<4>()
        .map_or(-libc::EPROTO, |code| i32::from_ne_bytes(*code));
    (code != 0).then(|| io::Error::from_raw_os_error(code.wrapping_neg()))
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of one datagram; stops at the first that does not fit.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.0.first_chunk::<HEADER>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        })
    }
}

/// The attributes of a message body, as (type without flags, value). Malformed ones end the list.
fn attributes(body: &[u8]) -> impl Iterator<Item = (u16, Vec<u8>)> {
    NlasIterator::new(body)
        .map_while(Result::ok)
        .map(|nla| (nla.kind(), nla.value().to_vec()))
}

/// Writes one attribute.
fn attribute(kind: u16, value: Vec<u8>) -> Vec<u8> {
    let nla = DefaultNla::new(kind, value);
    let mut bytes = vec![0; nla.buffer_len()];
    nla.emit(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_that_ends_in_the_middle_of_a_message_yields_the_whole_ones() {
        let mut datagram = frame(7, 0, 1, &[1, 2, 3, 4]);
        datagram.extend(frame(8, 0, 1, &[5, 6, 7, 8]));
        datagram.truncate(datagram.len() - 1);

        let kinds: Vec<_> = Messages(&datagram).map(|message| message.kind).collect();

        assert_eq!(kinds, [7]);
    }

    #[test]
    fn a_message_that_claims_no_length_ends_the_datagram() {
        assert_eq!(Messages(&[0; 64]).count(), 0);
    }

    #[test]
    fn an_error_code_of_zero_is_an_acknowledgement() {
        assert!(refusal(&0_i32.to_ne_bytes()).is_none());
        let refused = refusal(&(-libc::EEXIST).to_ne_bytes()).unwrap();
        assert_eq!(refused.raw_os_error(), Some(libc::EEXIST));
    }
}
