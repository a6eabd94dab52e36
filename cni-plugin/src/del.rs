//! DEL: remove what is left of an attachment; nothing left is success.
//!
//! Works on the container id and the interface's name alone. The pod's namespace is never looked at:
//! another container's newer attachment may live in it.

use cni_protocol::attachment::AttachmentKey;
use cni_protocol::config::NetworkConfig;
use pod_pool::{Claim, Links, NodeLinks, Pool};

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::ipam::AddressPlugin;
use crate::link::{self, LinkNames};
use crate::netlink::Rtnl;
use crate::node;
use crate::watchdog::Watchdog;

/// Detaches a pod.
pub(crate) fn run(
    key: &AttachmentKey,
    config: &NetworkConfig,
    deadline: Deadline,
    watchdog: &Watchdog,
) -> Result<(), Failure> {
    let ours = detach(key, config, deadline);
    // The link and the pool first: what the other plugin frees it gives to the next pod at once. It is
    // asked whatever is found here, because nothing here says what it assigned.
    let others = match config.address_plugin()? {
        None => Ok(()),
        Some(name) => AddressPlugin::new(name, config, watchdog).del(deadline),
    };
    ours.and(others.map_err(Failure::from))
}

fn detach(key: &AttachmentKey, config: &NetworkConfig, deadline: Deadline) -> Result<(), Failure> {
    let names = LinkNames::of(key);
    // Without a boot id no reservation can be found, but the link still goes.
    let boot_id = node::boot_id(&config.boot_id_file);
    let claim = match &boot_id {
        Ok(boot_id) => {
            let pool = Pool::new(&config.runtime_directory, boot_id);
            pool.claim(key, &names.node, deadline.instant())?
        }
        Err(_) => Claim::Nothing,
    };
    if matches!(claim, Claim::Anothers) {
        return Ok(());
    }
    // The link first: an address whose link lives is never free.
    link::delete(&mut Rtnl::open(deadline)?, &names.node)?;
    if let Claim::Ours(held) = claim {
        held.release(NodeLinks.since_boot())?;
    }
    boot_id.map(|_| ()).map_err(Failure::from)
}
