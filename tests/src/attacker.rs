//! Mallory: a machine on the switch with real programs, keys and a root of her own making, who may
//! also write to the store.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64ct::{Base64, Encoding};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket,
};
use serde_json::Value;

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
    pub fn run_daemon(&self, honest: &Controller, honest_store: &Path) -> Result<Process> {
        self.controller.start()?;
        let settings = DaemonSettings::default();
        self.node.enrol(&self.controller, &settings)?;
        copy_objects(honest_store, &self.store)?;
        let pins = format!("{}\", \"{}", self.controller.pin(), honest.pin());
        self.node.configure(&pins, &settings)?;
        self.node.start(&settings)
    }

    /// Puts her own objects, root and envelope, into the honest store.
    ///
    /// # Errors
    /// When she has none yet, or they cannot be written.
    pub fn publish_herself(&self, honest_store: &Path) -> Result<()> {
        wait::until("Mallory's envelope", LIMIT, || {
            envelope_files(&self.store).is_ok_and(|files| {
                files
                    .iter()
                    .any(|file| !honest_store.join("envelopes").join(file).exists())
            })
        })?;
        copy_objects(&self.store, honest_store)
    }

    /// Edits a node's published envelopes so that they name her addresses instead of its own:
    /// its pod range points at her. The number of files that she had to edit: the node itself puts
    /// its entry right as soon as it sees it, so she has to insist.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn point_at_herself(&self, honest_store: &Path, victim: &Node) -> Result<usize> {
        let pairs = [
            (victim.ipv4(), self.node.ipv4()),
            (victim.ipv6(), self.node.ipv6()),
        ];
        let mut edited = 0;
        for file in envelope_files(honest_store)? {
            let path = honest_store.join("envelopes").join(file);
            edited += usize::from(edit_envelopes(&path, &pairs)?);
        }
        Ok(edited)
    }

    /// Publishes a node's signed statement once more, filed as her own.
    ///
    /// # Errors
    /// When the node has published nothing.
    pub fn claim_statement_of(&self, honest_store: &Path, victim: &Node) -> Result<()> {
        let hers = envelope_files(&self.store)?;
        let theirs = victim.ipv4();
        for file in envelope_files(honest_store)? {
            let path = honest_store.join("envelopes").join(file);
            let Some(own) = hers.iter().find(|own| !path.ends_with(own)) else {
                continue;
            };
            if names(&path, theirs)? {
                std::fs::copy(&path, honest_store.join("envelopes").join(own))?;
                return Ok(());
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

/// Copies what is published from a store to another; requests and answers stay where they are.
fn copy_objects(from: &Path, to: &Path) -> Result<()> {
    for folder in ["roots", "revocations", "certificates", "envelopes"] {
        std::fs::create_dir_all(to.join(folder))?;
        let Ok(entries) = std::fs::read_dir(from.join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().context("a file without a name")?;
            std::fs::copy(&path, to.join(folder).join(name))?;
        }
    }
    Ok(())
}

fn envelope_files(store: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = std::fs::read_dir(store.join("envelopes"))?;
    Ok(entries.flatten().map(|entry| entry.file_name()).collect())
}

/// Whether an envelope of a file in the store names an address.
///
/// # Errors
/// When the file holds no envelopes.
pub fn names(path: &Path, address: IpAddr) -> Result<bool> {
    let file: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let envelopes = file.get("envelopes").and_then(Value::as_array);
    let wanted = octets(address);
    Ok(envelopes
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(|text| Base64::decode_vec(text).ok())
        .any(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted)))
}

/// Replaces addresses in the bytes of the envelopes of a file; says whether any was there.
fn edit_envelopes(path: &Path, pairs: &[(IpAddr, IpAddr)]) -> Result<bool> {
    let mut file: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let envelopes = file.get_mut("envelopes").and_then(Value::as_array_mut);
    let mut found = false;
    for envelope in envelopes.context("no list of envelopes")? {
        let text = envelope.as_str().context("an envelope that is no text")?;
        let mut bytes = Base64::decode_vec(text).map_err(|_| anyhow!("no base64"))?;
        for (old, new) in pairs {
            found |= replace(&mut bytes, &octets(*old), &octets(*new));
        }
        *envelope = Value::from(Base64::encode_string(&bytes));
    }
    if found {
        // As an editor would: a new file in place of the old.
        let new = path.with_file_name("../tmp/edited");
        std::fs::write(&new, serde_json::to_vec(&file)?)?;
        std::fs::rename(&new, path)?;
    }
    Ok(found)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => Ipv4Addr::octets(&address).to_vec(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address).to_vec(),
    }
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) -> bool {
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
    !places.is_empty()
}
