//! One pod's link: a veth from the node straight into the pod's namespace, no bridge.
//!
//! ```text
//!   node                                            pod
//!   sp<13 hex>, no address  ═══════ veth ═══════    eth0, 10.244.1.2/32, fd00:…::2/128
//!   10.244.1.2/32 dev sp…, neighbour permanent      default via 169.254.1.1 onlink, neighbour permanent
//! ```
//! The node's end carries the guard's group from the first moment, in the message that makes it. Both
//! link-layer addresses are chosen here, so that no rename or address policy of udev changes what the
//! permanent neighbour entries say. `node_end` and `pod_end` set the ends up, `sysctl` writes their
//! settings, `query` asks the kernel, `inspect` compares a link with what was made.

pub(crate) mod inspect;
mod node_end;
mod pod_end;
mod query;
mod request;
mod sysctl;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use cni_protocol::attachment::{AttachmentKey, InterfaceName};
use cni_protocol::contract::{GATEWAY_V4, GATEWAY_V6, POD_LINK_PREFIX};
use cni_protocol::result::MacAddress;
use sha2::{Digest, Sha256};

use crate::deadline::Deadline;
use crate::netlink::{NetlinkError, Rtnl};
use crate::netns::{NetnsError, PodNetns};

/// Pause between two looks at what the kernel does on its own time: well under a millisecond when
/// it is idle.
const READY_RETRY: Duration = Duration::from_millis(1);

/// Name and link-layer addresses of an attachment's link, a function of its key alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkNames {
    /// Name of the node's end.
    pub(crate) node: String,
    /// Link-layer address of the node's end.
    pub(crate) node_mac: MacAddress,
    /// Link-layer address of the pod's end.
    pub(crate) pod_mac: MacAddress,
}

/// A link to be made.
pub(crate) struct PodLink<'a> {
    pub(crate) names: &'a LinkNames,
    pub(crate) interface: &'a InterfaceName,
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) mtu: u16,
    pub(crate) group: u32,
}

/// A link that was not made.
pub(crate) struct Unwired {
    /// Why not.
    pub(crate) first: LinkError,
    /// Why part of it is still there; `None` when nothing is.
    pub(crate) left_behind: Option<LinkError>,
}

/// Why a link could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// A repeated ADD, or another plugin's interface.
    #[error("create interface {interface} in the pod: one of that name exists")]
    InterfaceExists {
        /// The interface's name.
        interface: InterfaceName,
    },
    /// A link of our name that has no reservation.
    #[error("create link {0}: one of that name exists on the node, DEL the attachment first")]
    NodeEndExists(String),
    /// An end is set up, but nothing passes.
    #[error("wire the pod: the kernel did not get {0} ready in time")]
    NotOperational(String),
    /// The name belongs to something that is no pod's link.
    #[error("delete link {0}: it is no veth, remove it by hand")]
    NotAVeth(String),
    /// The kernel refused.
    #[error("wire the pod")]
    Netlink(#[from] NetlinkError),
    /// The pod's namespace refused.
    #[error("wire the pod")]
    Netns(#[from] NetnsError),
    /// A setting could not be written.
    #[error("write {value} to {}", .path.display())]
    Sysctl {
        /// The setting's file.
        path: PathBuf,
        /// What was to be written.
        value: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl LinkNames {
    /// Names the link of an attachment.
    pub(crate) fn of(key: &AttachmentKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(key.container_id.as_str());
        hash.update([0]);
        hash.update(key.interface.as_str());
        let digest: [u8; 32] = hash.finalize().into();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let digits = hex.chars().take(13);
        Self {
            node: POD_LINK_PREFIX.chars().chain(digits).collect(),
            node_mac: local_mac(digest.iter().skip(8)),
            pod_mac: local_mac(digest.iter().skip(16)),
        }
    }
}

/// A unicast, locally administered address (IEEE 802, the two lowest bits of the first byte).
fn local_mac<'a>(bytes: impl Iterator<Item = &'a u8>) -> MacAddress {
    let mut mac = [0; 6];
    for (target, byte) in mac.iter_mut().zip(bytes) {
        *target = *byte;
    }
    let [first, rest @ ..] = mac;
    let [b, c, d, e, g] = rest;
    MacAddress([(first & 0xfc) | 0x02, b, c, d, e, g])
}

impl PodLink<'_> {
    /// Makes and sets up both ends, or takes away what it made.
    pub(crate) fn wire(
        &self,
        rtnl: &mut Rtnl,
        netns: &PodNetns,
        deadline: Deadline,
    ) -> Result<(), Unwired> {
        let made = self
            .refuse_existing(netns, deadline)
            .and_then(|()| self.create(rtnl, netns));
        made.map_err(|first| Unwired {
            first,
            left_behind: None,
        })?;
        self.set_up(rtnl, netns, deadline).map_err(|first| Unwired {
            first,
            left_behind: self.undo().err(),
        })
    }

    /// Tells the two "exists" apart before the kernel's EEXIST mixes them.
    fn refuse_existing(&self, netns: &PodNetns, deadline: Deadline) -> Result<(), LinkError> {
        if exists(&self.names.node) {
            return Err(LinkError::NodeEndExists(self.names.node.clone()));
        }
        let name = self.interface.as_str();
        let look = || Ok::<_, LinkError>(query::find_link(&mut Rtnl::open(deadline)?, name)?);
        match netns.run(look)? {
            Some(_) => Err(LinkError::InterfaceExists {
                interface: self.interface.clone(),
            }),
            None => Ok(()),
        }
    }

    fn set_up(
        &self,
        rtnl: &mut Rtnl,
        netns: &PodNetns,
        deadline: Deadline,
    ) -> Result<(), LinkError> {
        self.set_up_node_end(rtnl)?;
        netns.run(|| self.set_up_pod_end(&mut Rtnl::open(deadline)?, deadline))?;
        self.wait_until_operational(rtnl, deadline)
    }

    /// The node's end went up while the other one was down. The kernel starts its queue in a work
    /// item of its own once it notices the carrier, and drops what is sent before.
    fn wait_until_operational(&self, rtnl: &mut Rtnl, deadline: Deadline) -> Result<(), LinkError> {
        let name = &self.names.node;
        while !query::find_link(rtnl, name)?.is_some_and(|link| link.is_operational) {
            if deadline.remaining().is_none() {
                return Err(LinkError::NotOperational(name.clone()));
            }
            std::thread::sleep(READY_RETRY);
        }
        Ok(())
    }

    /// On a fresh socket: the other one may still owe an answer.
    fn undo(&self) -> Result<(), LinkError> {
        delete(&mut Rtnl::open(Deadline::for_undo())?, &self.names.node)
    }

    fn create(&self, rtnl: &mut Rtnl, netns: &PodNetns) -> Result<(), LinkError> {
        let message = request::new_veth(self, netns.raw_fd());
        let action = format!("create link {}", self.names.node);
        rtnl.ask(message, request::CREATE, action)?;
        Ok(())
    }
}

/// The gateway of an address's family.
pub(crate) fn gateway(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => GATEWAY_V4.into(),
        IpAddr::V6(_) => GATEWAY_V6.into(),
    }
}

/// Whether the node has a link of that name.
pub(crate) fn exists(name: &str) -> bool {
    nix::net::if_::if_nametoindex(name).is_ok()
}

/// Removes a pod's link with all that hangs on it; none is fine too.
pub(crate) fn delete(rtnl: &mut Rtnl, name: &str) -> Result<(), LinkError> {
    let Some(link) = query::find_link(rtnl, name)? else {
        return Ok(());
    };
    if !link.is_veth {
        return Err(LinkError::NotAVeth(name.into()));
    }
    let action = format!("delete link {name}");
    match rtnl.ask(request::delete_link(link.index), 0, action) {
        Ok(_) => Ok(()),
        // It went with its namespace in between.
        Err(error) if error.number() == Some(libc::ENODEV) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(container_id: &str, interface: &str) -> LinkNames {
        LinkNames::of(&AttachmentKey {
            container_id: container_id.parse().unwrap(),
            interface: interface.parse().unwrap(),
        })
    }

    #[test]
    fn a_name_fills_the_kernels_fifteen_bytes_and_belongs_to_one_attachment() {
        let name = names("c0ffee", "eth0").node;

        assert_eq!(name.len(), 15);
        assert!(name.starts_with("sp"), "{name}");
        assert_eq!(name, names("c0ffee", "eth0").node);
        assert_ne!(name, names("c0ffee", "eth1").node);
        assert_ne!(name, names("c0ffe", "eeth0").node);
    }

    #[test]
    fn the_name_of_an_attachment_never_changes() {
        // A plugin of the next release has to find the links of this one.
        let found = names("c0ffee", "eth0");

        assert_eq!(found.node, "spc0a476ceb8965");
    }

    #[test]
    fn link_layer_addresses_are_local_unicast() {
        for container in ["a", "b", "c", "d", "e", "f"] {
            let LinkNames {
                node_mac: MacAddress([node, ..]),
                pod_mac: MacAddress([pod, ..]),
                ..
            } = names(container, "eth0");

            assert_eq!((node & 3, pod & 3), (2, 2));
        }
    }
}
