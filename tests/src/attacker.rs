//! Mallory: a machine on the switch with real programs, keys and a root of her own making, who may
//! also write to the store.

mod board;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64ct::{Base64, Encoding};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket,
};

pub use board::Board;

use crate::capture::Packet;
use crate::lab::{Controller, DaemonSettings, Lab, Node, Process};
use crate::wait;

/// How long her own enrolment may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A machine on the switch that belongs to nobody's cluster.
#[derive(Debug)]
pub struct Mallory {
    node: Node,
    controller: Controller,
    store: PathBuf,
}

impl Mallory {
    /// Plugs her in: a controller with a root of her own, a store of her own.
    ///
    /// # Errors
    /// When the lab cannot be extended.
    pub fn arrive(lab: &Lab) -> Result<Self> {
        let store = lab.folder().join("mallory-store");
        let controller = lab.controller_of("mallorys-root", &store)?;
        let node = lab.node_of("mallory", &store)?;
        Ok(Self {
            node,
            controller,
            store,
        })
    }

    /// Her machine.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Runs a real daemon with a certificate of her own root, which knows the honest nodes: its
    /// store holds theirs too, and it trusts the honest root besides hers.
    ///
    /// # Errors
    /// When her daemon does not get ready, though all it asks is her own controller.
    pub fn run_daemon(&self, honest: &Controller, board: &Board<'_>) -> Result<Process> {
        self.controller.start()?;
        let settings = DaemonSettings::default();
        self.node.enrol(&self.controller, &settings)?;
        board.copy_to(&self.store)?;
        let pins = format!("{}\", \"{}", self.controller.pin(), honest.pin());
        self.node.configure(&pins, &settings)?;
        self.node.start(&settings)
    }

    /// Puts her own objects, root and envelope, into the honest store; returns her entry's name.
    ///
    /// # Errors
    /// When she has none yet, or they cannot be written.
    pub fn publish_herself(&self, board: &Board<'_>) -> Result<String> {
        let own = Board::Folder(self.store.clone());
        let file = wait::until_some("Mallory's envelope", LIMIT, || {
            let mut hers = own.envelopes().ok()?.into_iter();
            let hers = hers.find(|(_, envelopes)| {
                let mut all = envelopes.iter();
                all.any(|one| names(one, self.node.ipv4()).unwrap_or(false))
            });
            hers.map(|(file, _)| file)
        })?;
        board.publish(&self.store, file.trim_end_matches(".json"))
    }

    /// Edits a node's published envelopes so that they name her addresses instead of its own:
    /// its pod range points at her. The number of entries that she had to edit: the node itself
    /// puts its entry right as soon as it sees it, so she has to insist.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn point_at_herself(&self, board: &Board<'_>, victim: &Node) -> Result<usize> {
        let pairs = [
            (victim.ipv4(), self.node.ipv4()),
            (victim.ipv6(), self.node.ipv6()),
        ];
        let mut count = 0;
        for (entry, envelopes) in board.envelopes()? {
            let edited = envelopes
                .iter()
                .map(|envelope| edited(envelope, &pairs))
                .collect::<Result<Vec<String>>>()?;
            if edited != envelopes {
                board.write(&entry, &edited)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Publishes a node's signed statement once more, filed as her own.
    ///
    /// # Errors
    /// When the node has published nothing.
    pub fn claim_statement_of(&self, board: &Board<'_>, own: &str, victim: &Node) -> Result<()> {
        for (_, envelopes) in board.envelopes()? {
            let mut all = envelopes.iter();
            if all.any(|one| names(one, victim.ipv4()).unwrap_or(false)) {
                return board.write(own, &envelopes);
            }
        }
        bail!("no envelope names {}", victim.name())
    }

    /// Sends captured frames again, byte for byte, from her port of the switch.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn replay(&self, packets: &[Packet]) -> Result<()> {
        let frames: Vec<&[u8]> = packets.iter().map(|packet| &*packet.frame).collect();
        self.send_frames(&frames)
    }

    /// Sends frames as they are from her port of the switch.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn send_frames(&self, frames: &[&[u8]]) -> Result<()> {
        self.node.inside(|| {
            let port = link("eth0")?;
            let raw = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                None,
            )?;
            for frame in frames {
                use std::os::fd::AsRawFd;
                sendto(raw.as_raw_fd(), frame, &port, MsgFlags::empty())?;
            }
            Ok(())
        })
    }
}

/// The address of a link, as packet sockets want it.
fn link(name: &str) -> Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|interface| interface.interface_name == name)
        .filter_map(|interface| interface.address)
        .find_map(|address| {
            (address.family() == Some(AddressFamily::Packet))
                .then(|| address.as_link_addr().copied())
                .flatten()
        })
        .with_context(|| format!("no link {name}"))
}

/// Whether an envelope, in base64, names an address.
///
/// # Errors
/// When it is no base64.
pub fn names(envelope: &str, address: IpAddr) -> Result<bool> {
    let bytes = Base64::decode_vec(envelope).map_err(|_| anyhow!("no base64"))?;
    let wanted = octets(address);
    Ok(bytes.windows(wanted.len()).any(|window| window == wanted))
}

/// An envelope, in base64, with addresses replaced in its bytes.
fn edited(envelope: &str, pairs: &[(IpAddr, IpAddr)]) -> Result<String> {
    let mut bytes = Base64::decode_vec(envelope).map_err(|_| anyhow!("no base64"))?;
    for (old, new) in pairs {
        replace(&mut bytes, &octets(*old), &octets(*new));
    }
    Ok(Base64::encode_string(&bytes))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => Ipv4Addr::octets(&address).to_vec(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address).to_vec(),
    }
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let places: Vec<usize> = bytes
        .windows(old.len())
        .enumerate()
        .filter_map(|(at, window)| (window == old).then_some(at))
        .collect();
    for at in &places {
        if let Some(place) = bytes.get_mut(*at..at + old.len()) {
            place.copy_from_slice(new);
        }
    }
}
