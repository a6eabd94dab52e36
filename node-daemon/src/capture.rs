//! Counts clear pod packets on their way out of the node: the alarm that must stay silent.
//!
//! A tap on each underlay interface sees what the interface sends, after every table and route. It
//! does not depend on the guard, so it also tells when the guard was gone. Conntrack-invalid
//! packets that the guard stops never reach it: a count here is a leak.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, BorrowedFd};

use node_identity::PodRanges;
use tracing::{error, warn};

use crate::guard::leak_filter::{Instruction, leak_filter};
use crate::io::capture::PacketTap;
use crate::io::netlink::route::Link;

/// Packets taken from one tap in one go, so that a flood cannot hold up the watchdog. A guess.
const BATCH: usize = 4096;

/// The taps of all underlay interfaces.
pub(crate) struct LeakCapture {
    filter: Vec<Instruction>,
    taps: BTreeMap<u32, (String, PacketTap)>,
    /// Interfaces without a tap: what leaves by them is not seen.
    untapped: BTreeSet<u32>,
    leaked: u64,
}

impl LeakCapture {
    /// Prepares the filter for the cluster's pod ranges.
    pub(crate) fn new(pods: &PodRanges) -> Self {
        Self {
            filter: leak_filter(pods),
            taps: BTreeMap::new(),
            untapped: BTreeSet::new(),
            leaked: 0,
        }
    }

    /// Taps new interfaces and lets go of those that are gone.
    pub(crate) fn follow(&mut self, underlay: &[Link]) {
        let present = |index: &u32| underlay.iter().any(|link| link.index == *index);
        self.taps.retain(|index, _| present(index));
        self.untapped.retain(present);
        for link in underlay {
            if self.taps.contains_key(&link.index) {
                continue;
            }
            match PacketTap::open(link.index, &self.filter) {
                Ok(tap) => {
                    self.taps.insert(link.index, (link.name.clone(), tap));
                    self.untapped.remove(&link.index);
                }
                Err(error) => {
                    if self.untapped.insert(link.index) {
                        warn!(interface = link.name, %error, "Leak counter cannot watch an interface, it is tried again");
                    }
                }
            }
        }
    }

    /// How many interfaces cannot be watched.
    pub(crate) fn untapped(&self) -> u64 {
        self.untapped.len() as u64
    }

    /// Counts what the taps hold and returns the total so far. The first packet of each batch is
    /// logged by its addresses, never by its contents.
    pub(crate) fn count(&mut self) -> u64 {
        for (interface, tap) in self.taps.values() {
            for nth in 0..BATCH {
                let Some(header) = tap.take() else { break };
                self.leaked += 1;
                if nth == 0 {
                    let addresses = addresses(&header);
                    error!(interface, ?addresses, "Pod packet left the node in clear");
                }
            }
        }
        self.leaked
    }

    /// What to wait on.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.taps.values().map(|(_, tap)| tap.as_fd())
    }
}

/// Source and destination of an IP header.
fn addresses(header: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at: usize| {
        header
            .get(at..)?
            .first_chunk::<4>()
            .map(|a| Ipv4Addr::from(*a).into())
    };
    let v6 = |at: usize| {
        header
            .get(at..)?
            .first_chunk::<16>()
            .map(|a| Ipv6Addr::from(*a).into())
    };
    match header.first()? >> 4 {
        4 => v4(12).zip(v4(16)),
        6 => v6(8).zip(v6(24)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_cannot_be_watched_is_counted_until_it_is_gone() {
        let mut capture = LeakCapture::new(&crate::guard::sample::plan().cluster);
        let nowhere = Link {
            index: u32::from(u16::MAX),
            name: "gone".to_owned(),
            group: 0,
            mtu: 1500,
            up: true,
            is_tun: false,
        };

        capture.follow(std::slice::from_ref(&nowhere));
        assert_eq!(capture.untapped(), 1);
        capture.follow(&[]);
        assert_eq!(capture.untapped(), 0);
    }

    #[test]
    fn a_leaked_packet_is_named_by_its_addresses() {
        let mut header = [0_u8; 40];
        header[0] = 0x45;
        header[12..20].copy_from_slice(&[10, 244, 1, 5, 10, 244, 2, 7]);

        let expected = ("10.244.1.5".parse().unwrap(), "10.244.2.7".parse().unwrap());
        assert_eq!(addresses(&header), Some(expected));
        assert_eq!(addresses(&header[..15]), None, "cut off");
        header[0] = 0x55;
        assert_eq!(addresses(&header), None, "no such version");
    }
}
