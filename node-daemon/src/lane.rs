//! The lane's thread: carries out, decides nothing (`tunnel_core::lane` does).
//!
//! Take what the control side wants, receive, then send, tell what happened, and sleep when
//! nothing moves. After the last packet it looks on for a while before it sleeps: a third off the
//! round trip, for CPU that follows traffic only. It ends when its handle is stopped or dropped,
//! or when the tun device is gone.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle, yield_now};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc as events;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{error, info, warn};
use tunnel_core::counters::LaneCounters;
use tunnel_core::drop_reason::DropReason;
use tunnel_core::lane::{Lane, LaneSettings, Run, Wire};
use tunnel_core::moment::Moment;
use tunnel_core::packet::Mtu;
use tunnel_core::plane::{LaneCommand, LaneEvent, LaneIndex};

use crate::clock;
use crate::io::tun::{self, LONGEST_FRAME, TunQueue};
use crate::io::udp::{LONGEST_BATCH, LaneSocket, Received};
use crate::io::wake::Wake;

/// Batches that are received before the tun has its turn, and the other way round (a guess: a
/// megabyte each).
const TURN: usize = 16;

/// How long events wait for room at the control side before they are tried again.
const RETRY_EVENTS: Duration = Duration::from_millis(10);

/// What a lane is made of.
pub(crate) struct LaneConfig {
    /// Its number.
    pub(crate) index: LaneIndex,
    /// How many lanes this node has.
    pub(crate) lanes: u8,
    /// The tun's MTU.
    pub(crate) mtu: Mtu,
    /// How long it looks on after the last packet before it sleeps.
    pub(crate) poll_for: Duration,
    /// Its queue of the tun.
    pub(crate) queue: TunQueue,
    /// Its socket; the first lane's is the control side's too.
    pub(crate) socket: Arc<LaneSocket>,
    /// Where its events go.
    pub(crate) events: events::Sender<(LaneIndex, LaneEvent)>,
}

/// A running lane. Dropped, it stops the lane.
pub(crate) struct LaneHandle {
    index: LaneIndex,
    commands: Option<Sender<LaneCommand>>,
    wake: Arc<Wake>,
    counters: Arc<LaneCounters>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a lane.
///
/// # Errors
/// The process has no thread or descriptor left.
pub(crate) fn spawn(config: LaneConfig) -> io::Result<LaneHandle> {
    let LaneConfig {
        index,
        lanes,
        mtu,
        poll_for,
        queue,
        socket,
        events,
    } = config;
    let counters = Arc::new(LaneCounters::default());
    let wake = Arc::new(Wake::new()?);
    let (sender, commands) = channel();
    let settings = LaneSettings {
        index,
        lanes,
        mtu,
        udp: queue.udp(),
    };
    let lane = LaneThread {
        index,
        lane: Lane::new(settings, Arc::clone(&counters)),
        wire: UdpWire {
            socket,
            counters: Arc::clone(&counters),
        },
        queue,
        commands,
        events,
        wake: Arc::clone(&wake),
        poll_for,
        batch: vec![0; LONGEST_BATCH],
        control: nix::cmsg_space!(i32),
        frame: vec![0; LONGEST_FRAME],
    };
    let thread = Builder::new()
        .name(format!("lane-{index}"))
        .spawn(move || lane.run())?;
    Ok(LaneHandle {
        index,
        commands: Some(sender),
        wake,
        counters,
        thread: Some(thread),
    })
}

impl LaneHandle {
    /// Tells the lane something; in vain if it has ended.
    pub(crate) fn command(&self, command: LaneCommand) {
        if let Some(commands) = &self.commands
            && commands.send(command).is_ok()
        {
            self.wake.wake();
        }
    }

    /// What it has counted.
    pub(crate) fn counters(&self) -> &LaneCounters {
        &self.counters
    }

    /// False once it has ended, because the tun device is gone.
    pub(crate) fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for LaneHandle {
    fn drop(&mut self) {
        // Without senders the channel ends, and with it the lane.
        self.commands = None;
        self.wake.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!(lane = %self.index, "Lane panicked");
        }
    }
}

struct LaneThread {
    index: LaneIndex,
    lane: Lane,
    wire: UdpWire,
    queue: TunQueue,
    commands: Receiver<LaneCommand>,
    events: events::Sender<(LaneIndex, LaneEvent)>,
    wake: Arc<Wake>,
    poll_for: Duration,
    batch: Vec<u8>,
    control: Vec<u8>,
    frame: Vec<u8>,
}

/// Whether the lane goes on.
enum Step {
    Moved,
    Still,
    End,
}

impl LaneThread {
    fn run(mut self) {
        info!(lane = %self.index, "Lane started");
        let mut last_moved = clock::moment();
        loop {
            let now = clock::moment();
            let Some(told) = self.take_commands(now) else {
                break;
            };
            let received = self.receive(now);
            let sent = match self.transmit(now) {
                Step::Moved => true,
                Step::Still => false,
                Step::End => break,
            };
            let all_told = self.report_events();
            if told || received || sent {
                last_moved = now;
            } else if now.duration_since(last_moved) < self.poll_for {
                yield_now();
            } else {
                self.sleep(all_told);
            }
        }
        info!(lane = %self.index, "Lane ended");
    }

    /// Whether there were any; `None` when there will be no more.
    fn take_commands(&mut self, now: Moment) -> Option<bool> {
        let mut told = false;
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.lane.handle_command(command, now, &mut self.wire),
                Err(TryRecvError::Empty) => return Some(told),
                Err(TryRecvError::Disconnected) => return None,
            }
            told = true;
        }
    }

    fn receive(&mut self, now: Moment) -> bool {
        for turn in 0..TURN {
            let received = self.wire.socket.receive(&mut self.batch, &mut self.control);
            match received {
                Ok(Received::Batch {
                    source,
                    length,
                    segment,
                }) => {
                    let batch = self.batch.get_mut(..length).unwrap_or_default();
                    for frame in self.lane.inbound(source, batch, segment, now) {
                        if self.queue.write(frame).is_err() {
                            self.wire.counters.dropped(DropReason::TunWriteFailed);
                        }
                    }
                }
                Ok(Received::Lost) => self.wire.counters.dropped(DropReason::CutDatagram),
                Ok(Received::Nothing) => return turn > 0,
                Err(error) => {
                    warn!(lane = %self.index, %error, "Receiving failed");
                    return turn > 0;
                }
            }
        }
        true
    }

    fn transmit(&mut self, now: Moment) -> Step {
        let mut step = Step::Still;
        for _ in 0..TURN {
            match self.queue.read(&mut self.frame) {
                Ok(length) => {
                    let frame = self.frame.get(..length).unwrap_or_default();
                    self.lane.outbound(frame, now, &mut self.wire);
                    step = Step::Moved;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if tun::is_gone(&error) => {
                    error!(lane = %self.index, %error, "Tun device is gone, lane cannot go on");
                    return Step::End;
                }
                // The frame is lost: the kernel could not describe it in the header.
                Err(_) => self.wire.counters.dropped(DropReason::BadVnetHeader),
            }
        }
        self.lane.flush(now, &mut self.wire);
        step
    }

    /// False if the control side had no room for all of them.
    fn report_events(&mut self) -> bool {
        while let Some(event) = self.lane.poll_event() {
            match self.events.try_send((self.index, event)) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full((_, event))) => {
                    self.lane.return_event(event);
                    return false;
                }
            }
        }
        true
    }

    fn sleep(&self, all_told: bool) {
        let wanted = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut descriptors = [
            wanted(self.wake.as_fd()),
            wanted(self.wire.socket.as_fd()),
            wanted(self.queue.as_fd()),
        ];
        let timeout = if all_told {
            PollTimeout::NONE
        } else {
            PollTimeout::try_from(RETRY_EVENTS).unwrap_or(PollTimeout::ZERO)
        };
        // Interrupted or not: the next round looks at everything.
        let _ = poll(&mut descriptors, timeout);
        self.wake.clear();
    }
}

/// Sends runs on the lane's socket.
struct UdpWire {
    socket: Arc<LaneSocket>,
    counters: Arc<LaneCounters>,
}

impl Wire for UdpWire {
    fn send(&mut self, run: Run<'_>) {
        let lost = self.socket.send_run(&run);
        if lost > 0 {
            self.counters.dropped_many(DropReason::SendFailed, lost);
        }
    }
}

#[cfg(test)]
mod tests;
