//! ADD: reserve addresses, make the link, say what was made.
//!
//! What fails half-way is undone newest first and the first error is reported. A plugin that is
//! killed leaves its reservation behind, and perhaps the link: the DEL that follows removes both, and
//! without one the next ADD frees the reservation once the link went with its namespace.

use std::net::IpAddr;

use cni_protocol::config::NetworkConfig;
use cni_protocol::environment::PodCall;
use cni_protocol::node_state::NodeState;
use cni_protocol::previous::PreviousResult;
use cni_protocol::result::{AddResult, AssignedAddress, LinkEnd};
use pod_pool::{Pool, Wanted};

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::guard;
use crate::ipam::AddressPlugin;
use crate::link::{self, LinkError, LinkNames, PodLink};
use crate::netlink::Rtnl;
use crate::netns::PodNetns;
use crate::node;
use crate::watchdog::Watchdog;

/// Attaches a pod.
pub(crate) fn run(
    call: &PodCall,
    config: &NetworkConfig,
    deadline: Deadline,
    watchdog: &Watchdog,
) -> Result<AddResult, Failure> {
    let previous = config.made_before()?;
    let plugin = config.address_plugin()?;
    let node = node::load(config)?;
    guard::require(deadline)?;
    let netns = PodNetns::open(&call.netns)?;
    let names = LinkNames::of(&call.key);
    let attempt = Attempt {
        call,
        config,
        node: &node,
        netns: &netns,
        names: &names,
        pool: Pool::new(&config.runtime_directory, &node.boot_id),
        deadline,
    };
    let addresses = match plugin {
        None => attempt.attach(None).map_err(|it| *it.error)?,
        Some(name) => attempt.attach_with(&AddressPlugin::new(name, config, watchdog))?,
    };
    Ok(attempt.result(config, &addresses, previous))
}

struct Attempt<'a> {
    call: &'a PodCall,
    config: &'a NetworkConfig,
    node: &'a NodeState,
    netns: &'a PodNetns,
    names: &'a LinkNames,
    pool: Pool,
    deadline: Deadline,
}

/// An attempt that failed.
struct Failed {
    error: Box<Failure>,
    /// Whether its addresses are still on a link; then a DEL has to free them.
    addresses_live: bool,
}

impl<E: Into<Failure>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self {
            error: Box::new(error.into()),
            addresses_live: false,
        }
    }
}

impl Attempt<'_> {
    /// Attaches with the addresses that another plugin assigns.
    fn attach_with(&self, plugin: &AddressPlugin<'_>) -> Result<Vec<IpAddr>, Failure> {
        // A second ADD fails there, and the DEL after it would free what the first one got.
        self.pool.refuse_second(&self.call.key, &self.names.node)?;
        self.refuse_link()?;
        let attached = match plugin.add(self.deadline) {
            Ok(assigned) => self.attach(Some(&assigned)),
            Err(error) => Err(error.into()),
        };
        attached.map_err(
            |Failed {
                 error,
                 addresses_live,
             }| {
                if !addresses_live && let Err(second) = plugin.del(Deadline::for_undo()) {
                    warn(
                        self.call,
                        &format!("could not give the addresses back: {second}"),
                    );
                }
                *error
            },
        )
    }

    fn refuse_link(&self) -> Result<(), LinkError> {
        if link::exists(&self.names.node) {
            return Err(LinkError::NodeEndExists(self.names.node.clone()));
        }
        Ok(())
    }

    /// Reserves and makes the link, or nothing.
    fn attach(&self, assigned: Option<&[IpAddr]>) -> Result<Vec<IpAddr>, Failed> {
        let mut rtnl = Rtnl::open(self.deadline)?;
        let wanted = Wanted {
            key: &self.call.key,
            link: &self.names.node,
            netns: self.netns.identity(),
            node: self.node,
            assigned,
        };
        let held = self
            .pool
            .reserve(&wanted, &mut rtnl, self.deadline.instant())?;
        let addresses = held.reservation().map(|it| it.addresses.clone());
        let addresses = addresses.unwrap_or_default();
        let wired = self
            .link(&addresses)
            .wire(&mut rtnl, self.netns, self.deadline);
        let (first, left_behind) = match wired {
            Ok(()) => match self.is_still_served() {
                Ok(()) => return Ok(addresses),
                Err(gone) => (gone, link::delete(&mut rtnl, &self.names.node).err()),
            },
            Err(failed) => (failed.first.into(), failed.left_behind),
        };
        let addresses_live = left_behind.is_some();
        match left_behind {
            None => {
                if let Err(error) = held.cancel() {
                    warn(
                        self.call,
                        &format!("could not undo the reservation: {error}"),
                    );
                }
            }
            // The link is still there, so its addresses stay reserved until a DEL removes both.
            Some(error) => {
                let link = &self.names.node;
                warn(self.call, &format!("could not undo link {link}: {error}"));
            }
        }
        Err(Failed {
            error: Box::new(first),
            addresses_live,
        })
    }

    /// Whoever uninstalls takes `node.json` away and then looks for links: one of the two sees the other, and no
    /// pod is left without a guard.
    fn is_still_served(&self) -> Result<(), Failure> {
        node::load(self.config)?;
        Ok(guard::require(self.deadline)?)
    }

    fn link<'b>(&'b self, addresses: &'b [IpAddr]) -> PodLink<'b> {
        PodLink {
            names: self.names,
            interface: &self.call.key.interface,
            addresses,
            mtu: self.node.mtu,
            group: self.node.link_group,
        }
    }

    fn result(
        &self,
        config: &NetworkConfig,
        addresses: &[IpAddr],
        previous: Option<PreviousResult>,
    ) -> AddResult {
        let assigned = |address: &IpAddr| AssignedAddress {
            address: *address,
            gateway: link::gateway(*address),
        };
        AddResult {
            host: LinkEnd {
                name: self.names.node.clone(),
                mac: self.names.node_mac,
            },
            pod: LinkEnd {
                name: self.call.key.interface.to_string(),
                mac: self.names.pod_mac,
            },
            sandbox: self.call.netns.to_string_lossy().into_owned(),
            mtu: self.node.mtu,
            addresses: addresses.iter().map(assigned).collect(),
            dns: config.dns.clone(),
            previous,
        }
    }
}

fn warn(call: &PodCall, text: &str) {
    let pod = call.pod.as_deref().unwrap_or("unnamed");
    eprintln!("sotto-cni: WARN {} (pod {pod}): {text}", call.key);
}
