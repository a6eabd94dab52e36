//! CHECK: compare an attachment with what ADD made and the runtime remembers.
//!
//! Asks the kernel about both ends, the guard's table and the tun device. The daemon's death alone is
//! no fault of the pod: the guard stands and traffic waits.

use std::net::IpAddr;

use cni_protocol::config::NetworkConfig;
use cni_protocol::environment::PodCall;
use cni_protocol::reservation::Reservation;
use pod_pool::Pool;

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::guard::{self, GuardError};
use crate::ipam::AddressPlugin;
use crate::link::{LinkNames, PodLink};
use crate::netlink::Rtnl;
use crate::netns::PodNetns;
use crate::node;
use crate::watchdog::Watchdog;

/// Checks one attachment.
pub(crate) fn run(
    call: &PodCall,
    config: &NetworkConfig,
    deadline: Deadline,
    watchdog: &Watchdog,
) -> Result<(), Failure> {
    let previous = config.previous_result()?;
    let node = node::load(config)?;
    let names = LinkNames::of(&call.key);
    let pool = Pool::new(&config.runtime_directory, &node.boot_id);
    let reservation = pool.reservation_of(&names.node);
    let remembered = previous.pod_addresses(call.key.interface.as_str());
    let mut differences = reservation_differences(call, reservation.as_ref(), &remembered);
    match guard::require(deadline) {
        Ok(()) => {}
        Err(error @ (GuardError::NoTable | GuardError::NoTun)) => {
            differences.push(error.to_string());
        }
        Err(error @ GuardError::Ask(_)) => return Err(error.into()),
    }
    let addresses = reservation.map_or(remembered, |it| it.addresses);
    let link = PodLink {
        names: &names,
        interface: &call.key.interface,
        addresses: &addresses,
        mtu: node.mtu,
        group: node.link_group,
    };
    let netns = PodNetns::open(&call.netns)?;
    differences.extend(link.differences(&mut Rtnl::open(deadline)?, &netns, deadline)?);
    if differences.is_empty() {
        return match config.address_plugin()? {
            None => Ok(()),
            Some(name) => Ok(AddressPlugin::new(name, config, watchdog).check(deadline)?),
        };
    }
    Err(Failure::Broken {
        subject: call.key.to_string(),
        differences,
    })
}

fn reservation_differences(
    call: &PodCall,
    reservation: Option<&Reservation>,
    remembered: &[IpAddr],
) -> Vec<String> {
    let Some(reservation) = reservation.filter(|it| it.key == call.key) else {
        return vec!["its reservation is gone".into()];
    };
    // Addresses beyond those came from later plugins.
    let reserved = reservation.addresses.iter();
    reserved
        .filter(|address| !remembered.contains(address))
        .map(|address| format!("address {address} is reserved but not in prevResult"))
        .collect()
}
