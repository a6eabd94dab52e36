//! A place: a network namespace and a mount namespace that code and programs run in.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag};

use super::process::{Process, Registry};
use crate::isolation;

/// Seconds after which a program run by [`Place::run`] is ended.
const RUN_LIMIT: &str = "90";

/// What a node of the machine's own may have there, which no lab may see.
const HIDDEN: [&str; 6] = [
    "etc/cni",
    "etc/sotto",
    "opt/cni",
    "var/lib/sotto",
    "var/lib/sotto-controller",
    "var/lib/sotto-store",
];

static STARTING: RwLock<()> = RwLock::new(());

/// To be held while a program is being started past [`Place`]: its process has, until it executes, a copy
/// of every socket of this one, so that a port just closed is still taken.
pub fn starting() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

/// A machine's or pod's inside.
#[derive(Debug)]
pub struct Place {
    name: String,
    network: File,
    mounts: Arc<File>,
    /// Where it has process ids of its own.
    processes: Option<Arc<File>>,
    folder: PathBuf,
    registry: Arc<Registry>,
    /// Path under which `ip netns` finds it; unmounted on drop.
    handle: Mutex<Option<PathBuf>>,
}

impl Place {
    /// Makes a machine: its own network, and private `/run`, `/etc`, `/var`, `/opt` and `/sys`.
    pub(super) fn machine(name: &str, folder: &Path, registry: &Arc<Registry>) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (network, mounts) = on_new_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
            isolation::make_private()?;
            for hidden in HIDDEN {
                hide(hidden, folder)?;
            }
            for kept in ["etc", "var", "opt"] {
                overlay(kept, folder)?;
            }
            isolation::mount_new("tmpfs", Path::new("/run"))?;
            isolation::mount_new("sysfs", Path::new("/sys"))?;
            std::fs::create_dir_all("/run/netns")?;
            Ok((this_threads("net")?, this_threads("mnt")?))
        })
        .with_context(|| format!("make machine {name}"))?;
        Ok(Self::new(name, network, Arc::new(mounts), folder, registry))
    }

    /// Makes a network namespace for a pod on this machine, at `/run/netns/<name>` there.
    pub(super) fn pod(&self, name: &str) -> Result<Self> {
        let path = PathBuf::from("/run/netns").join(name);
        let network = self.inside(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::create(&path)?;
            isolation::mount_bind(Path::new("/proc/thread-self/ns/net"), &path)?;
            this_threads("net")
        })?;
        let mounts = Arc::clone(&self.mounts);
        let mut pod = Self::new(name, network, mounts, &self.folder, &self.registry);
        pod.processes.clone_from(&self.processes);
        Ok(pod)
    }

    /// A network namespace that somebody else made on this machine.
    pub(super) fn namespace(&self, name: &str, path: &str) -> Result<Self> {
        let network = self.inside(|| File::open(path).with_context(|| format!("open {path}")))?;
        let mounts = Arc::clone(&self.mounts);
        let mut pod = Self::new(name, network, mounts, &self.folder, &self.registry);
        pod.processes.clone_from(&self.processes);
        Ok(pod)
    }

    /// The place that a running process is in, by its namespaces.
    pub(super) fn of_process(
        name: &str,
        pid: i32,
        folder: &Path,
        registry: &Arc<Registry>,
    ) -> Result<Self> {
        let open = |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            File::open(&path).with_context(|| format!("open {path} of {name}"))
        };
        let mounts = Arc::new(open("mnt")?);
        let mut place = Self::new(name, open("net")?, mounts, folder, registry);
        place.processes = Some(Arc::new(open("pid")?));
        Ok(place)
    }

    fn new(
        name: &str,
        network: File,
        mounts: Arc<File>,
        folder: &Path,
        registry: &Arc<Registry>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            network,
            mounts,
            processes: None,
            folder: folder.to_owned(),
            registry: Arc::clone(registry),
            handle: Mutex::new(None),
        }
    }

    /// Lets `ip netns` find the place by a name that says whose it is.
    pub(super) fn publish(&self, name: &str) -> Result<()> {
        let path = PathBuf::from("/run/netns").join(name);
        File::create(&path)?;
        let source = format!("/proc/self/fd/{}", raw(&self.network));
        isolation::mount_bind(Path::new(&source), &path)?;
        *self.handle.lock().map_err(|_| poisoned())? = Some(path);
        Ok(())
    }

    /// A path by which `ip link set … netns` finds the place from any other.
    pub(super) fn anchor(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), raw(&self.network))
    }

    /// The name of the machine or pod.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs code in the place, on a thread of its own: sockets it opens and programs it starts
    /// belong to the place, whoever uses them afterwards.
    ///
    /// # Errors
    /// When the namespaces cannot be entered, or what the code returns.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        // Sockets closed before this call are closed for good after it.
        drop(STARTING.write().unwrap_or_else(PoisonError::into_inner));
        on_new_thread(|| {
            unshare(CloneFlags::CLONE_FS)?;
            setns(self.mounts.as_ref(), CloneFlags::CLONE_NEWNS)?;
            setns(&self.network, CloneFlags::CLONE_NEWNET)?;
            // Programs started from here on are in it, the thread itself is not.
            if let Some(processes) = &self.processes {
                setns(processes.as_ref(), CloneFlags::CLONE_NEWPID)?;
            }
            work()
        })
    }

    /// Runs a program to its end and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started, takes over 90 s, or fails; the text holds what it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.run_with_input(program, arguments, &[], "")
    }

    /// Runs a shell line; see [`Place::run`].
    ///
    /// # Errors
    /// As [`Place::run`].
    pub fn shell(&self, line: &str) -> Result<String> {
        self.run("sh", &["-ec", line])
    }

    /// Runs a program with environment variables and standard input.
    ///
    /// # Errors
    /// As [`Place::run`].
    pub fn run_with_input(
        &self,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        input: &str,
    ) -> Result<String> {
        let output = self.output(program, arguments, environment, input)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        bail!(
            "{program} {} in {} ended with {}: {said}{}",
            arguments.join(" "),
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    }

    /// Runs a program and returns its status and what it printed, failed or not.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(
        &self,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        input: &str,
    ) -> Result<std::process::Output> {
        self.inside(|| {
            let starting = starting();
            let mut child = Command::new("timeout")
                .args(["--kill-after=2", RUN_LIMIT, program])
                .args(arguments)
                .envs(environment.iter().copied())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .with_context(|| format!("start {program}"))?;
            drop(starting);
            let mut stdin = child.stdin.take().context("no standard input")?;
            // A program may end without reading; that is its business.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            Ok(child.wait_with_output()?)
        })
    }

    /// Starts a program that runs until it is stopped or the lab ends. `role` names its log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<A: AsRef<OsStr> + Sync>(
        &self,
        role: &str,
        program: &str,
        arguments: &[A],
    ) -> Result<Process> {
        self.spawn_with(role, program, arguments, &[])
    }

    /// [`Place::spawn`] with environment variables.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_with<A: AsRef<OsStr> + Sync>(
        &self,
        role: &str,
        program: &str,
        arguments: &[A],
        environment: &[(&str, &str)],
    ) -> Result<Process> {
        let title = format!("{}-{role}", self.name);
        let log = self.folder.join(format!("{title}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        let err = out.try_clone()?;
        let child = self.inside(|| {
            let _starting = starting();
            Command::new(program)
                .args(arguments)
                .envs(environment.iter().copied())
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(err)
                .spawn()
                .with_context(|| format!("start {program} in {}", self.name))
        })?;
        self.registry.add(title, log, child)
    }

    /// Writes a file inside, its folders first.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]> + Send) -> Result<()> {
        self.inside(|| {
            if let Some(folder) = Path::new(path).parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(path, content).with_context(|| format!("write {path}"))
        })
    }

    /// Reads a file inside.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.inside(|| std::fs::read(path).with_context(|| format!("read {path}")))
    }

    /// Tells whether a file exists inside.
    pub fn has(&self, path: &str) -> bool {
        self.inside(|| Ok(Path::new(path).exists()))
            .unwrap_or(false)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(path) = self.handle.lock().ok().and_then(|mut handle| handle.take()) {
            let _ = nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH);
            let _ = std::fs::remove_file(path);
        }
    }
}

fn raw(file: &File) -> i32 {
    use std::os::fd::AsRawFd;
    file.as_raw_fd()
}

pub(super) fn poisoned() -> anyhow::Error {
    anyhow::anyhow!("another thread failed while it held the lab")
}

fn on_new_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(cause) => std::panic::resume_unwind(cause),
    })
}

fn this_threads(kind: &str) -> Result<File> {
    Ok(File::open(format!("/proc/thread-self/ns/{kind}"))?)
}

/// Leaves a file or folder out of an overlay that is laid later: a device 0,0 in the upper folder
/// says that nothing is there (the kernel's documentation of overlayfs, "whiteouts").
fn hide(hidden: &str, folder: &Path) -> Result<()> {
    let whiteout = folder.join(hidden);
    if let Some(parent) = whiteout.parent() {
        std::fs::create_dir_all(parent)?;
    }
    nix::sys::stat::mknod(&whiteout, SFlag::S_IFCHR, Mode::empty(), 0)
        .with_context(|| format!("hide the host's /{hidden}"))
}

/// Lets a machine write to one of the host's folders without the host seeing it.
fn overlay(kept: &str, folder: &Path) -> Result<()> {
    let upper = folder.join(kept);
    let work = folder.join(format!("{kept}-work"));
    std::fs::create_dir_all(&upper)?;
    std::fs::create_dir_all(&work)?;
    let options = format!(
        "lowerdir=/{kept},upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    let target = format!("/{kept}");
    nix::mount::mount(
        Some("overlay"),
        target.as_str(),
        Some("overlay"),
        nix::mount::MsFlags::empty(),
        Some(options.as_str()),
    )
    .with_context(|| format!("lay an overlay on {target}"))
}
