//! A plugin that is stopped before each thing that it changes, by the kernel's way of debuggers.
//!
//! Nothing in the plugin knows of it: each thread is stopped at the entry of system calls that change
//! something (files, netlink, namespaces, threads, the end). A killed one never makes the call that it
//! stopped at. One thread of the test has to do all of it: it is the tracer.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sotto_tests::lab::{program, starting};

use super::runtime::{Call, Runtime};

/// System calls that change something, or tell the runtime.
const CHANGES: [libc::c_long; 11] = [
    libc::SYS_mkdirat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_sendto,
    libc::SYS_write,
    libc::SYS_flock,
    libc::SYS_clone3,
    libc::SYS_setns,
    libc::SYS_ftruncate,
    libc::SYS_exit_group,
];

/// Their older forms, which not every machine has.
#[cfg(target_arch = "x86_64")]
const OLDER_CHANGES: [libc::c_long; 4] = [
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_rmdir,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CHANGES: [libc::c_long; 0] = [];

/// A plugin under the tracer.
pub(super) struct Traced {
    child: Child,
    main: Pid,
    /// Threads that are inside a system call.
    inside: BTreeSet<Pid>,
    /// The thread that stands before a change.
    stopped: Option<Pid>,
}

/// How a traced plugin ended.
pub(super) struct End {
    pub(super) status: WaitStatus,
    pub(super) answer: String,
}

impl Traced {
    /// Starts a call and stops it before it has read its input. Only inside the node.
    pub(super) fn start(call: &Call<'_>) -> Result<Self> {
        let starting = starting();
        let mut child = Command::new(program("sotto-cni")?)
            .env("CNI_COMMAND", call.verb)
            .env("CNI_CONTAINERID", call.container)
            .env("CNI_IFNAME", call.interface)
            .env("CNI_NETNS", format!("/run/netns/{}", call.netns))
            .env("CNI_PATH", "/opt/cni/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        drop(starting);
        let main = Pid::from_raw(i32::try_from(child.id())?);
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(main, options).context("trace the plugin")?;
        ptrace::interrupt(main)?;
        let stdin = child.stdin.take();
        let mut traced = Self {
            child,
            main,
            inside: BTreeSet::new(),
            stopped: None,
        };
        traced.wait_for_first_stop()?;
        write_all(stdin, &call.input)?;
        Ok(traced)
    }

    fn wait_for_first_stop(&mut self) -> Result<()> {
        let status = waitpid(self.main, Some(WaitPidFlag::__WALL))?;
        let WaitStatus::PtraceEvent(thread, ..) = status else {
            bail!("not stopped: {status:?}");
        };
        self.stopped = Some(thread);
        Ok(())
    }

    /// Runs until the next change and stops before it; `None` when the plugin has ended.
    pub(super) fn step(&mut self) -> Result<Option<libc::c_long>> {
        if let Some(thread) = self.stopped.take() {
            go_on(thread, None)?;
        }
        loop {
            // Only children of this thread: other tests have theirs.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(flags))? {
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                    if thread == self.main {
                        return Ok(None);
                    }
                }
                WaitStatus::PtraceSyscall(thread) if self.inside.remove(&thread) => {
                    go_on(thread, None)?;
                }
                WaitStatus::PtraceSyscall(thread) => {
                    self.inside.insert(thread);
                    if let Some(number) = change_of(self.main, thread)? {
                        self.stopped = Some(thread);
                        return Ok(Some(number));
                    }
                    go_on(thread, None)?;
                }
                WaitStatus::PtraceEvent(thread, ..) => go_on(thread, None)?,
                WaitStatus::Stopped(thread, signal) => {
                    let passed = (signal != Signal::SIGSTOP).then_some(signal);
                    go_on(thread, passed)?;
                }
                WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
            }
        }
    }

    /// Kills it where it stands.
    pub(super) fn kill(mut self) -> Result<End> {
        nix::sys::signal::kill(self.main, Signal::SIGKILL)?;
        self.end()
    }

    /// Waits until it ends by itself; what is stopped stays stopped.
    pub(super) fn end(&mut self) -> Result<End> {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let status = loop {
            let status = waitpid(None, Some(flags))?;
            match status {
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..)
                    if thread == self.main =>
                {
                    break status;
                }
                // Another thread goes on: only the one before its change hangs.
                WaitStatus::PtraceSyscall(thread)
                | WaitStatus::PtraceEvent(thread, ..)
                | WaitStatus::Stopped(thread, _) => {
                    let _ = ptrace::syscall(thread, None);
                }
                WaitStatus::Exited(..)
                | WaitStatus::Signaled(..)
                | WaitStatus::Continued(_)
                | WaitStatus::StillAlive => {}
            }
        };
        let mut answer = String::new();
        if let Some(stdout) = self.child.stdout.as_mut() {
            stdout.read_to_string(&mut answer)?;
        }
        Ok(End { status, answer })
    }
}

/// Lets a thread run to its next system call. One that another thread's exit has killed meanwhile is no more to be
/// told anything: its end is reported next.
fn go_on(thread: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("let a thread of the plugin go on"),
    }
}

fn write_all(stdin: Option<ChildStdin>, input: &str) -> Result<()> {
    let mut stdin = stdin.context("no standard input")?;
    Ok(stdin.write_all(input.as_bytes())?)
}

/// The number of the system call that a thread is about to make, if it changes something.
fn change_of(process: Pid, thread: Pid) -> Result<Option<libc::c_long>> {
    let path = format!("/proc/{process}/task/{thread}/syscall");
    // A thread that is being killed is gone, or runs.
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(None);
    };
    if text.starts_with("running") {
        return Ok(None);
    }
    let mut words = text.split_whitespace();
    let number: libc::c_long = words.next().context("no system call")?.parse()?;
    if CHANGES.contains(&number) || OLDER_CHANGES.contains(&number) {
        return Ok(Some(number));
    }
    let flags = words.nth(2).unwrap_or("0x0").trim_start_matches("0x");
    let flags = u64::from_str_radix(flags, 16)?;
    let makes = u64::try_from(libc::O_CREAT | libc::O_WRONLY | libc::O_RDWR)?;
    Ok((number == libc::SYS_openat && flags & makes != 0).then_some(number))
}

impl Runtime {
    /// Runs a call up to its change of that number and kills it there; `false` when it has fewer.
    pub(super) fn kill_at(&self, call: &Call<'_>, step: usize) -> Result<bool> {
        self.node.inside(|| {
            let mut traced = Traced::start(call)?;
            for _ in 0..=step {
                if traced.step()?.is_none() {
                    return Ok(false);
                }
            }
            traced.kill()?;
            Ok(true)
        })
    }

    /// Lets a call hang before its question of that number to the kernel, until it ends by itself.
    pub(super) fn hang_at(&self, call: &Call<'_>, question: usize) -> Result<(End, Duration)> {
        self.node.inside(|| {
            let mut traced = Traced::start(call)?;
            let started = std::time::Instant::now();
            let mut asked = 0;
            while asked < question {
                let step = traced.step()?.context("it ended before that question")?;
                asked += usize::from(step == libc::SYS_sendto);
            }
            Ok((traced.end()?, started.elapsed()))
        })
    }
}
