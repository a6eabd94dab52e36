//! A load: many daemons' worth of stores on one API server, with the real controller.
//!
//! ```text
//!   switch ── .250 api (etcd, kube-apiserver) · .240 controller · .230 daemons (N stores, N clients)
//! ```
//! Each daemon of a load has its own Node, Pod, token, client, keys and store, and verifies all that
//! it is shown; it moves no packets. All of them run in this program, so what one machine pays here
//! for verifying is in reality paid by N: [`Figures`] names it apart.

mod board;
mod client;
mod daemon;
mod figures;
mod judge;
mod sample;
mod seats;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cluster_client::{Access, connect};
use cluster_store::ClusterStore;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use node_identity::Pin;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::{ADMIN, Cluster, NAMESPACE, PKI};
use crate::lab::{Lab, Place};
use board::{Board, Heard};
use client::{Sent, Write};
use daemon::{Daemon, Enrolled};
use figures::{Change, Join, Rest};
pub use figures::{Figures, table};
use sample::{Roles, Sample};
use status::{Tunnels, status};

/// Last byte of the daemons' machine's addresses.
const NUMBER: u8 = 230;
/// Until all daemons know one another.
const JOIN_LIMIT: Duration = Duration::from_secs(600);
/// Until a change is known everywhere.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);
/// After the join, until the statuses that it caused are written.
const SETTLE: Duration = Duration::from_secs(20);
/// Between two changes.
const BETWEEN: Duration = Duration::from_secs(1);
/// How often a number that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many nodes, at most 512.
    pub nodes: usize,
    /// How long nothing happens: three lives of a watch and two statuses are 120 s.
    pub rest: Duration,
    /// How many keys are changed, one after the other.
    pub changes: usize,
}

impl Load {
    /// Builds a cluster, lets the daemons join, rest and change keys.
    ///
    /// # Errors
    /// When a part fails or a limit passes.
    pub fn measure(self) -> Result<Figures> {
        ensure!(
            (2..=seats::MOST).contains(&self.nodes),
            "2 to {} nodes",
            seats::MOST
        );
        let lab = Lab::new()?;
        let cluster = Cluster::raise(&lab)?;
        let narrow = r#"["198.51.100.0/24", "2001:db8::/64"]"#;
        cluster.apply(&cluster.manifest().replace(narrow, seats::UNDERLAY))?;
        let controller = cluster.controller(&lab, 0)?.start()?;
        let place = lab.station("daemons", NUMBER)?;
        let pin = cluster.pin().parse()?;
        let roles = roles(&cluster, controller.pid())?;
        share_administrator(&cluster, &place)?;
        let measured = place.inside(|| self.with_workers(pin, &roles));
        measured.with_context(|| lab.report())
    }

    /// The daemons live on as many threads as there are processors; this one conducts.
    fn with_workers(self, pin: Pin, roles: &Roles) -> Result<Figures> {
        let conductor = Builder::new_current_thread().enable_all().build()?;
        let threads = std::thread::available_parallelism()?.get();
        let (stop, stopped) = watch::channel(false);
        std::thread::scope(|scope| {
            let workers: Vec<mpsc::UnboundedSender<Daemon>> = (0..threads)
                .map(|_| {
                    let (daemons, hired) = mpsc::unbounded_channel();
                    let stopped = stopped.clone();
                    scope.spawn(move || work(hired, stopped));
                    daemons
                })
                .collect();
            let measured = conductor.block_on(self.conduct(pin, roles, &workers));
            stop.send_replace(true);
            measured
        })
    }

    async fn conduct(
        self,
        pin: Pin,
        roles: &Roles,
        workers: &[mpsc::UnboundedSender<Daemon>],
    ) -> Result<Figures> {
        let access = Access {
            kubeconfig: Some(ADMIN.into()),
            context: None,
        };
        let admin = connect(&access).await?;
        let seats = seats::make(&admin, self.nodes).await?;
        eprintln!("{} nodes: objects and tokens made", self.nodes);
        let (news, mut heard) = mpsc::unbounded_channel();
        let (tell, mut told) = mpsc::unbounded_channel();
        let (board, sent) = (Arc::new(Board::new(news)), Arc::<Sent>::default());
        let before = Sample::take(&admin, roles).await?;
        for (seat, worker) in seats.into_iter().zip(workers.iter().cycle()) {
            worker.send(Daemon {
                seat,
                pin,
                board: Arc::clone(&board),
                sent: Arc::clone(&sent),
                enrolled: tell.clone(),
            })?;
        }
        let join = self.join(&board, &before);
        let join = join.await;
        let mut join = join.with_context(|| format!("faults: {:?}", board.faults()))?;
        join.measure(&before, &Sample::take(&admin, roles).await?, &board);
        join.ledger = ledger(&admin).await?;
        eprintln!(
            "{} nodes: all know all after {:.1?}",
            self.nodes, join.known
        );
        let mut daemons: Vec<Enrolled> = Vec::new();
        while daemons.len() < self.nodes {
            daemons.push(told.recv().await.context("the daemons ended")?);
        }
        sleep(SETTLE).await;
        let from = Sample::take(&admin, roles).await?;
        sleep(self.rest).await;
        let until = Sample::take(&admin, roles).await?;
        let rest = Rest::between(&from, &until, &before, self.nodes);
        let status_write = sent.of(Write::Status).last;
        eprintln!("{} nodes: rest measured", self.nodes);
        let change = self.change(&mut daemons, &mut heard, &admin, roles).await?;
        let first = daemons.first().context("no daemons")?;
        let worst = status(&first.seat, self.nodes - 1, Tunnels::Broken);
        first.store.show_status(&worst).await?;
        Ok(Figures {
            nodes: self.nodes,
            join,
            rest,
            change,
            envelopes_write: sent.of(Write::Envelopes).last,
            status_write,
            worst_status_write: sent.of(Write::Status).last,
            turned_away: turned_away(&until) - turned_away(&before),
            faults: board.faults(),
        })
    }

    async fn join(self, board: &Board, before: &Sample) -> Result<Join> {
        let all = self.nodes;
        reach(&board.certificates, all, "daemons have certificates").await?;
        let certified = before.at.elapsed();
        let pairs = all * (all - 1);
        reach(&board.links, pairs, "pairs believe each other").await?;
        Ok(Join::new(certified, before.at.elapsed()))
    }

    async fn change(
        self,
        daemons: &mut [Enrolled],
        heard: &mut mpsc::UnboundedReceiver<Heard>,
        admin: &Client,
        roles: &Roles,
    ) -> Result<Change> {
        let from = Sample::take(admin, roles).await?;
        let (mut each, mut last) = (Vec::new(), Vec::new());
        for number in 0..self.changes {
            // Steps over the daemons, so that both threads have their turn.
            let at = number * 7 % daemons.len();
            let Some(daemon) = daemons.get_mut(at) else {
                bail!("no daemon {at}");
            };
            let uid = daemon.seat.id.uid;
            let started = Instant::now();
            let generation = daemon.change_key().await?;
            let mut knowing = Vec::new();
            while knowing.len() < self.nodes - 1 {
                let next = timeout(CHANGE_LIMIT, heard.recv()).await;
                let next = next.with_context(|| format!("{} know a change", knowing.len()))?;
                let next = next.context("the daemons ended")?;
                if (next.uid, next.generation) == (uid, generation) {
                    knowing.push(next.at.duration_since(started));
                }
            }
            last.extend(knowing.iter().max().copied());
            each.append(&mut knowing);
            sleep(BETWEEN).await;
        }
        let until = Sample::take(admin, roles).await?;
        Ok(Change::new(each, last, &from, &until, self.changes))
    }
}

fn work(mut hired: mpsc::UnboundedReceiver<Daemon>, mut stopped: watch::Receiver<bool>) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async move {
        let hire = async {
            while let Some(daemon) = hired.recv().await {
                tokio::spawn(daemon.run());
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = hire => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    });
}

async fn reach(counter: &AtomicUsize, wanted: usize, what: &str) -> Result<()> {
    let started = Instant::now();
    while counter.load(Ordering::Relaxed) < wanted {
        let so_far = counter.load(Ordering::Relaxed);
        ensure!(
            started.elapsed() < JOIN_LIMIT,
            "{so_far} of {wanted} {what} after {JOIN_LIMIT:?}"
        );
        sleep(LOOK).await;
    }
    Ok(())
}

async fn ledger(admin: &Client) -> Result<usize> {
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), NAMESPACE);
    let secret = secrets.get("sotto-ledger").await?;
    let entry = secret.data.unwrap_or_default().remove("ledger");
    Ok(entry.context("the ledger is empty")?.0.len())
}

fn turned_away(sample: &Sample) -> f64 {
    sample.sum("apiserver_request_total", &[r#"code="429""#])
}

fn roles(cluster: &Cluster, controller: i32) -> Result<Roles> {
    let running = cluster.api.processes()?;
    let [server, etcd] = running.as_slice() else {
        bail!("an API server is two programs");
    };
    let own = i32::try_from(std::process::id())?;
    Ok(Roles::from([
        ("API server", server.pid()),
        ("etcd", etcd.pid()),
        ("controller", controller),
        ("daemons", own),
    ]))
}

/// Gives the daemons' machine the administrator's access.
fn share_administrator(cluster: &Cluster, place: &Place) -> Result<()> {
    let files = ["ca.crt", "admin.crt", "admin.key"].map(|name| format!("{PKI}/{name}"));
    for file in files.iter().map(String::as_str).chain([ADMIN]) {
        place.write(file, cluster.api.place().read(file)?)?;
    }
    Ok(())
}
