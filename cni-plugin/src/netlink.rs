//! Synchronous netlink: one request, its answers, its acknowledgement.
//!
//! The plugin lives for milliseconds and asks one thing at a time, so there is no event loop. A
//! socket stays in the network namespace in which it was opened.

use std::fmt::Debug;
use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

use crate::deadline::Deadline;

/// Room for one read; the kernel builds its answers in pieces of at most 32 KiB.
const ANSWER_BYTES: usize = 1 << 16;

/// A socket that speaks rtnetlink.
pub(crate) type Rtnl = Netlink<RouteNetlinkMessage>;

/// A netlink socket with messages of one protocol.
pub(crate) struct Netlink<M> {
    socket: Socket,
    sequence: u32,
    deadline: Deadline,
    messages: std::marker::PhantomData<M>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// No socket.
    #[error("open netlink socket: does the plugin run as root?")]
    Open(#[source] io::Error),
    /// The kernel answered with an error.
    #[error("{action}")]
    Refused {
        /// What was asked.
        action: String,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// Nothing came before the call's deadline.
    #[error("{0}: the kernel did not answer in time")]
    Silent(String),
    /// The answer makes no sense.
    #[error("{action}: the kernel's answer is malformed")]
    Malformed {
        /// What was asked.
        action: String,
        /// What is wrong.
        #[source]
        source: netlink_packet_core::DecodeError,
    },
}

impl NetlinkError {
    /// The kernel's error number, if it gave one.
    pub(crate) fn number(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            Self::Open(_) | Self::Silent(_) | Self::Malformed { .. } => None,
        }
    }
}

impl Rtnl {
    /// Opens rtnetlink in the calling thread's namespace.
    pub(crate) fn open(deadline: Deadline) -> Result<Self, NetlinkError> {
        Self::open_protocol(NETLINK_ROUTE, deadline)
    }
}

impl<M: NetlinkSerializable + NetlinkDeserializable + Debug> Netlink<M> {
    /// Opens a netlink protocol in the calling thread's namespace.
    pub(crate) fn open_protocol(protocol: isize, deadline: Deadline) -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(NetlinkError::Open)?,
            sequence: 0,
            deadline,
            messages: std::marker::PhantomData,
        })
    }

    /// Sends a request and gives the answers that came before its acknowledgement.
    ///
    /// `action` says what is asked, for the error's text.
    pub(crate) fn ask(
        &mut self,
        message: impl Into<M>,
        flags: u16,
        action: impl Into<String>,
    ) -> Result<Vec<M>, NetlinkError> {
        let action = action.into();
        self.send(message.into(), flags, &action)?;
        let mut answers = Vec::new();
        loop {
            if self.receive(&mut answers, &action)? == More::No {
                return Ok(answers);
            }
        }
    }

    fn send(&mut self, message: M, flags: u16, action: &str) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        match self.socket.send(&bytes, 0) {
            Ok(_) => Ok(()),
            Err(source) => Err(refused(action, source)),
        }
    }

    /// Reads one datagram, which may hold several messages.
    fn receive(&mut self, answers: &mut Vec<M>, action: &str) -> Result<More, NetlinkError> {
        let mut bytes = Vec::with_capacity(ANSWER_BYTES);
        self.limit_wait(action)?;
        match self.socket.recv(&mut bytes, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(More::Yes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(NetlinkError::Silent(action.into()));
            }
            Err(source) => return Err(refused(action, source)),
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let packet = NetlinkMessage::<M>::deserialize(rest).map_err(|source| {
                let action = action.into();
                NetlinkError::Malformed { action, source }
            })?;
            // Messages are padded to four bytes.
            let length = (packet.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
            if packet.header.sequence_number != self.sequence {
                continue;
            }
            match packet.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(More::No),
                NetlinkPayload::Error(error) => return Err(refused(action, error.to_io())),
                NetlinkPayload::Done(_) => return Ok(More::No),
                NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => {}
            }
        }
        Ok(More::Yes)
    }

    fn limit_wait(&self, action: &str) -> Result<(), NetlinkError> {
        let silent = || NetlinkError::Silent(action.into());
        let left = self.deadline.remaining().ok_or_else(silent)?;
        let seconds = left.as_secs().try_into().unwrap_or(1);
        // Zero would mean "for ever".
        let timeout = TimeVal::new(seconds, i64::from(left.subsec_micros()).max(1));
        setsockopt(&self.socket, ReceiveTimeout, &timeout)
            .map_err(|number| refused(action, number.into()))
    }
}

/// Whether the acknowledgement is still to come.
#[derive(PartialEq, Eq)]
enum More {
    Yes,
    No,
}

fn refused(action: &str, source: io::Error) -> NetlinkError {
    let action = action.into();
    NetlinkError::Refused { action, source }
}
