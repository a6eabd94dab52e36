//! Is the guard there? Asked of the kernel, not of the daemon.
//!
//! `node.json` says that the guard was installed; these look-ups say that nobody removed it since.
//! They find the nftables table and the tun device. Judging their content is the daemon's watchdog's
//! work.

use cni_protocol::contract::{GUARD_TABLE, TUN_NAME};
use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::deadline::Deadline;
use crate::link;
use crate::netlink::{Netlink, NetlinkError};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE` of the kernel's headers.
const GET_TABLE: u16 = 0x0a01;

/// `NFPROTO_INET`.
const FAMILY_INET: u8 = 1;

/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;

/// What of the guard is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    /// nft was flushed and nobody put the table back yet.
    #[error("find nftables table inet {GUARD_TABLE}: the guard is gone, is sotto-node running?")]
    NoTable,
    /// The tun device was deleted and nobody made it again yet.
    #[error("find device {TUN_NAME}: the tunnel device is gone, is sotto-node running?")]
    NoTun,
    /// The kernel did not say.
    #[error("look for the guard")]
    Ask(#[source] NetlinkError),
}

/// Succeeds when both are there.
pub(crate) fn require(deadline: Deadline) -> Result<(), GuardError> {
    if !link::exists(TUN_NAME) {
        return Err(GuardError::NoTun);
    }
    let mut netfilter = Netlink::<TableQuery>::open_protocol(NETLINK_NETFILTER, deadline)
        .map_err(GuardError::Ask)?;
    match netfilter.ask(TableQuery, 0, "query nftables") {
        Ok(_) => Ok(()),
        Err(error) if error.number() == Some(libc::ENOENT) => Err(GuardError::NoTable),
        Err(error) => Err(GuardError::Ask(error)),
    }
}

/// The question for the guard's table; its answer's content does not matter.
#[derive(Debug)]
struct TableQuery;

impl TableQuery {
    /// `struct nfgenmsg`, then one attribute: length, type, text with its zero, padded to four.
    fn bytes() -> Vec<u8> {
        let length = 4 + GUARD_TABLE.len() + 1;
        let mut bytes = vec![FAMILY_INET, 0, 0, 0];
        bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        bytes.extend(TABLE_NAME.to_ne_bytes());
        bytes.extend(GUARD_TABLE.as_bytes());
        bytes.resize(4 + length.next_multiple_of(4), 0);
        bytes
    }
}

impl NetlinkSerializable for TableQuery {
    fn message_type(&self) -> u16 {
        GET_TABLE
    }

    fn buffer_len(&self) -> usize {
        Self::bytes().len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&Self::bytes());
    }
}

impl NetlinkDeserializable for TableQuery {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, _: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}
