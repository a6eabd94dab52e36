//! One daemon of a load: the store and the paces of `sotto-node`, real keys and certificates, and no
//! packets. The numbers are the daemon's (`node-daemon`: `store_task.rs`, `enrol.rs`, `node/pace.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use cluster_store::{
    ClusterStore, EnrolmentRequest, KubernetesStore, RequestState, StoreChanges, StoreError,
};
use getrandom::SysRng;
use node_identity::{
    CertificateRequest, Envelope, Generation, IdentityKey, KeyStatement, NodeCertificate, Pin,
    TunnelKey,
};
use rand_core::{Rng, UnwrapErr};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::board::Board;
use super::client::{Sent, client};
use super::judge::{Judge, now};
use super::seats::Seat;
use super::status::{Tunnels, status};

/// Daemons that start together ask for their first certificates over so long.
const SPREAD_OF_NEW: Duration = Duration::from_secs(1);
/// The first pause between two questions about a request; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest such pause.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Pause after a failure; the daemon's grow.
const RETRY: Duration = Duration::from_secs(1);
/// How often the status is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A change of state is shown at most so often.
const STATE_EVERY: Duration = Duration::from_secs(10);
/// Counters alone are shown so often in a small cluster.
const COUNTERS_EVERY: Duration = Duration::from_secs(60);
/// And so much later for each node.
const COUNTERS_PER_NODE: Duration = Duration::from_millis(50);

/// A daemon that is to run.
pub(super) struct Daemon {
    pub(super) seat: Seat,
    pub(super) pin: Pin,
    pub(super) board: Arc<Board>,
    pub(super) sent: Arc<Sent>,
    pub(super) enrolled: mpsc::UnboundedSender<Enrolled>,
}

/// A daemon that has published its first key.
pub(super) struct Enrolled {
    pub(super) seat: Seat,
    pub(super) store: KubernetesStore,
    key: IdentityKey,
    certificate: NodeCertificate,
    newest: Option<Envelope>,
}

/// What the reading half knows.
#[derive(Debug, Default)]
struct Known {
    certificate: Option<NodeCertificate>,
    peers: usize,
}

impl Daemon {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let board = Arc::clone(&self.board);
        if let Err(error) = self.serve().await {
            board.fault(format!("{error:#}"));
        }
    }

    async fn serve(self) -> Result<()> {
        let share = f64::from(UnwrapErr(SysRng).next_u32()) / f64::from(u32::MAX);
        sleep(SPREAD_OF_NEW.mul_f64(share)).await;
        let client = client(&self.seat, &self.sent).await?;
        let store = KubernetesStore::for_node(client, self.seat.id.name.clone(), &[self.pin]);
        let (tell, known) = watch::channel(Known::default());
        tokio::select! {
            ended = self.read(&store, tell) => ended,
            ended = self.write(&store, known.clone()) => ended,
            () = self.show(&store, known) => Ok(()),
        }
    }

    async fn read(&self, store: &KubernetesStore, tell: watch::Sender<Known>) -> Result<()> {
        let mut judge = Judge::new(self.seat.id.uid, self.pin, Arc::clone(&self.board));
        let mut changes = store.watch()?;
        loop {
            match store.published().await {
                Ok(published) => {
                    let certificate = judge.absorb(&published);
                    drop(published);
                    tell.send_if_modified(|known| {
                        let is_news = certificate.is_some() || known.peers != judge.peers();
                        known.peers = judge.peers();
                        known.certificate = certificate.or(known.certificate.take());
                        is_news
                    });
                    changes.changed().await;
                }
                Err(error) => self.fault(&error).await,
            }
        }
    }

    async fn write(&self, store: &KubernetesStore, known: watch::Receiver<Known>) -> Result<()> {
        let key = IdentityKey::generate(&mut UnwrapErr(SysRng));
        let certificate = self.enrol(store, &key, known).await?;
        self.board.certificates.fetch_add(1, Ordering::Relaxed);
        let mut enrolled = Enrolled {
            seat: self.seat.clone(),
            store: store.clone(),
            key,
            certificate,
            newest: None,
        };
        let envelope = enrolled.new_key()?;
        while let Err(error) = enrolled.publish(&envelope).await {
            self.fault(&error).await;
        }
        enrolled.newest = Some(envelope);
        // Nobody waits for it when the load ends early.
        let _ = self.enrolled.send(enrolled);
        std::future::pending().await
    }

    async fn enrol(
        &self,
        store: &KubernetesStore,
        key: &IdentityKey,
        mut known: watch::Receiver<Known>,
    ) -> Result<NodeCertificate> {
        let request = CertificateRequest::create(key, &self.seat.id, &[])?;
        let request = EnrolmentRequest {
            pkcs10: request.to_der().to_vec(),
            token: None,
        };
        let (mut asked, mut wait) = (None, FIRST_WAIT);
        loop {
            let done = match asked {
                None => store.submit_request(&request).await.map(|id| {
                    asked = Some(id);
                }),
                Some(id) => store.request_state(&id).await.map(|state| match state {
                    None | Some(RequestState::Refused) => {
                        self.board.fault(format!("request: {state:?}"));
                        asked = None;
                    }
                    Some(
                        RequestState::Waiting | RequestState::Pending(_) | RequestState::Issued,
                    ) => {}
                }),
            };
            if let Err(error) = done {
                self.fault(&error).await;
            }
            let certified = known.wait_for(|known| known.certificate.is_some());
            if let Ok(Ok(known)) = tokio::time::timeout(wait, certified).await
                && let Some(certificate) = known.certificate.clone()
            {
                return Ok(certificate);
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn show(&self, store: &KubernetesStore, known: watch::Receiver<Known>) {
        let mut shown: Option<((bool, usize), Instant)> = None;
        loop {
            sleep(LOOK).await;
            let state = {
                let known = known.borrow();
                (known.certificate.is_some(), known.peers)
            };
            let due = shown.is_none_or(|(before, at)| {
                let every = if before == state {
                    counters_every(state.1 + 1)
                } else {
                    STATE_EVERY
                };
                at.elapsed() >= every
            });
            if due {
                shown = Some((state, Instant::now()));
                let status = status(&self.seat, state.1, Tunnels::Up);
                if let Err(error) = store.show_status(&status).await {
                    self.fault(&error).await;
                }
            }
        }
    }

    async fn fault(&self, error: &StoreError) {
        let cause = std::error::Error::source(error);
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        let said = format!("{error}{cause}");
        // One line for all nodes.
        self.board
            .fault(said.replace(self.seat.id.name.as_str(), "NODE"));
        sleep(RETRY).await;
    }
}

fn counters_every(nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    COUNTERS_EVERY.max(COUNTERS_PER_NODE.saturating_mul(nodes))
}

impl Enrolled {
    /// Makes and publishes another tunnel key beside the one before, as the daemon does twice a day.
    pub(super) async fn change_key(&mut self) -> Result<Generation> {
        let envelope = self.new_key()?;
        self.publish(&envelope).await?;
        let generation = envelope.statement().generation;
        self.newest = Some(envelope);
        Ok(generation)
    }

    fn new_key(&self) -> Result<Envelope> {
        let before = self.newest.as_ref();
        let before = before.map(|envelope| envelope.statement().generation);
        let key = TunnelKey::generate(&mut UnwrapErr(SysRng));
        let terms = self.certificate.terms();
        let statement = KeyStatement {
            identity: self.seat.id.clone(),
            certificate_serial: terms.serial,
            identity_key_hash: self.key.public().hash(),
            generation: Generation::next(now(), before),
            tunnel_key: key.public(),
            endpoints: terms.addresses.clone(),
            base_port: 51820,
            lanes: 1,
        };
        Ok(Envelope::seal(
            &statement,
            &self.key,
            &key,
            &self.certificate,
        )?)
    }

    async fn publish(&self, newest: &Envelope) -> Result<(), StoreError> {
        let envelopes: Vec<Vec<u8>> = std::iter::once(newest)
            .chain(&self.newest)
            .map(Envelope::to_der)
            .collect();
        let uid = &self.seat.id.uid;
        self.store.publish_envelopes(uid, &envelopes).await
    }
}
