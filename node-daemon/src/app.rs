//! Wiring: which parts run, in which order, with which channels between them.
//!
//! Order matters: lock and preflight before anything is touched; then tun and guard; only then
//! `node.json`, which lets pods in. A stop undoes none of it.

mod assemble;
mod inputs;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{error, info, warn};

use crate::arguments::{Arguments, Command, Settings};
use crate::config::Config;
use crate::http::{Listeners, Source};
use crate::installer::Place;
use crate::lock::NodeLock;
use crate::preflight::{Machine, RUNTIME_MODE, STATE_MODE, preflight};
use crate::telemetry::Shown;
use crate::uninstall::{RunningPods, uninstall};
use crate::{clock, hygiene, keys, logging, reservations};
use assemble::assemble;
use inputs::{Input, Part};

/// How long the daemon waits before it sets up anew what somebody took away (a guess).
const BEFORE_ANEW: Duration = Duration::from_millis(200);

/// How often the pod's token is asked which Node this is. Kubelet writes it anew about once an hour, and when it starts.
const TOKEN_LOOKS: Duration = Duration::from_secs(10);

/// Does what the command line asks.
///
/// # Errors
/// Whatever stops it, with what it was doing.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Run(settings) => run_daemon(&load(&settings)?),
        Command::Check(settings) => {
            let config = load(&settings)?;
            preflight(&config)?;
            if let Some(cni) = config.cni {
                Place::new(cni, &config.runtime_directory).foresee()?;
            }
            println!("Configuration and machine are fine.");
            Ok(())
        }
        Command::Uninstall(how) => {
            let pods = if how.wait_for_pods {
                RunningPods::WaitFor
            } else {
                RunningPods::Disconnect
            };
            block_on(uninstall(&load(&how.settings)?, pods))
        }
        Command::Pause => block_on(async {
            Stop::listen()?.told().await;
            Ok(())
        }),
        Command::Version => {
            println!("sotto-node {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn load(settings: &Settings) -> Result<Config> {
    let config = Config::load(settings)?;
    logging::start(config.log_format);
    Ok(config)
}

fn run_daemon(config: &Config) -> Result<()> {
    hygiene::protect_memory();
    info!(?config, version = env!("CARGO_PKG_VERSION"), "Starting");
    kept_files::close_unused(&config.state_directory, STATE_MODE)?;
    block_on(serve_until_stopped(config))?;
    info!("Stopped; guard and pods' links stay");
    Ok(())
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context("start the control task")?.block_on(work)
}

/// Takes the node's lock, which tells a second daemon more than the first one's port would. Where
/// there is no place for the lock, none is made before the machine is found fit.
fn claim(config: &Config) -> Result<NodeLock> {
    let directory = &config.runtime_directory;
    if !kept_files::find_directory(directory, RUNTIME_MODE)? {
        preflight(config)?;
        kept_files::create_directory(directory, RUNTIME_MODE)?;
    }
    Ok(NodeLock::acquire(directory)?)
}

/// What ends the daemon. A container's first process is ended by no signal that it does not listen to.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one.
    pub(crate) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve_until_stopped(config: &Config) -> Result<()> {
    let mut stop = Stop::listen()?;
    loop {
        let lock = claim(config)?;
        let machine = preflight(config)?;
        kept_files::create_directory(&config.state_directory, STATE_MODE)?;
        match serve(config, machine, &lock, &mut stop).await? {
            Ended::Stopped => return Ok(()),
            Ended::PathLost => warn!("Tun device or a lane is gone, everything is set up anew"),
            Ended::LockLost => error!(
                directory = %config.runtime_directory.display(),
                "Runtime directory was taken away, everything is set up anew: whatever cleans there must spare it"
            ),
            Ended::NodeReplaced => warn!(
                "Node was deleted and made again, everything is set up anew under its new UID"
            ),
            Ended::PartLost(part) => error!(
                part = part.label(),
                "Part of the daemon ended by a fault of its own, everything is set up anew: please report what was logged before"
            ),
        }
        sleep(BEFORE_ANEW).await;
    }
}

/// Why the daemon's parts ended.
enum Ended {
    /// It was told to.
    Stopped,
    /// Somebody deleted the tun device, or a lane ended.
    PathLost,
    /// Somebody took the runtime directory away, and with it what tells plugin, operator and a second
    /// daemon of this one.
    LockLost,
    /// Somebody deleted the Node object, and kubelet made it again: this is another node now.
    NodeReplaced,
    /// A part that runs as long as the daemon does not.
    PartLost(Part),
}

async fn serve(
    config: &Config,
    machine: Machine,
    lock: &NodeLock,
    stop: &mut Stop,
) -> Result<Ended> {
    // Dropped with this function, and with it all that would hold ports or the guard.
    let mut tasks = JoinSet::new();
    let invited = keys::invitation(config)?;
    let listeners = Listeners::open(config.http_address, &config.runtime_directory).await?;
    let shown = Shown::default();
    let (mut node, mut inputs) = assemble(config, machine, shown.clone(), &mut tasks).await?;
    listeners.serve(
        &Source {
            shown,
            guard: node.guard(),
        },
        &mut tasks,
    );
    tasks.spawn(reservations::run(config.clone()));
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut token = interval(TOKEN_LOOKS);
    token.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = node
            .poll_timeout()
            .map(|at| at.duration_since(clock::moment()));
        tokio::select! {
            () = stop.told() => return Ok(Ended::Stopped),
            Some(ended) = tasks.join_next() => say_ended(ended),
            input = inputs.next() => match input {
                Input::Lane(event) => node.handle_lane(event),
                Input::Store(news) => node.handle_store(news).await,
                Input::Copied => node.handle_memory_copied(),
                Input::Guard(state) => node.handle_guard(state),
                Input::Ended(part) => return Ok(Ended::PartLost(part)),
            },
            _ = second.tick() => {
                if !lock.is_in_place() {
                    return Ok(Ended::LockLost);
                }
                node.handle_second().await;
            }
            _ = token.tick() => {
                if keys::is_replaced(config, invited.as_ref()) {
                    return Ok(Ended::NodeReplaced);
                }
            }
            () = sleep(due.unwrap_or(Duration::MAX)) => node.handle_timeout(),
        }
        if node.has_lost_its_path() {
            return Ok(Ended::PathLost);
        }
    }
}

/// Nothing that pods need hangs on the tasks but the store task, which [`Inputs`](inputs::Inputs) misses.
fn say_ended(ended: Result<(), JoinError>) {
    let error = ended.err().map(|error| error.to_string());
    error!(
        error,
        "Background task ended: store, reservations, or health checks and metrics are without it until the daemon is started again"
    );
}
