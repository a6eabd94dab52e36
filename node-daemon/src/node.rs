//! The control task's state: the pure cores (papers, peers, agreement) and what carries out what they
//! say (disk, store, guard, lanes).
//!
//! `app.rs` feeds it: store news, lane events, time. Each `handle_*` hands its news to a core and then
//! carries out everything that the cores want, until they want nothing more.

mod carry;
mod first_use;
mod log;
mod notices;
mod outputs;
mod pace;
mod show;
mod suspicion;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use cluster_store::RequestState;
use cni_protocol::node_state::NodeState;
use node_identity::{NodeName, NodeUid};
use node_status::RootPin;
use tracing::info;
use tunnel_core::control::{AesInstructions, Control, Settings};
use tunnel_core::counters::Traffic;
use tunnel_core::plane::{LaneEvent, PeerIndex};

use crate::clock::{self, Now};
use crate::config::{AesGcm, Config};
use crate::credentials::{Credentials, Renewal};
use crate::installer::Phase;
use crate::io::random;
use crate::lane::LaneHandle;
use crate::peers::disk::PeersOnDisk;
use crate::peers::{Learned, Peers};
use crate::preflight::Machine;
use crate::store_task::StoreNews;
use crate::watchdog::{GuardState, Watch};

use carry::Lasting;
use notices::{Kind, Told};
use pace::Pace;
use suspicion::Suspicions;

pub(crate) use outputs::{LATELY_FILE, Outputs, tun_addresses};

/// The control side of this node.
pub(crate) struct Node {
    config: Config,
    machine: Machine,
    boot: String,
    credentials: Credentials,
    peers: Peers,
    disk: PeersOnDisk,
    /// Learned and not yet on disk: of it only revocations are acted on.
    learned: Learned,
    unwritten: Lasting,
    control: Control,
    outputs: Outputs,
    /// What the watchdog said last.
    guard_state: GuardState,
    node_state: Option<NodeState>,
    /// The admitted peers' addresses.
    endpoints: BTreeSet<IpAddr>,
    suspicions: Suspicions,
    told: Told,
    pace: Pace,
    root_pin: RootPin,
    /// Why no root is trusted on first use although the store shows some.
    no_first_use: Option<String>,
    lately: Vec<NodeUid>,
    names: BTreeMap<PeerIndex, NodeName>,
    traffic: BTreeMap<PeerIndex, Traffic>,
    counts: Counts,
    started: Now,
}

/// What was counted since the start.
#[derive(Debug, Default)]
struct Counts {
    store_failures: u64,
    transports_agreed: u64,
    agreements_failed: u64,
    unreadable_entries: u64,
}

/// What a node is made of.
pub(crate) struct Parts {
    /// The configuration.
    pub(crate) config: Config,
    /// What preflight found.
    pub(crate) machine: Machine,
    /// This boot's id.
    pub(crate) boot: String,
    /// This node's papers.
    pub(crate) credentials: Credentials,
    /// The verified set.
    pub(crate) peers: Peers,
    /// Why its root is trusted.
    pub(crate) root_pin: RootPin,
    /// Where it is kept.
    pub(crate) disk: PeersOnDisk,
    /// Guard, lanes, store.
    pub(crate) outputs: Outputs,
}

impl Node {
    /// Takes up where an earlier daemon left: peers from disk, generations of this boot.
    ///
    /// # Errors
    /// When the state directory cannot be used.
    pub(crate) async fn start(parts: Parts) -> Result<Self> {
        let now = clock::now();
        let aes = if aes_instructions() && parts.config.aes_gcm == AesGcm::Auto {
            AesInstructions::Present
        } else {
            AesInstructions::Absent
        };
        let mut settings = Settings::ordinary(parts.config.lanes, aes);
        settings.services = parts
            .config
            .service_ranges
            .iter()
            .map(|range| range.network()..=range.broadcast())
            .collect();
        let control = Control::new(settings, Box::new(random::system()), now.moment);
        let mut node = Self {
            control,
            config: parts.config,
            machine: parts.machine,
            boot: parts.boot,
            credentials: parts.credentials,
            peers: parts.peers,
            disk: parts.disk,
            learned: Learned::default(),
            unwritten: Lasting::default(),
            outputs: parts.outputs,
            guard_state: GuardState::Stands,
            node_state: None,
            endpoints: BTreeSet::new(),
            suspicions: Suspicions::default(),
            told: Told::default(),
            pace: Pace::default(),
            root_pin: parts.root_pin,
            no_first_use: None,
            lately: Vec::new(),
            names: BTreeMap::new(),
            traffic: BTreeMap::new(),
            counts: Counts::default(),
            started: now,
        };
        node.take_up(now).await?;
        Ok(node)
    }

    async fn take_up(&mut self, now: Now) -> Result<()> {
        self.tell_time(now);
        let kept = self.disk.published().await?;
        self.learned = self.peers.recall(&kept, now.wall);
        self.settle(now).await;
        let lately = outputs::read_lately(&self.config.state_directory);
        self.control.handle_restart(&lately, now.moment);
        self.lately = lately;
        info!(
            peers = self.names.len(),
            generations = self.credentials.generations().len(),
            "State of the last run taken up"
        );
        Ok(())
    }

    /// Takes what the store task tells.
    pub(crate) async fn handle_store(&mut self, news: StoreNews) {
        let now = clock::now();
        match news {
            StoreNews::Published(published) => {
                self.trust_on_first_use(&published.roots, now);
                self.counts.unreadable_entries = published.refused.len() as u64;
                let learned = self.peers.absorb(&published, now.wall);
                self.learned.merge(learned);
                let done = self
                    .credentials
                    .handle_published(&published, &self.peers, now);
                self.outputs.ask(done);
                for refused in self.peers.take_told() {
                    self.tell(Kind::PeerRefused, &refused, now.moment);
                }
            }
            StoreNews::Submitted(request, id) => {
                self.credentials.enrolment().handle_submitted(&request, id)
            }
            StoreNews::State(id, state) => {
                self.credentials
                    .enrolment()
                    .handle_state(id, state, now.moment);
                if state == Some(RequestState::Refused) {
                    let message = "the controller refused a certificate, its log says why";
                    self.tell(Kind::CertificateRefused, message, now.moment);
                }
            }
            StoreNews::EnvelopesPublished(envelopes) => {
                self.credentials.handle_envelopes_published(envelopes)
            }
            StoreNews::Failed => self.counts.store_failures += 1,
        }
        self.settle(now).await;
    }

    /// Takes what a lane says.
    pub(crate) fn handle_lane(&mut self, event: LaneEvent) {
        let now = clock::now();
        self.tell_time(now);
        self.control.handle_lane_event(event, now.moment);
        self.carry_out(now.moment);
    }

    /// Takes what the watchdog says; it has logged it already.
    pub(crate) fn handle_guard(&mut self, state: GuardState) {
        self.guard_state = state;
    }

    /// The guard, for whoever asks for its counters.
    pub(crate) fn guard(&self) -> Arc<Watch> {
        Arc::clone(&self.outputs.guard)
    }

    /// Erases every key: memory that was copied may seal with them elsewhere too.
    pub(crate) fn handle_memory_copied(&mut self) {
        let now = clock::now();
        self.tell_time(now);
        self.control.handle_memory_copied(now.moment);
        self.carry_out(now.moment);
    }

    /// Whether the tun device was deleted or a lane ended: only a new start helps.
    pub(crate) fn has_lost_its_path(&self) -> bool {
        self.guard_state == GuardState::TunGone
            || !self.outputs.lanes.iter().all(LaneHandle::is_running)
    }

    /// Lets time pass for the agreement and for requests to the store.
    pub(crate) fn handle_timeout(&mut self) {
        let now = clock::now();
        self.tell_time(now);
        self.control.handle_timeout(now.moment);
        self.carry_out(now.moment);
        self.ask_and_publish(now);
    }

    /// What is due each second: counters, dates, renewals, the snapshot.
    pub(crate) async fn handle_second(&mut self) {
        let now = clock::now();
        self.tell_time(now);
        self.traffic = self.outputs.traffic();
        let traffic: Vec<_> = self
            .traffic
            .iter()
            .map(|(peer, traffic)| (*peer, *traffic))
            .collect();
        self.control.handle_traffic(&traffic, now.moment);
        self.control.handle_timeout(now.moment);
        let learned = self.peers.expire(now.wall);
        self.learned.merge(learned);
        let renewal = self.credentials.renewal();
        self.credentials.handle_time(&self.peers, now);
        if self.credentials.renewal() != renewal && renewal == Renewal::InTime {
            let message = "the certificate is past half of its life and no other has come: does the controller run?";
            self.tell(Kind::CertificateExpiring, message, now.moment);
        }
        self.settle(now).await;
        self.remember_lately(now);
        self.look_at_guard(now);
        self.look_at_installer(now);
        self.suspicions.handle_overdue(self.peers.overdue(now.wall));
        self.suspicions
            .handle_drops(|reason| self.outputs.dropped(reason), now.moment);
        self.show(now);
    }

    fn look_at_guard(&mut self, now: Now) {
        let leaks = self.outputs.guard.plaintext_leaks();
        let leaks = self.suspicions.handle_leaks(leaks);
        if leaks > 0 {
            let message = format!("{leaks} pod packets left this node in clear");
            self.tell(Kind::PlaintextLeak, &message, now.moment);
        }
        let repairs = self.outputs.guard.repairs();
        let repaired = self.suspicions.handle_repairs(repairs);
        if !repaired.is_empty() {
            let message = format!("put back: {}", repaired.join(", "));
            self.tell(Kind::GuardRepaired, &message, now.moment);
        }
    }

    fn look_at_installer(&mut self, now: Now) {
        let serves = self.node_state.is_some() && self.guard_state == GuardState::Stands;
        let Some(installer) = &mut self.outputs.installer else {
            return;
        };
        installer.tell(if serves {
            Phase::Serving
        } else {
            Phase::Starting
        });
        if let Some(obstacle) = installer.take_obstacle() {
            self.tell(Kind::NotInstalled, &obstacle, now.moment);
        }
    }

    /// When the next timeout is due.
    pub(crate) fn poll_timeout(&self) -> Option<tunnel_core::moment::Moment> {
        let control = self.control.poll_timeout().map(|(at, _)| at);
        [control, self.credentials.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Whether the processor has instructions for AES-GCM.
fn aes_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let present = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let present = std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let present = false;
    present
}
