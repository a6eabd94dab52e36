//! What is asked of netfilter by netlink: whether the ruleset changed, what its counters say, and
//! tracked connections. Each is asked often, and a program run would be dear.

use std::net::IpAddr;

use super::{Answer, Netlink, NetlinkError, Notices, attribute, attributes};
use crate::guard::conntrack::Connection;
use crate::guard::counters::DropCounts;

const NETLINK_NETFILTER: isize = 12;
/// `NFNLGRP_NFTABLES`.
const GROUP_NFTABLES: u32 = 7;

// nfnetlink subsystem << 8 | message, of the kernel's nfnetlink*.h.
const NFT_GET_GENERATION: u16 = 10 << 8 | 16;
const NFT_GET_OBJECT: u16 = 10 << 8 | 19;
const CONNTRACK_GET: u16 = 1 << 8 | 1;
const CONNTRACK_DELETE: u16 = 1 << 8 | 2;

const GENERATION_ID: u16 = 1;
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const TYPE_COUNTER: u32 = 1;
const COUNTER_PACKETS: u16 = 2;
const CONNTRACK_ORIGINAL: u16 = 1;
const CONNTRACK_STATUS: u16 = 3;
const CONNTRACK_ID: u16 = 12;
const CONNTRACK_ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const NESTED: u16 = 1 << 15;
/// `struct nfgenmsg`: family, version, resource id.
const GENERIC_HEADER: usize = 4;
/// `NFPROTO_INET`.
const FAMILY_INET: u8 = 1;

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

    /// Reads the packets of each named counter of a table of family `inet`; none when there is no
    /// such table.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn counters(&mut self, table: &str) -> Result<DropCounts, NetlinkError> {
        let mut request = vec![FAMILY_INET, 0, 0, 0];
        let name = table.bytes().chain([0]).collect();
        request.extend(attribute(OBJECT_TABLE, name));
        request.extend(attribute(OBJECT_TYPE, TYPE_COUNTER.to_be_bytes().to_vec()));
        let answers = self
            .0
            .dump("read the guard's counters", NFT_GET_OBJECT, &request)?;
        Ok(answers.iter().filter_map(counter).collect())
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

fn counter(answer: &Answer) -> Option<(String, u64)> {
    let body = answer.body.get(GENERIC_HEADER..)?;
    let kind = u32::from_be_bytes(*value(body, OBJECT_TYPE)?.first_chunk::<4>()?);
    if kind != TYPE_COUNTER {
        return None;
    }
    let name = String::from_utf8(value(body, OBJECT_NAME)?).ok()?;
    let packets = value(&value(body, OBJECT_DATA)?, COUNTER_PACKETS)?;
    let packets = u64::from_be_bytes(*packets.first_chunk::<8>()?);
    Some((name.trim_end_matches('\0').to_owned(), packets))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(parts: &[Vec<u8>]) -> Answer {
        let mut body = vec![FAMILY_INET, 0, 0, 0];
        body.extend(parts.concat());
        Answer { kind: 0, body }
    }

    #[test]
    fn a_counter_is_read_by_name_and_packets() {
        let data = attribute(COUNTER_PACKETS, 7_u64.to_be_bytes().to_vec());
        let whole = [
            attribute(OBJECT_NAME, b"injected\0".to_vec()),
            attribute(OBJECT_TYPE, TYPE_COUNTER.to_be_bytes().to_vec()),
            attribute(OBJECT_DATA | NESTED, data),
        ];

        assert_eq!(counter(&answer(&whole)), Some(("injected".to_owned(), 7)));
        assert_eq!(counter(&answer(&whole[..2])), None, "cut off");
        assert_eq!(
            counter(&Answer {
                kind: 0,
                body: vec![1]
            }),
            None
        );
    }

    #[test]
    fn a_connection_is_read_with_what_deletes_it() {
        let addresses = [
            attribute(1, vec![10, 244, 1, 7]),
            attribute(2, vec![203, 0, 113, 9]),
        ]
        .concat();
        let original = attribute(TUPLE_ADDRESSES | NESTED, addresses);
        let whole = [
            attribute(CONNTRACK_ORIGINAL | NESTED, original),
            attribute(CONNTRACK_STATUS, 8_u32.to_be_bytes().to_vec()),
            attribute(CONNTRACK_ID, vec![1, 2, 3, 4]),
        ];

        let found = tracked(&answer(&whole)).unwrap();

        assert_eq!(found.connection.source.to_string(), "10.244.1.7");
        assert_eq!(found.connection.destination.to_string(), "203.0.113.9");
        assert_eq!(found.connection.status, 8);
        assert!(found.delete.ends_with(&[1, 2, 3, 4]));
        assert!(tracked(&answer(&whole[1..])).is_none());
    }
}
