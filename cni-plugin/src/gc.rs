//! GC: free reservations of attachments that the runtime does not know any more.
//!
//! What lives is never freed, whatever the runtime's list says: a reservation stays while its link or
//! its pod's namespace is there, or a call works on it.

use cni_protocol::config::NetworkConfig;
use pod_pool::{Found, Links, NodeLinks, Pool};

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::ipam::AddressPlugin;
use crate::netns;
use crate::node;
use crate::watchdog::Watchdog;

/// Frees what belongs to no attachment.
pub(crate) fn run(
    config: &NetworkConfig,
    deadline: Deadline,
    watchdog: &Watchdog,
) -> Result<(), Failure> {
    let valid = config.valid_attachments()?;
    let boot_id = node::boot_id(&config.boot_id_file)?;
    let pool = Pool::new(&config.runtime_directory, &boot_id);
    let mut errors = Vec::new();
    for found in pool.reservations()? {
        let reservation = found.read();
        let listed = reservation.as_ref().is_some_and(|it| {
            let key = (
                it.key.container_id.to_string(),
                it.key.interface.to_string(),
            );
            valid.contains(&key)
        });
        let alive = NodeLinks.has_link(found.link())
            || reservation.is_some_and(|it| netns::is_alive(&it.netns));
        match (listed, alive) {
            (true, _) => {}
            (false, true) => warn_of_unlisted(&found),
            (false, false) => {
                let freed = pool.free(&found, NodeLinks.since_boot());
                errors.extend(freed.err().map(|error| error.to_string()));
            }
        }
    }
    if let Some(name) = config.address_plugin()? {
        let forwarded = AddressPlugin::new(name, config, watchdog).gc(deadline);
        errors.extend(forwarded.err().map(|error| error.to_string()));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::Incomplete(errors))
}

fn warn_of_unlisted(found: &Found) {
    let link = found.link();
    eprintln!("sotto-cni: WARN link {link} lives but the runtime does not list it, it is kept");
}
