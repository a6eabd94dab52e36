//! Puts the daemon's parts together, in the order that `app.rs` gives the reason for.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use cni_protocol::contract::TUN_NAME;
use node_identity::SpiffeId;
use node_status::RootPin;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tracing::info;
use tunnel_core::packet::Mtu;
use tunnel_core::plane::{LaneEvent, LaneIndex};

use super::inputs::Inputs;
use crate::config::Config;
use crate::credentials::Credentials;
use crate::first_use::{self, Pins};
use crate::guard::plan::GuardPlan;
use crate::guard::{Guard, KERNEL_SETTINGS_FILE};
use crate::installer;
use crate::io::random;
use crate::io::tun::TunQueue;
use crate::io::udp::LaneSocket;
use crate::keys::{self, MachineIds};
use crate::lane::{self, LaneConfig, LaneHandle};
use crate::memory_copy;
use crate::node::{Node, Outputs, Parts, tun_addresses};
use crate::peers::Peers;
use crate::peers::disk::PeersOnDisk;
use crate::preflight::{Machine, bare_plan};
use crate::store_task::{self, Ends, Own, Papers, People, StoreCommand, StoreNews, people};
use crate::telemetry::Shown;
use crate::watchdog::{GuardState, Watch};

/// Messages that may wait between two tasks: enough for a burst, few enough to notice a jam (a guess).
const QUEUE: usize = 1024;

/// What an earlier daemon left on disk and tmpfs, or what a first one makes.
struct State {
    boot: String,
    id: SpiffeId,
    disk: PeersOnDisk,
    peers: Peers,
    credentials: Credentials,
    pins: Pins,
}

impl State {
    fn open(config: &Config) -> Result<Self> {
        let ids = MachineIds::read(config)?;
        let invited = keys::invitation(config)?;
        let identity = keys::open(config, &ids, invited, &mut random::system())?;
        let id = identity.id.clone();
        let disk = PeersOnDisk::open(&config.state_directory)?;
        let (floor, revocations) = disk.memory()?;
        let key = identity.key.public().hash();
        let cluster = &config.cluster_pod_ranges;
        let pins = first_use::in_force(config)?;
        if pins.why == RootPin::Given {
            first_use::forget(config);
        }
        let peers = Peers::new(id.uid, key, &pins.pins, cluster, floor, revocations);
        let tunnel_keys = keys::tunnel_key_file(&config.runtime_directory);
        let credentials = Credentials::load(config, identity, &ids.boot, tunnel_keys)?;
        Ok(Self {
            boot: ids.boot,
            id,
            disk,
            peers,
            credentials,
            pins,
        })
    }
}

/// Makes all parts and starts them.
///
/// # Errors
/// Whatever is refused; guard and tun then stay as far as they stand.
pub(super) async fn assemble(
    config: &Config,
    machine: Machine,
    shown: Shown,
    tasks: &mut JoinSet<()>,
) -> Result<(Node, Inputs)> {
    let installer = installer::supervise(config, tasks);
    let state = State::open(config)?;
    let sockets = open_each(config, |port| Ok(Arc::new(LaneSocket::bind(port)?)))?;
    let queues = open_each(config, |_| Ok(TunQueue::open(TUN_NAME)?))?;
    let plan = plan(config, machine, &state.credentials);
    let (guard, watch) = start_guard(config, &plan)?;
    info!(tun = TUN_NAME, mtu = machine.tun_mtu, "Guard stands");

    let (events, lanes) = mpsc::channel(QUEUE);
    let socket = sockets
        .first()
        .map(Arc::clone)
        .context("there is no lane")?;
    let handles = start_lanes(config, machine, queues, sockets, &events)?;
    let (store, people, store_news) = start_store(config, &state, tasks);
    let outputs = Outputs {
        lanes: handles,
        socket,
        guard,
        plan,
        store,
        people,
        shown,
        installer,
    };
    let State {
        boot,
        disk,
        peers,
        credentials,
        pins,
        ..
    } = state;
    let parts = Parts {
        config: config.clone(),
        machine,
        boot,
        credentials,
        peers,
        root_pin: pins.why,
        disk,
        outputs,
    };
    let node = Node::start(parts).await?;
    let (told, copies) = mpsc::channel(QUEUE);
    memory_copy::watch(told).context("watch for copies of memory")?;
    Ok((
        node,
        Inputs {
            lanes,
            store: store_news,
            watch,
            copies,
        },
    ))
}

fn start_store(
    config: &Config,
    state: &State,
    tasks: &mut JoinSet<()>,
) -> (Sender<StoreCommand>, People, Receiver<StoreNews>) {
    let (store, commands) = mpsc::channel(QUEUE);
    let (news, store_news) = mpsc::channel(QUEUE);
    let (people, people_end) = people();
    let papers = match state.credentials.certificate() {
        Some(_) => Papers::Kept,
        None => Papers::None,
    };
    let ends = Ends {
        commands,
        people: people_end,
        news,
    };
    let own = Own {
        id: state.id.clone(),
        pins: state.pins.pins.clone(),
        papers,
    };
    tasks.spawn(store_task::run(config.clone(), own, ends));
    (store, people, store_news)
}

fn open_each<T>(config: &Config, open: impl Fn(u16) -> Result<T>) -> Result<Vec<T>> {
    config.ports().map(open).collect()
}

fn plan(config: &Config, machine: Machine, credentials: &Credentials) -> GuardPlan {
    let own = credentials.pod_ranges();
    GuardPlan {
        tun_addresses: tun_addresses(&own),
        own,
        ..bare_plan(config, machine.tun_mtu)
    }
}

fn start_guard(config: &Config, plan: &GuardPlan) -> Result<(Arc<Watch>, Receiver<GuardState>)> {
    let journal: PathBuf = config.state_directory.join(KERNEL_SETTINGS_FILE);
    let guard = Guard::install(plan.clone(), &journal)?;
    let (events, watch) = mpsc::channel(QUEUE);
    let tell = move |state| {
        // The state comes again within a second, so one that finds no room is not missed.
        let _: Result<(), _> = events.try_send(state);
    };
    Ok((Arc::new(Watch::start(guard, tell)?), watch))
}

fn start_lanes(
    config: &Config,
    machine: Machine,
    queues: Vec<TunQueue>,
    sockets: Vec<Arc<LaneSocket>>,
    events: &Sender<(LaneIndex, LaneEvent)>,
) -> Result<Vec<LaneHandle>> {
    let mut handles = Vec::new();
    for ((index, queue), socket) in (0..).map(LaneIndex).zip(queues).zip(sockets) {
        let lane = LaneConfig {
            index,
            lanes: config.lanes,
            mtu: Mtu(machine.tun_mtu),
            poll_for: config.poll_for,
            queue,
            socket,
            events: events.clone(),
        };
        handles.push(lane::spawn(lane).context("start a lane")?);
    }
    Ok(handles)
}
