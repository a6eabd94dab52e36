//! Ends a call that hangs, whatever it hangs in.
//!
//! Waits of ours end by their own deadline, a little earlier. What remains is what has none: a disk, the
//! kernel, a page of the program itself. A thread of its own then answers "try again later" and ends
//! the process. What the call did until then is left as a killed plugin leaves it, which DEL and the
//! pool clean up. Exactly one answer is printed: whoever claims it first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cni_protocol::version::CniVersion;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::app;
use crate::failure::Failure;

/// Watches a call until it is dropped.
#[derive(Clone)]
pub(crate) struct Watchdog {
    call: Arc<Call>,
    _ends_with_the_last: Sender<()>,
}

struct Call {
    verb: &'static str,
    limit: Duration,
    version: OnceLock<CniVersion>,
    is_answered: AtomicBool,
    /// The process group of another plugin that works for this one.
    delegate: Mutex<Option<Pid>>,
}

impl Watchdog {
    /// Starts to watch a call that may take so long.
    pub(crate) fn start(verb: &'static str, limit: Duration) -> Self {
        let (sender, receiver) = channel();
        let call = Arc::new(Call {
            verb,
            limit,
            version: OnceLock::new(),
            is_answered: AtomicBool::new(false),
            delegate: Mutex::new(None),
        });
        let watched = Arc::clone(&call);
        let thread = std::thread::Builder::new().spawn(move || {
            if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                watched.expire();
            }
        });
        // The waits with deadlines still end.
        if let Err(error) = thread {
            eprintln!("sotto-cni: WARN {verb} is not watched: {error}");
        }
        Self {
            call,
            _ends_with_the_last: sender,
        }
    }

    /// Learns the version in which to answer.
    pub(crate) fn answer_in(&self, version: CniVersion) {
        let _ = self.call.version.set(version);
    }

    /// Takes the right to answer; when the time is over, the process ends in here.
    pub(crate) fn claim_answer(&self) {
        if self.call.is_answered.swap(true, Ordering::SeqCst) {
            loop {
                std::thread::park();
            }
        }
    }

    /// Names the process group that has to end with this call.
    pub(crate) fn set_delegate(&self, group: Option<Pid>) {
        let mut delegate = self.call.delegate.lock();
        **delegate.as_mut().unwrap_or_else(PoisonError::get_mut) = group;
    }
}

impl Call {
    fn expire(&self) {
        if !self.is_answered.swap(true, Ordering::SeqCst) {
            let failure = Failure::TookTooLong {
                verb: self.verb,
                limit: self.limit,
            };
            let version = self.version.get().copied().unwrap_or(CniVersion::LATEST);
            app::print_bounded(&failure.to_cni().to_json(version));
        }
        let delegate = self.delegate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = *delegate {
            let _ = killpg(group, Signal::SIGKILL);
        }
        std::process::exit(1);
    }
}
