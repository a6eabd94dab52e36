//! Numbered datagrams one way, and a connection that stays open while things happen.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::lab::Pod;

/// One datagram a millisecond: the rate at which a rekey must lose nothing.
const EVERY: Duration = Duration::from_millis(1);

/// Receive buffer in bytes: some twenty seconds of datagrams, for a test that gets no processor.
const ROOM: usize = 16 << 20;

/// Missing numbers that are told.
const SHOWN: usize = 40;

/// How long the last datagrams may be under way.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// How long a connection may stand still: a daemon's restart, and TCP's patience after it.
const STALL: Duration = Duration::from_secs(30);

/// What went one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that never arrived.
    pub lost: u64,
    /// The first of those that never arrived.
    pub missing: Vec<u64>,
    /// Datagrams that arrived twice.
    pub twice: u64,
    /// How long the longest silence was.
    pub longest_gap: Duration,
}

/// Numbered datagrams from a pod to another, which answers nothing.
#[derive(Debug)]
pub struct Stream {
    goes_on: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Vec<u64>>,
}

impl Stream {
    /// Starts it.
    ///
    /// # Errors
    /// When no socket can be made.
    pub fn start(from: &Pod, to: &Pod, address: IpAddr) -> Result<Self> {
        let ears = to.inside(|| Ok(UdpSocket::bind((address, 0))?))?;
        let target = ears.local_addr()?;
        let any = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let mouth = from.inside(|| Ok(UdpSocket::bind(any)?))?;
        mouth.connect(target)?;
        ears.set_read_timeout(Some(UNDER_WAY))?;
        nix::sys::socket::setsockopt(&ears, nix::sys::socket::sockopt::RcvBufForce, &ROOM)?;
        let goes_on = Arc::new(AtomicBool::new(true));
        let running = Arc::clone(&goes_on);
        let sender = std::thread::spawn(move || send(&mouth, &running));
        let running = Arc::clone(&goes_on);
        let receiver = std::thread::spawn(move || receive(&ears, &running));
        Ok(Self {
            goes_on,
            sender,
            receiver,
        })
    }

    /// Stops sending, waits for what is under way and counts.
    ///
    /// # Errors
    /// When sender or receiver panicked.
    pub fn stop(self) -> Result<Counted> {
        self.goes_on.store(false, Ordering::Relaxed);
        let sent = self
            .sender
            .join()
            .map_err(|_| anyhow!("the sender panicked"))??;
        let mut heard = self
            .receiver
            .join()
            .map_err(|_| anyhow!("the receiver panicked"))?;
        let all = heard.len();
        heard.sort_unstable();
        heard.dedup();
        Ok(Counted {
            sent,
            lost: sent.saturating_sub(u64::try_from(heard.len())?),
            missing: (0..sent)
                .filter(|number| heard.binary_search(number).is_err())
                .take(SHOWN)
                .collect(),
            twice: u64::try_from(all - heard.len())?,
            longest_gap: longest_gap(&heard, sent),
        })
    }
}

/// The longest run of numbers that are not among those heard, which are in order.
fn longest_gap(heard: &[u64], sent: u64) -> Duration {
    let ends = heard.iter().copied().chain([sent]);
    let mut next = 0;
    let gaps = ends.map(|number| number.saturating_sub(std::mem::replace(&mut next, number + 1)));
    let longest = u32::try_from(gaps.max().unwrap_or_default());
    EVERY.saturating_mul(longest.unwrap_or(u32::MAX))
}

fn send(mouth: &UdpSocket, running: &AtomicBool) -> Result<u64> {
    let started = Instant::now();
    let mut number: u64 = 0;
    while running.load(Ordering::Relaxed) {
        // What the kernel refuses, because the way is unreachable, is lost like any other.
        let _ = mouth.send(&number.to_le_bytes());
        number += 1;
        let due = EVERY.saturating_mul(u32::try_from(number)?);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    Ok(number)
}

fn receive(ears: &UdpSocket, running: &AtomicBool) -> Vec<u64> {
    let mut heard = Vec::new();
    let mut buffer = [0; 8];
    loop {
        match ears.recv(&mut buffer) {
            Ok(_) => heard.push(u64::from_le_bytes(buffer)),
            Err(_) if running.load(Ordering::Relaxed) => {}
            Err(_) => return heard,
        }
    }
}

/// An open TCP connection between two pods over IPv4.
#[derive(Debug)]
pub struct Connection {
    near: TcpStream,
    far: TcpStream,
}

impl Connection {
    /// Opens it.
    ///
    /// # Errors
    /// When the pods cannot reach each other.
    pub fn open(from: &Pod, to: &Pod) -> Result<Self> {
        let address = to.ipv4()?;
        let listener = to.inside(|| Ok(TcpListener::bind((address, 0))?))?;
        let target = listener.local_addr()?;
        let near = from.inside(|| Ok(TcpStream::connect_timeout(&target, STALL)?))?;
        let (far, _) = listener.accept()?;
        near.set_read_timeout(Some(STALL))?;
        far.set_read_timeout(Some(STALL))?;
        Ok(Self { near, far })
    }

    /// Sends bytes each way and compares.
    ///
    /// # Errors
    /// When the connection was reset or stands still for 30 s.
    pub fn carries(&self, length: usize) -> Result<()> {
        for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            let mut sent = vec![0; length];
            getrandom::fill(&mut sent)?;
            let heard = std::thread::scope(|scope| {
                let sender = scope.spawn(|| (&*from).write_all(&sent));
                let mut heard = vec![0; length];
                let read = (&*to).read_exact(&mut heard);
                let wrote = sender.join().map_err(|_| anyhow!("the sender panicked"))?;
                wrote.and(read).context("the connection broke")?;
                Ok::<_, anyhow::Error>(heard)
            })?;
            ensure!(sent == heard, "bytes were changed");
        }
        Ok(())
    }
}
