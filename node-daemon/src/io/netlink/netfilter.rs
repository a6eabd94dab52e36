//! The two things asked of netfilter by netlink: whether the ruleset changed, and tracked
//! connections.

use std::net::IpAddr;

use super::{Answer, Netlink, NetlinkError, Notices, attribute, attributes};
use crate::guard::conntrack::Connection;

const NETLINK_NETFILTER: isize = 12;
/// `NFNLGRP_NFTABLES`.
const GROUP_NFTABLES: u32 = 7;

// nfnetlink subsystem << 8 | message, of the kernel's nfnetlink*.h.
const NFT_GET_GENERATION: u16 = 10 << 8 | 16;
const CONNTRACK_GET: u16 = 1 << 8 | 1;
const CONNTRACK_DELETE: u16 = 1 << 8 | 2;

const GENERATION_ID: u16 = 1;
const CONNTRACK_ORIGINAL: u16 = 1;
const CONNTRACK_STATUS: u16 = 3;
const CONNTRACK_ID: u16 = 12;
const CONNTRACK_ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const NESTED: u16 = 1 << 15;
/// `struct nfgenmsg`: family, version, resource id.
const GENERIC_HEADER: usize = 4;

/// A tracked connection and what the kernel needs to find it again.
pub(crate) struct Tracked {
    /// What is decided on.
    pub(crate) connection: Connection,
    delete: Vec<u8>,
}

/// A socket for requests to netfilter.
pub(crate) struct Netfilter(Netlink);

impl Netfilter {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Netlink::open(NETLINK_NETFILTER).map(Self)
    }

    /// Reads the ruleset's generation: it changes with each transaction of anybody.
    ///
    /// # Errors
    /// When the kernel has no nftables, among others.
    pub(crate) fn ruleset_generation(&mut self) -> Result<u32, NetlinkError> {
        const WHAT: &str = "read the generation of the nftables ruleset";
        let answers = self.0.ask(WHAT, NFT_GET_GENERATION, &[0; GENERIC_HEADER])?;
        let generation = answers.iter().find_map(|answer| {
            let value = value(answer.body.get(GENERIC_HEADER..)?, GENERATION_ID)?;
            value.first_chunk::<4>().map(|id| u32::from_be_bytes(*id))
        });
        generation.ok_or_else(|| NetlinkError::Refused {
            what: WHAT,
            source: std::io::Error::from_raw_os_error(libc::EPROTO),
        })
    }

    /// Lists all tracked connections.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn connections(&mut self) -> Result<Vec<Tracked>, NetlinkError> {
        let answers = self.0.dump(
            "list tracked connections",
            CONNTRACK_GET,
            &[0; GENERIC_HEADER],
        )?;
        Ok(answers.iter().filter_map(tracked).collect())
    }

    /// Deletes one; one that is gone already is success.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn delete_connection(&mut self, tracked: &Tracked) -> Result<(), NetlinkError> {
        match self.0.change(
            "delete a tracked connection",
            CONNTRACK_DELETE,
            0,
            &tracked.delete,
        ) {
            Err(error) if error.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    }
}

/// Opens a socket that hears of each change to the ruleset.
///
/// # Errors
/// When the kernel gives none.
pub(crate) fn ruleset_notices() -> Result<Notices, NetlinkError> {
    Notices::open(NETLINK_NETFILTER, &[GROUP_NFTABLES])
}

fn tracked(answer: &Answer) -> Option<Tracked> {
    let family = *answer.body.first()?;
    let body = answer.body.get(GENERIC_HEADER..)?;
    let original = value(body, CONNTRACK_ORIGINAL)?;
    let (source, destination) = addresses(&value(&original, TUPLE_ADDRESSES)?)?;
    let status = u32::from_be_bytes(*value(body, CONNTRACK_STATUS)?.first_chunk::<4>()?);
    let mut delete = vec![family, 0, 0, 0];
    delete.extend(attribute(CONNTRACK_ORIGINAL | NESTED, original));
    for kind in [CONNTRACK_ZONE, CONNTRACK_ID] {
        delete.extend(
            value(body, kind)
                .into_iter()
                .flat_map(|value| attribute(kind, value)),
        );
    }
    Some(Tracked {
        connection: Connection {
            source,
            destination,
            status,
        },
        delete,
    })
}

/// Source and destination: attributes 1 and 2 for IPv4, 3 and 4 for IPv6.
fn addresses(tuple: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |kind| Some(IpAddr::from(*value(tuple, kind)?.first_chunk::<4>()?));
    let v6 = |kind| Some(IpAddr::from(*value(tuple, kind)?.first_chunk::<16>()?));
    v4(1).zip(v4(2)).or_else(|| v6(3).zip(v6(4)))
}

fn value(body: &[u8], kind: u16) -> Option<Vec<u8>> {
    attributes(body)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}
