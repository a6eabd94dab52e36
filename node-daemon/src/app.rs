//! Wiring: which parts run, in which order, with which channels between them.
//!
//! Order matters: lock and preflight before anything is touched; then tun and guard; only then
//! `node.json`, which lets pods in. A stop undoes none of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use cni_protocol::contract::TUN_NAME;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};
use tunnel_core::packet::Mtu;
use tunnel_core::plane::LaneIndex;

use crate::arguments::{Arguments, Command};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::guard::Guard;
use crate::http::Listeners;
use crate::io::random;
use crate::io::tun::TunQueue;
use crate::io::udp::LaneSocket;
use crate::keys::{self, MachineIds};
use crate::lane::{self, LaneConfig};
use crate::lock::NodeLock;
use crate::node::{Node, Outputs, Parts, tun_addresses};
use crate::peers::Peers;
use crate::peers::disk::PeersOnDisk;
use crate::preflight::{Machine, bare_plan, preflight};
use crate::telemetry::Shown;
use crate::uninstall::{KERNEL_SETTINGS_FILE, uninstall};
use crate::watchdog::Watch;
use crate::{clock, files, hygiene, logging, store_task};

/// Messages that may wait between two tasks: enough for a burst, few enough to notice a jam (a guess).
const QUEUE: usize = 1024;

/// Does what the command line asks.
///
/// # Errors
/// Whatever stops it, with what it was doing.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Run(file) => run_daemon(&load(&file.config)?),
        Command::Check(file) => {
            preflight(&load(&file.config)?)?;
            println!("Configuration and machine are fine.");
            Ok(())
        }
        Command::Uninstall(file) => uninstall(&load(&file.config)?),
        Command::Version => {
            println!("sotto-node {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn load(path: &std::path::Path) -> Result<Config> {
    let config = Config::load(path)?;
    logging::start(config.log_format);
    Ok(config)
}

fn run_daemon(config: &Config) -> Result<()> {
    hygiene::protect_memory();
    info!(?config, version = env!("CARGO_PKG_VERSION"), "Starting");
    files::create_directory(&config.state_directory, 0o700)?;
    files::create_directory(&config.runtime_directory, 0o755)?;
    let _lock = NodeLock::acquire(&config.runtime_directory)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the control task")?;
    loop {
        let machine = preflight(config)?;
        match runtime.block_on(serve(config, machine))? {
            Ended::Stopped => break,
            Ended::TunLost => warn!("Tun device was deleted, it is made anew"),
        }
    }
    info!("Stopped; guard and pods' links stay");
    Ok(())
}

/// Why the daemon's parts ended.
enum Ended {
    /// It was told to.
    Stopped,
    /// Somebody deleted the tun device.
    TunLost,
}

async fn serve(config: &Config, machine: Machine) -> Result<Ended> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listeners = Listeners::open(config.http_address, &config.runtime_directory).await?;
    let shown = Shown::default();
    let ids = MachineIds::read(config)?;
    let identity = keys::open(
        config,
        &ids,
        keys::read_join_token(config)?.as_ref(),
        &mut random::system(),
    )?;
    let uid = identity.id.uid;
    let disk = PeersOnDisk::open(&config.state_directory)?;
    let (floor, revocations) = disk.memory()?;
    let peers = Peers::new(
        uid,
        identity.key.public().hash(),
        &config.pins,
        &config.cluster_pod_ranges,
        floor,
        revocations,
    );
    let tunnel_keys = keys::tunnel_key_file(&config.runtime_directory);
    let credentials = Credentials::load(config, identity, &ids.boot, tunnel_keys)?;

    let sockets = config
        .ports()
        .map(LaneSocket::bind)
        .map(|socket| socket.map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;
    let queues = config
        .ports()
        .map(|_| TunQueue::open(TUN_NAME))
        .collect::<Result<Vec<_>, _>>()?;
    let own = credentials.pod_ranges();
    let mut plan = bare_plan(config, machine.tun_mtu);
    plan.tun_addresses = tun_addresses(&own);
    plan.own = own;
    let guard = Guard::install(plan.clone(), &journal(config))?;
    let (watch_events, mut watch_news) = mpsc::channel(QUEUE);
    let guard = Watch::start(guard, move |event| drop(watch_events.try_send(event)))?;
    info!(tun = TUN_NAME, mtu = machine.tun_mtu, "Guard stands");

    let (lane_events, mut lane_news) = mpsc::channel(QUEUE);
    let (store_commands, commands) = mpsc::channel(QUEUE);
    let (news, mut store_news) = mpsc::channel(QUEUE);
    let socket = sockets
        .first()
        .map(Arc::clone)
        .context("there is no lane")?;
    let mut lanes = Vec::new();
    for ((index, queue), socket) in (0..).map(LaneIndex).zip(queues).zip(sockets) {
        let (lanes_of_node, mtu, poll_for) = (config.lanes, Mtu(machine.tun_mtu), config.poll_for);
        let events = lane_events.clone();
        let lane = LaneConfig {
            index,
            lanes: lanes_of_node,
            mtu,
            poll_for,
            queue,
            socket,
            events,
        };
        lanes.push(lane::spawn(lane).context("start a lane")?);
    }
    let outputs = Outputs {
        lanes,
        socket,
        guard,
        plan,
        store: store_commands,
        shown: shown.clone(),
    };
    let parts = Parts {
        config: config.clone(),
        machine,
        boot: ids.boot,
        credentials,
        peers,
        disk,
        outputs,
    };
    let mut node = Node::start(parts).await?;
    listeners.serve(&shown);
    let store = tokio::spawn(store_task::run(config.clone(), uid, commands, news));
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let ended = loop {
        let timeout = node.poll_timeout().map_or(Duration::from_secs(1), |at| {
            at.duration_since(clock::moment())
        });
        tokio::select! {
            _ = terminate.recv() => break Ended::Stopped,
            _ = interrupt.recv() => break Ended::Stopped,
            Some((lane, event)) = lane_news.recv() => node.handle_lane(lane, event),
            Some(news) = store_news.recv() => node.handle_store(news).await?,
            Some(event) = watch_news.recv() => node.handle_watch(event),
            _ = second.tick() => node.handle_second().await?,
            () = tokio::time::sleep(timeout) => node.handle_timeout(),
        }
        if node.has_lost_tun() {
            break Ended::TunLost;
        }
    };
    store.abort();
    Ok(ended)
}

fn journal(config: &Config) -> PathBuf {
    config.state_directory.join(KERNEL_SETTINGS_FILE)
}
