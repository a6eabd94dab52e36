//! Notices that this machine's memory may exist twice: a virtual machine that runs on from a snapshot,
//! or one that was resumed.
//!
//! A copy would seal other packets under keys and counters that were used already, so the control task
//! erases every key at once. The kernel tells of a snapshot by a uevent (`NEW_VMGENID`, Linux 6.10,
//! where the hypervisor has a generation id); a resume shows as CLOCK_BOOTTIME running ahead of
//! CLOCK_MONOTONIC. What was sent before the notice stays exposed.

use std::io;
use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::os::fd::AsFd as _;
use std::thread::Builder;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc::Sender;
use tracing::warn;

use crate::io::uevent::Uevents;

/// How often the clocks are compared.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// The two clocks are read one after the other; below this a difference is that, not a resume.
const TOLERANCE: Duration = Duration::from_millis(500);

/// Why memory may have been copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// The hypervisor gave this machine a new generation id.
    NewGenerationId,
    /// Kernel events were lost, perhaps that one.
    EventsLost,
    /// The machine slept, perhaps on a disk.
    Resumed,
}

/// Starts the thread that tells of each copy; it ends within a second once nobody listens.
///
/// # Errors
/// The process has no thread left.
pub(crate) fn watch(copies: Sender<Copied>) -> io::Result<()> {
    let uevents = Uevents::listen().inspect_err(|error| {
        warn!(%error, "Kernel events cannot be heard: snapshots of this machine go unnoticed");
    });
    let watch = move || watch_until_closed(uevents.ok().as_ref(), &copies);
    Builder::new().name("memory-copy".to_owned()).spawn(watch)?;
    Ok(())
}

fn watch_until_closed(uevents: Option<&Uevents>, copies: &Sender<Copied>) {
    let mut sleep = SleepClock::new(asleep());
    let mut event = [0; 8192];
    while !copies.is_closed() {
        wait(uevents);
        let received = uevents.map(|it| it.receive(&mut event));
        let told = received.and_then(|received| judge(received, &event));
        let resumed = sleep.resumed(asleep()).then_some(Copied::Resumed);
        let Some(copied) = told.or(resumed) else {
            continue;
        };
        warn!(reason = ?copied, "Memory may have been copied, every key is made anew");
        if copies.blocking_send(copied).is_err() {
            return;
        }
    }
}

fn wait(uevents: Option<&Uevents>) {
    let mut descriptors: Vec<_> = uevents
        .map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN))
        .into_iter()
        .collect();
    let longest = PollTimeout::try_from(COMPARE_EVERY).unwrap_or(PollTimeout::MAX);
    // Interrupted or not: both sources are looked at.
    let _ = poll(&mut descriptors, longest);
}

/// What one look at the kernel's events says. Events that were lost (`ENOBUFS`: the socket was full)
/// may have told of a copy: new keys cost a moment, old ones in two machines the secrecy of both.
fn judge(received: io::Result<usize>, event: &[u8]) -> Option<Copied> {
    match received {
        Ok(length) => event
            .get(..length)
            .is_none_or(is_new_generation_id)
            .then_some(Copied::NewGenerationId),
        Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => None,
        Err(_) => Some(Copied::EventsLost),
    }
}

/// A uevent is a headline and `KEY=value` pairs, each ended by NUL.
fn is_new_generation_id(event: &[u8]) -> bool {
    event
        .split(|byte| *byte == 0)
        .any(|pair| pair == b"NEW_VMGENID=1")
}

/// How long the machine has slept since boot.
fn asleep() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let awake = read(ClockId::CLOCK_MONOTONIC);
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(awake)
}

/// Remembers how long the machine had slept.
struct SleepClock {
    asleep: Duration,
}

impl SleepClock {
    fn new(asleep: Duration) -> Self {
        Self { asleep }
    }

    fn resumed(&mut self, asleep: Duration) -> bool {
        let slept = asleep.saturating_sub(self.asleep);
        if slept < TOLERANCE {
            return false;
        }
        self.asleep = asleep;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_generation_id_is_told_from_other_kernel_events() {
        let event = |pair: &str| format!("change@/devices/x\0ACTION=change\0{pair}\0SEQNUM=7\0");

        assert!(is_new_generation_id(event("NEW_VMGENID=1").as_bytes()));
        assert!(!is_new_generation_id(event("NEW_VMGENID=10").as_bytes()));
        assert!(!is_new_generation_id(
            event("DEVNAME=NEW_VMGENID").as_bytes()
        ));
        assert!(!is_new_generation_id(&[]));
        assert!(!is_new_generation_id(&[0xff; 8192]));
    }

    #[test]
    fn p10_lost_kernel_events_count_as_a_copy_and_none_at_all_does_not() {
        let failed = |errno| Err(io::Error::from_raw_os_error(errno));

        assert_eq!(judge(failed(libc::ENOBUFS), &[]), Some(Copied::EventsLost));
        assert_eq!(judge(failed(libc::EAGAIN), &[]), None);
        assert_eq!(judge(failed(libc::EINTR), &[]), None);
        let event = b"change@/devices/x\0NEW_VMGENID=1\0";
        let length = event.len();
        assert_eq!(judge(Ok(length), event), Some(Copied::NewGenerationId));
        assert_eq!(judge(Ok(9), event), None);
    }

    #[test]
    fn p10_a_resume_is_noticed_once_and_reading_two_clocks_is_none() {
        let mut clock = SleepClock::new(Duration::from_secs(5));

        assert!(!clock.resumed(Duration::from_millis(5_001)));
        assert!(clock.resumed(Duration::from_secs(60)));
        assert!(!clock.resumed(Duration::from_secs(60)));
        assert!(
            !clock.resumed(Duration::from_secs(59)),
            "clocks read in turn"
        );
    }

    #[test]
    fn kernel_events_can_be_listened_to() {
        let uevents = Uevents::listen();

        assert!(uevents.is_ok(), "{uevents:?}");
    }
}
