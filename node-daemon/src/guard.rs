//! The guard: what makes the node's kernel drop a pod packet rather than send it in clear.
//!
//! Four layers (an nftables table, routes with "unreachable" behind them, policy rules, a table
//! for untranslated Service packets) follow from one [`plan::GuardPlan`]. They are built in the
//! order nft, tun, routes and rules, forwarding: nothing is forwarded before the rest stands. They
//! outlive the daemon; only [`uninstall`] takes them away. A repair adds what is missing and
//! removes nothing. The pure parts are the submodules; [`crate::watchdog`] calls [`Guard::repair`].

pub(crate) mod conntrack;
pub(crate) mod counters;
mod forward_accepts;
mod forward_chain;
pub(crate) mod leak_filter;
mod node_settings;
pub(crate) mod plan;
pub(crate) mod pod_links;
pub(crate) mod preflight;
pub(crate) mod routes;
mod ruleset;
mod settings;
mod tables;
mod uninstall;
mod way;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use cni_protocol::contract::POD_LINK_GROUP;
use thiserror::Error;

use crate::io::guard::ToolError;
use crate::io::netlink::NetlinkError;
use crate::io::netlink::netfilter::Netfilter;
use crate::io::netlink::route::{Link, RouteNetlink};
use crate::io::sysctl::{self, SysctlError};
use counters::{DropCounts, Part};
use plan::GuardPlan;
use pod_links::{Mend, Observed};
use preflight::PreflightError;
use settings::Journal;
use tables::Tables;

pub(crate) use preflight::preflight;
pub(crate) use uninstall::uninstall;

/// The record of the kernel's settings from before, in the state directory.
pub(crate) const KERNEL_SETTINGS_FILE: &str = "kernel-settings.json";

/// Why the guard could not be built, repaired or removed.
#[derive(Debug, Error)]
pub(crate) enum GuardError {
    /// It cannot stand here.
    #[error("prepare the guard")]
    Preflight(#[from] PreflightError),
    /// The rules.
    #[error("build the guard's rules")]
    Tool(#[from] ToolError),
    /// Links, routes, rules.
    #[error("build the guard's routes")]
    Netlink(#[from] NetlinkError),
    /// Settings.
    #[error("build the guard's settings")]
    Sysctl(#[from] SysctlError),
    /// The rules were loaded, and a table of them could not be seen.
    #[error(
        "see table {0} after it was loaded: does another program delete it, or is `nft` stopped?"
    )]
    TableNotSeen(&'static str),
    /// No tun device.
    #[error(
        "set up {0}: the tun device is not there, the daemon opens it before the guard's routes"
    )]
    NoTun(String),
    /// The journal of settings.
    #[error(
        "keep {path}, the record of the node's earlier settings: is the state directory writable?"
    )]
    Journal {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What a look at the guard found.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// What was gone and has been put back, once for each thing.
    pub(crate) repaired: Vec<Part>,
    /// What could not be put back.
    pub(crate) failures: Vec<GuardError>,
    /// Whether the tun device is there. Without it the routes wait for the daemon to open it anew.
    pub(crate) tun: TunState,
}

/// Whether the tun device exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TunState {
    /// It does.
    #[default]
    Present,
    /// Somebody deleted it.
    Gone,
}

/// The guard of this node, installed.
pub(crate) struct Guard {
    plan: GuardPlan,
    tables: Tables,
    journal: Journal,
    journal_path: PathBuf,
    route: RouteNetlink,
    netfilter: Netfilter,
    forward_chain_seen: Option<u32>,
    pods: pod_links::PodLinks,
    /// An update failed on the way, and what its plan does without may still be there.
    unfinished: bool,
    /// Connections may have been tracked while the tables were gone, and still be.
    strays: bool,
}

impl Guard {
    /// Builds the guard, or what is missing of it, and retires what an earlier daemon's plan left.
    /// The tun device must exist. `journal_path` is where the node's earlier settings are kept for
    /// [`uninstall`].
    ///
    /// # Errors
    /// The first thing that cannot be built. Forwarding is then as it was.
    pub(crate) fn install(plan: GuardPlan, journal_path: &Path) -> Result<Self, GuardError> {
        preflight(&plan)?;
        let mut guard = Self {
            plan,
            tables: Tables::default(),
            journal: node_settings::load_journal(journal_path)?,
            journal_path: journal_path.to_owned(),
            route: RouteNetlink::open()?,
            netfilter: Netfilter::open()?,
            forward_chain_seen: None,
            pods: pod_links::PodLinks::default(),
            unfinished: false,
            strays: false,
        };
        let inspection = guard.repair();
        if let Some(failure) = inspection.failures.into_iter().next() {
            return Err(failure);
        }
        if inspection.tun == TunState::Gone {
            return Err(GuardError::NoTun(guard.plan.tun));
        }
        way::retire(&mut guard.route, &guard.plan)?;
        guard.repair_forward_chain();
        Ok(guard)
    }

    /// Goes over to another plan: the rules in one transaction, then what is new of the routes,
    /// then what is no longer wanted.
    ///
    /// # Errors
    /// The first thing that could not be changed. The next [`Guard::repair`] tries again; only the next
    /// update removes what is no longer wanted.
    pub(crate) fn update(&mut self, plan: GuardPlan) -> Result<(), GuardError> {
        plan.check().map_err(PreflightError::Plan)?;
        if plan == self.plan && !self.unfinished {
            return Ok(());
        }
        self.plan = plan;
        self.unfinished = true;
        if let Some(failure) = self.repair().failures.into_iter().next() {
            return Err(failure);
        }
        way::retire(&mut self.route, &self.plan)?;
        self.unfinished = false;
        Ok(())
    }

    /// Looks at every part and puts back what is gone.
    pub(crate) fn repair(&mut self) -> Inspection {
        let mut inspection = Inspection::default();
        self.repair_tables(&mut inspection);
        let outcome = way::restore(&mut self.route, &self.plan, &mut inspection.repaired);
        match outcome {
            Ok(tun) => inspection.tun = tun,
            Err(failure) => inspection.failures.push(failure),
        }
        if inspection.failures.is_empty() && inspection.tun == TunState::Present {
            let outcome = self.turn_on_forwarding(&mut inspection.repaired);
            inspection.failures.extend(outcome.err());
        }
        inspection
    }

    /// The tables, and after a repair the connections that were tracked without them.
    fn repair_tables(&mut self, inspection: &mut Inspection) {
        let before = inspection.repaired.len();
        let restored =
            self.tables
                .restore(&self.plan, &mut self.netfilter, &mut inspection.repaired);
        self.strays |= inspection.repaired.len() > before;
        let restored = restored.and_then(|()| {
            if self.strays {
                self.delete_stray_connections()?;
            }
            self.strays = false;
            Ok(())
        });
        inspection.failures.extend(restored.err());
    }

    fn delete_stray_connections(&mut self) -> Result<(), GuardError> {
        let local: BTreeSet<_> = self
            .route
            .addresses()?
            .into_iter()
            .map(|(_, address)| address)
            .collect();
        for tracked in self.netfilter.connections()? {
            if conntrack::is_stray(&tracked.connection, &self.plan, &local) {
                self.netfilter.delete_connection(&tracked)?;
            }
        }
        Ok(())
    }

    /// Puts back the accepts in another program's FORWARD chain, if the ruleset changed since the
    /// last call. Apart from [`Guard::repair`] because it takes several programs' runs and stops
    /// no leak.
    pub(crate) fn repair_forward_chain(&mut self) -> Inspection {
        let mut inspection = Inspection::default();
        let generation = self.netfilter.ruleset_generation().ok();
        if generation.is_none() || generation != self.forward_chain_seen {
            forward_accepts::restore(&self.plan.tun, &mut inspection.repaired);
            self.forward_chain_seen = self.netfilter.ruleset_generation().ok();
        }
        inspection
    }

    /// Puts back what another program changed on pods' links. No part of the guard: nothing leaks
    /// without it.
    ///
    /// # Errors
    /// What could not be put back; the next call tries again.
    pub(crate) fn repair_pod_links(&mut self) -> Result<Vec<Part>, NetlinkError> {
        let observed = Observed {
            links: self.route.links()?,
            routes: self.route.pod_routes()?,
            neighbours: self.route.permanent_neighbours()?,
        };
        let mut repaired = Vec::new();
        for mend in self.pods.compare(&observed) {
            match mend {
                Mend::Raise(link, mtu) => self.route.raise_link(link, mtu)?,
                Mend::Neighbour(neighbour) => self.route.add_neighbour(&neighbour)?,
                Mend::Route(link, pod) => self.route.add_pod_route(link, pod)?,
            }
            repaired.push(Part::PodLink);
        }
        Ok(repaired)
    }

    /// Puts back the settings of pods' links; apart because there are many.
    pub(crate) fn repair_pod_settings(&mut self) -> Vec<Part> {
        let mut repaired = Vec::new();
        for setting in self.pods.settings() {
            // A setting that is not there is of a link that has just gone, or of no IPv6.
            let found = sysctl::read(&setting.key);
            if found.is_ok_and(|found| found != setting.value)
                && sysctl::write(&setting.key, &setting.value).is_ok()
            {
                repaired.push(Part::PodLink);
            }
        }
        repaired
    }

    fn turn_on_forwarding(&mut self, repaired: &mut Vec<Part>) -> Result<(), GuardError> {
        let uplinks: Vec<_> = self
            .underlay_links()?
            .into_iter()
            .map(|link| link.name)
            .collect();
        node_settings::turn_on_forwarding(
            &self.plan,
            &uplinks,
            &mut self.journal,
            &self.journal_path,
            repaired,
        )
    }

    /// Lists the interfaces by which packets leave the node: all but `lo`, the tun and pods' links.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub(crate) fn underlay_links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let tun = &self.plan.tun;
        let links = self.route.links()?;
        Ok(links
            .into_iter()
            .filter(|link| link.name != "lo" && link.name != *tun && link.group != POD_LINK_GROUP)
            .collect())
    }

    /// The plan it stands by.
    pub(crate) fn plan(&self) -> &GuardPlan {
        &self.plan
    }

    /// Packets dropped since the daemon started, by reason.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(crate) fn dropped(&mut self) -> Result<DropCounts, GuardError> {
        self.tables.dropped(&mut self.netfilter)
    }
}

#[cfg(test)]
pub(crate) mod sample;
