//! Many datagrams: sent without end, or counted at the other end.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::ANSWER_LIMIT;
use crate::capture::Canary;
use crate::lab::Pod;

/// Silence after which nothing more is expected.
const QUIET: Duration = Duration::from_millis(500);

/// Pause between two datagrams of a flood.
const BETWEEN: Duration = Duration::from_micros(200);

/// Port that floods go to; nobody listens there.
const FLOODED: u16 = 4000;

/// Datagrams with a canary, one after the other, until it is dropped.
#[derive(Debug)]
pub struct Flood {
    sent: Arc<AtomicU64>,
    goes_on: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Starts sending from a pod to addresses in turn, some thousands a second. What the
    /// kernel refuses counts too.
    ///
    /// # Errors
    /// When no socket can be made.
    pub fn start(from: &Pod, to: &[IpAddr], canary: &Canary) -> Result<Self> {
        let sockets = to
            .iter()
            .map(|address| {
                let any = if address.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = from.inside(|| Ok(UdpSocket::bind(any)?))?;
                Ok((socket, SocketAddr::new(*address, FLOODED)))
            })
            .collect::<Result<Vec<_>>>()?;
        let payload = canary.repeated(700);
        let (sent, goes_on) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let (count, running) = (Arc::clone(&sent), Arc::clone(&goes_on));
        let thread = std::thread::spawn(move || {
            while running.load(Ordering::Relaxed) {
                for (socket, target) in &sockets {
                    // "Unreachable" is a right answer too: what counts is the attempt.
                    let _ = socket.send_to(&payload, target);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(BETWEEN);
            }
        });
        Ok(Self {
            sent,
            goes_on,
            thread: Some(thread),
        })
    }

    /// Datagrams tried so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A pod that counts the datagrams it gets.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Listener {
    /// Opens it.
    ///
    /// # Errors
    /// When the pod has no such address.
    pub fn open(pod: &Pod) -> Result<Self> {
        let own = pod.ipv4()?;
        let socket = pod.inside(|| Ok(UdpSocket::bind((own, 0))?))?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Lets a pod send datagrams and waits for all of them.
    ///
    /// # Errors
    /// When one does not arrive.
    pub fn receive_from(&self, pod: &Pod, canary: &Canary, number: usize) -> Result<()> {
        let sender = pod.inside(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
        self.socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        let mut buffer = [0; 2048];
        for count in 0..number {
            sender.send_to(&canary.repeated(512), self.address)?;
            let arrived = self.socket.recv(&mut buffer);
            arrived.with_context(|| format!("datagram {count} of {number} did not arrive"))?;
        }
        Ok(())
    }

    /// How many more come until none comes for half a second.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn count_more(&self) -> Result<usize> {
        self.socket.set_read_timeout(Some(QUIET))?;
        let mut buffer = [0; 2048];
        Ok(std::iter::from_fn(|| self.socket.recv(&mut buffer).ok()).count())
    }
}
