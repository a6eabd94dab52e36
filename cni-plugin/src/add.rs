//! ADD: reserve addresses, make the link, say what was made.
//!
//! What fails half-way is undone newest first and the first error is reported. A plugin that is
//! killed leaves its reservation behind, and perhaps the link: the DEL that follows removes both, and
//! without one the next ADD frees the reservation once the link went with its namespace.

use cni_protocol::config::NetworkConfig;
use cni_protocol::environment::PodCall;
use cni_protocol::result::{AddResult, AssignedAddress, LinkEnd};
use pod_pool::{Pool, Wanted};

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::guard;
use crate::link::{self, LinkNames, PodLink};
use crate::netlink::Rtnl;
use crate::netns::PodNetns;
use crate::node;

/// Attaches a pod.
pub(crate) fn run(
    call: &PodCall,
    config: &NetworkConfig,
    deadline: Deadline,
) -> Result<AddResult, Failure> {
    config.check_for_add()?;
    let node = node::load(config)?;
    guard::require(deadline)?;
    let netns = PodNetns::open(&call.netns)?;
    let names = LinkNames::of(&call.key);
    let mut rtnl = Rtnl::open(deadline)?;
    let pool = Pool::new(&config.runtime_directory, &node.boot_id);
    let wanted = Wanted {
        key: &call.key,
        link: &names.node,
        netns: netns.identity(),
        node: &node,
    };
    let held = pool.reserve(&wanted, &mut rtnl, deadline.instant())?;
    let addresses = held.reservation().map(|it| it.addresses.clone());
    let addresses = addresses.unwrap_or_default();
    let link = PodLink {
        names: &names,
        interface: &call.key.interface,
        addresses: &addresses,
        mtu: node.mtu,
        group: node.link_group,
    };
    let Err(failed) = link.wire(&mut rtnl, &netns, deadline) else {
        return Ok(result(call, config, &link));
    };
    match failed.left_behind {
        None => {
            if let Err(error) = held.cancel() {
                warn(call, &format!("could not undo the reservation: {error}"));
            }
        }
        // The link is still there, so its addresses stay reserved until a DEL removes both.
        Some(error) => {
            let link = &names.node;
            warn(call, &format!("could not undo link {link}: {error}"));
        }
    }
    Err(failed.first.into())
}

fn warn(call: &PodCall, text: &str) {
    let pod = call.pod.as_deref().unwrap_or("unnamed");
    eprintln!("sotto-cni: WARN {} (pod {pod}): {text}", call.key);
}

fn result(call: &PodCall, config: &NetworkConfig, link: &PodLink<'_>) -> AddResult {
    let assigned = |address: &std::net::IpAddr| AssignedAddress {
        address: *address,
        gateway: link::gateway(*address),
    };
    AddResult {
        host: LinkEnd {
            name: link.names.node.clone(),
            mac: link.names.node_mac,
        },
        pod: LinkEnd {
            name: call.key.interface.to_string(),
            mac: link.names.pod_mac,
        },
        sandbox: call.netns.to_string_lossy().into_owned(),
        mtu: link.mtu,
        addresses: link.addresses.iter().map(assigned).collect(),
        dns: config.dns.clone(),
    }
}
