//! STATUS: would an ADD succeed? Answered from files and the kernel, without the daemon.

use cni_protocol::config::NetworkConfig;
use pod_pool::{NodeLinks, Pool};

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::guard::{self, GuardError};
use crate::ipam::AddressPlugin;
use crate::node;
use crate::watchdog::Watchdog;

/// Tells whether pods can be attached.
pub(crate) fn run(
    config: &NetworkConfig,
    deadline: Deadline,
    watchdog: &Watchdog,
) -> Result<(), Failure> {
    let unavailable = |failure| Failure::Unavailable(Box::new(failure));
    let node = node::load(config).map_err(|error| unavailable(error.into()))?;
    guard::require(deadline).map_err(|error| match error {
        GuardError::NoTable | GuardError::NoTun => {
            Failure::UnavailableAndDegraded(Box::new(error.into()))
        }
        GuardError::Ask(_) => unavailable(error.into()),
    })?;
    if let Some(name) = config.address_plugin()? {
        let plugin = AddressPlugin::new(name, config, watchdog);
        return plugin
            .status(deadline)
            .map_err(|error| unavailable(error.into()));
    }
    let pool = Pool::new(&config.runtime_directory, &node.boot_id);
    let exhausted = pool
        .exhausted_families(&node, &NodeLinks)
        .map_err(|error| unavailable(error.into()))?;
    if exhausted.is_empty() {
        return Ok(());
    }
    Err(Failure::NoAddressLeft(exhausted))
}
