//! Load that can be switched on: datagrams full of canary between two pods, both ways, over both
//! families, and from the client to a Service.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use sotto_tests::capture::{Canary, Capture};
use sotto_tests::lab::{Lab, Pod};
use sotto_tests::wait;

use super::pair::{FLOW_LIMIT, Pair, SERVICE_V4, SERVICE_V6};

/// Port that the load is sent to.
const PORT: u16 = 9000;
/// Bytes of a datagram: whole at the lab's MTU.
const SIZE: usize = 1000;
/// Time between two rounds of datagrams: 500 a second to each target.
const PAUSE: Duration = Duration::from_millis(2);
/// Rounds that count as "under load".
const ROUNDS: u64 = 100;
/// Datagrams of each family that have to arrive before a path counts as open.
const ARRIVALS: u64 = 20;

/// The load: silent except while one of its methods runs, so that a capture can catch up.
pub(super) struct Load {
    canary: Canary,
    stop: Arc<AtomicBool>,
    sending: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    /// Datagrams that arrived from client to server, by family.
    arrived: [Arc<AtomicU64>; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Prepares sending from the client to the server, to the Service, and back; returns once
    /// both families arrive.
    pub(super) fn start(pair: &Pair<'_>) -> Result<Self> {
        let mut forth = pair.server.addresses().to_vec();
        forth.extend([SERVICE_V4, SERVICE_V6]);
        let back = pair.client.addresses().to_vec();
        let mut load = Self {
            canary: Canary::new()?,
            stop: Arc::default(),
            sending: Arc::default(),
            rounds: Arc::default(),
            arrived: Default::default(),
            threads: Vec::new(),
        };
        load.receive(&pair.server)?;
        load.send(&pair.client, &forth)?;
        load.send(&pair.server, &back)?;
        load.wait_for_arrivals()?;
        Ok(load)
    }

    /// Lets something happen under load, and some more load pass, while Eve listens; says how
    /// often she found the canary.
    pub(super) fn leaked(
        &self,
        lab: &Lab,
        happening: impl FnOnce() -> Result<()>,
    ) -> Result<usize> {
        let eve = Capture::on_switch(lab)?;
        self.while_sending(|| {
            self.stretch()?;
            happening()?;
            self.stretch()
        })?;
        eve.stop()?.count(&self.canary)
    }

    /// Counts what arrives at a pod.
    fn receive(&mut self, at: &Pod) -> Result<()> {
        for (address, arrived) in at.addresses().iter().zip(&self.arrived) {
            let socket = at.inside(|| Ok(UdpSocket::bind((*address, PORT))?))?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            let (stop, arrived) = (Arc::clone(&self.stop), Arc::clone(arrived));
            self.threads.push(std::thread::spawn(move || {
                let mut buffer = [0; SIZE];
                while !stop.load(Ordering::Relaxed) {
                    if socket.recv(&mut buffer).is_ok() {
                        arrived.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        Ok(())
    }

    /// An error of one send is part of the fault that is being tested.
    fn send(&mut self, from: &Pod, targets: &[IpAddr]) -> Result<()> {
        let v4 = from.inside(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
        let v6 = from.inside(|| Ok(UdpSocket::bind("[::]:0")?))?;
        let (stop, rounds) = (Arc::clone(&self.stop), Arc::clone(&self.rounds));
        let sending = Arc::clone(&self.sending);
        let targets: Vec<_> = targets
            .iter()
            .map(|target| SocketAddr::new(*target, PORT))
            .collect();
        let payload = self.canary.repeated(SIZE);
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(PAUSE);
                if !sending.load(Ordering::Relaxed) {
                    continue;
                }
                for target in &targets {
                    let socket = if target.is_ipv4() { &v4 } else { &v6 };
                    let _ = socket.send_to(&payload, target);
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        }));
        Ok(())
    }

    /// Lets some more load pass; only inside [`Load::leaked`] there is any.
    pub(super) fn stretch(&self) -> Result<()> {
        let start = self.rounds.load(Ordering::Relaxed);
        wait::until("a stretch of load", FLOW_LIMIT, || {
            self.rounds.load(Ordering::Relaxed) >= start + ROUNDS
        })
    }

    /// Waits until datagrams of both families arrive (again).
    pub(super) fn wait_for_arrivals(&self) -> Result<()> {
        let counts = || {
            self.arrived
                .each_ref()
                .map(|arrived| arrived.load(Ordering::Relaxed))
        };
        let start = counts();
        self.while_sending(|| {
            wait::until("datagrams of both families to arrive", FLOW_LIMIT, || {
                counts()
                    .iter()
                    .zip(start)
                    .all(|(count, start)| *count >= start + ARRIVALS)
            })
        })
    }

    fn while_sending<T>(&self, happening: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.sending.swap(true, Ordering::Relaxed);
        let result = happening();
        self.sending.store(before, Ordering::Relaxed);
        result
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
