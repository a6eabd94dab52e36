//! What the control task acts on: lanes, guard, store, `node.json`, the snapshot.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use cni_protocol::contract::{NODE_STATE_FILE, POD_LINK_GROUP};
use cni_protocol::node_state::NodeState;
use kept_files::Loaded;
use node_identity::{NodeUid, PodCidr, PodRanges};
use service_log::chain;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{debug, error, info, warn};
use tunnel_core::control::Transmit;
use tunnel_core::counters::Traffic;
use tunnel_core::drop_reason::DropReason;
use tunnel_core::plane::{LaneCommand, LaneIndex, PeerIndex};

use super::Node;
use crate::clock::Now;
use crate::enrol::Ask;
use crate::guard::plan::GuardPlan;
use crate::installer::Supervised;
use crate::io::udp::LaneSocket;
use crate::lane::LaneHandle;
use crate::store_task::{People, StoreCommand};
use crate::telemetry::{Shown, Telemetry};
use crate::watchdog::Watch;

/// The file of nodes lately spoken with, in the state directory.
pub(crate) const LATELY_FILE: &str = "lately.json";
/// Most bytes of it: forty a node, and twice the largest cluster planned for.
const LATELY_LIMIT: u64 = 1 << 20;

/// The control task's hands.
pub(crate) struct Outputs {
    /// The lanes, by number.
    pub(crate) lanes: Vec<LaneHandle>,
    /// The first lane's socket, which control messages leave by.
    pub(crate) socket: Arc<LaneSocket>,
    /// The guard and its watchdog.
    pub(crate) guard: Arc<Watch>,
    /// The plan that the guard stands by.
    pub(crate) plan: GuardPlan,
    /// The store task.
    pub(crate) store: Sender<StoreCommand>,
    /// What people are shown in the store.
    pub(crate) people: People,
    /// The snapshot.
    pub(crate) shown: Shown,
    /// What installs Sotto on the node, where the daemon is to do it.
    pub(crate) installer: Option<Supervised>,
}

impl Outputs {
    /// Asks the store. What does not fit the queue is asked again later.
    pub(super) fn ask(&self, ask: Option<Ask>) {
        if let Some(ask) = ask {
            self.tell_store(StoreCommand::Ask(ask));
        }
    }

    /// Publishes envelopes. They are compared with what the store shows, so a lost command comes again.
    pub(super) fn publish(&self, envelopes: Vec<Vec<u8>>) {
        self.tell_store(StoreCommand::Publish(envelopes));
    }

    fn tell_store(&self, command: StoreCommand) {
        match self.store.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => debug!("Store is busy, it is asked again later"),
            Err(TrySendError::Closed(_)) => {
                debug!("Store task has ended, it is asked again after the next set-up");
            }
        }
    }

    /// Tells a lane.
    pub(super) fn command(&self, lane: LaneIndex, command: LaneCommand) {
        if let Some(lane) = self.lanes.get(usize::from(lane.0)) {
            lane.command(command);
        }
    }

    /// Sends a control message; the agreement repeats what is lost.
    pub(super) fn transmit(&self, transmit: &Transmit) {
        if let Err(error) =
            self.socket
                .send_datagram(transmit.source, transmit.destination, &transmit.payload)
        {
            debug!(%error, destination = %transmit.destination, "Control message could not be sent");
        }
    }

    /// The traffic with each peer, over all lanes.
    pub(super) fn traffic(&self) -> BTreeMap<PeerIndex, Traffic> {
        super::show::add_up(self.lanes.iter().map(|lane| lane.counters().sample()))
    }

    /// Packets dropped for one reason, over all lanes.
    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.lanes
            .iter()
            .map(|lane| lane.counters().drops(reason))
            .sum()
    }

    /// Packets dropped by reason, over all lanes.
    pub(super) fn drops(&self) -> BTreeMap<&'static str, u64> {
        DropReason::ALL
            .iter()
            .map(|reason| (reason.label(), self.dropped(*reason)))
            .collect()
    }

    /// Replaces the snapshot.
    pub(super) fn show(&self, telemetry: Telemetry) {
        self.shown.show(telemetry);
    }
}

impl Node {
    /// Brings the guard in line with this node's ranges and the addresses of all nodes; then tells
    /// the plugin.
    pub(super) fn update_guard(&mut self) {
        let own = self.credentials.pod_ranges();
        let mut nodes = self.config.endpoints.clone();
        nodes.extend(&self.endpoints);
        nodes.sort_unstable();
        nodes.dedup();
        let plan = GuardPlan {
            tun_addresses: tun_addresses(&own),
            own,
            nodes,
            ..self.outputs.plan.clone()
        };
        if plan == self.outputs.plan {
            return;
        }
        match self.outputs.guard.update(plan.clone()) {
            Ok(()) => self.outputs.plan = plan,
            Err(error) => error!(
                error = chain(&error),
                "Guard cannot be changed, it is tried again"
            ),
        }
    }

    /// Writes `node.json` once guard and tun stand and the node's range is known.
    pub(super) fn update_node_state(&mut self) {
        let written = self.config.runtime_directory.join(NODE_STATE_FILE);
        if !written.is_file() {
            // Never written, or somebody removed it.
            self.node_state = None;
        }
        let plan = &self.outputs.plan;
        if plan.own.iter().next().is_none() || self.credentials.generations().is_empty() {
            return;
        }
        let networks = |ranges: &PodRanges| ranges.iter().map(PodCidr::to_network).collect();
        let state = NodeState {
            pod_ranges: networks(&plan.own),
            cluster_pod_ranges: networks(&plan.cluster),
            reserved: plan.tun_addresses.clone(),
            mtu: plan.mtu,
            boot_id: self.boot.clone(),
            link_group: POD_LINK_GROUP,
        };
        if self.node_state.as_ref() == Some(&state) {
            return;
        }
        match write_node_state(&self.config.runtime_directory, &state) {
            Ok(()) => {
                info!(pods = %plan.own, mtu = plan.mtu, "Node is ready for pods");
                self.node_state = Some(state);
            }
            Err(error) => error!(
                error = format!("{error:#}"),
                "Node cannot be made ready for pods, it is tried again"
            ),
        }
    }

    /// Keeps the list of nodes to greet after a restart.
    pub(super) fn remember_lately(&mut self, now: Now) {
        let mut lately: Vec<NodeUid> = self.control.lately_spoken_with(now.moment).collect();
        lately.sort_unstable();
        if lately == self.lately {
            return;
        }
        let path = self.config.state_directory.join(LATELY_FILE);
        let written = serde_json::to_vec(&lately)
            .context("write down peers")
            .and_then(|bytes| Ok(kept_files::write(&path, &bytes, 0o600)?));
        if let Err(error) = written {
            warn!(
                error = format!("{error:#}"),
                "Peers lately spoken with cannot be remembered"
            );
        }
        self.lately = lately;
    }
}

/// The nodes that an earlier daemon spoke with; only a hint, so a damaged list is an empty one.
pub(super) fn read_lately(state_directory: &Path) -> Vec<NodeUid> {
    let path: PathBuf = state_directory.join(LATELY_FILE);
    let parse = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| error.to_string());
    let (fault, aside) = match kept_files::load(&path, LATELY_LIMIT, parse) {
        Ok(Loaded::Absent) => return Vec::new(),
        Ok(Loaded::Whole(lately)) => return lately,
        Ok(Loaded::Refused { fault, aside }) => (fault, Some(aside)),
        Err(error) => (chain(&error), None),
    };
    let aside = aside.map(|aside| aside.display().to_string());
    warn!(file = %path.display(), fault, aside, "List of peers lately spoken with refused, none is greeted first");
    Vec::new()
}

fn write_node_state(runtime_directory: &Path, state: &NodeState) -> Result<()> {
    let text = state.to_json()?;
    let path = runtime_directory.join(NODE_STATE_FILE);
    if path.is_dir() {
        warn!(file = %path.display(), "Folder in place of the node's state is set aside");
        kept_files::clear(&path)?;
    }
    Ok(kept_files::write(&path, text.as_bytes(), 0o644)?)
}

/// The tun's addresses: the second address of the first range of each family. The first address is the
/// network's own in IPv4 and every router's in IPv6 (RFC 4291 section 2.6.1).
pub(crate) fn tun_addresses(own: &PodRanges) -> Vec<IpAddr> {
    let first = |range: Option<&PodCidr>| range.map(second_address);
    [first(own.ipv4().next()), first(own.ipv6().next())]
        .into_iter()
        .flatten()
        .collect()
}

fn second_address(range: &PodCidr) -> IpAddr {
    let second: IpAddr = match range.first() {
        IpAddr::V4(first) => u32::from(first)
            .checked_add(1)
            .map_or(first, Into::into)
            .into(),
        IpAddr::V6(first) => u128::from(first)
            .checked_add(1)
            .map_or(first, Into::into)
            .into(),
    };
    if range.contains(second) {
        second
    } else {
        range.first()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cni_protocol::node_state::NodeState;
    use node_identity::PodRanges;

    use super::{LATELY_FILE, NODE_STATE_FILE, read_lately, tun_addresses, write_node_state};

    fn folder(path: &Path) {
        std::fs::create_dir_all(path.join("full")).unwrap();
    }

    #[test]
    fn a_folder_in_place_of_node_json_keeps_no_pod_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NODE_STATE_FILE);
        let text = r#"{"version":1,"podRanges":["10.244.1.0/24"],"clusterPodRanges":["10.244.0.0/16"],
            "reserved":[],"mtu":1420,"bootId":"boot-1","linkGroup":21331}"#;
        let state = NodeState::from_json(text.as_bytes()).unwrap();
        folder(&path);

        write_node_state(directory.path(), &state).unwrap();

        assert!(path.is_file() && kept_files::aside(&path).join("full").exists());
    }

    #[test]
    fn a_folder_in_place_of_the_peers_lately_spoken_with_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LATELY_FILE);
        folder(&path);

        assert!(read_lately(directory.path()).is_empty());

        assert!(!path.exists() && kept_files::aside(&path).exists());
    }

    #[test]
    fn the_tun_has_one_address_of_each_family() {
        let own = |texts: &[&str]| {
            PodRanges::try_new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
        };
        let addresses = |texts: &[&str]| {
            tun_addresses(&own(texts))
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };

        assert_eq!(
            addresses(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
            ["10.244.1.1", "fd00:10:244:1::1"]
        );
        assert_eq!(
            addresses(&["10.244.3.0/24", "10.244.1.0/24"]),
            ["10.244.1.1"]
        );
        assert_eq!(addresses(&["10.244.1.7/32"]), ["10.244.1.7"]);
        assert!(addresses(&[]).is_empty());
    }
}
