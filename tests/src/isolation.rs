//! A PID and mount namespace around the whole test program.
//!
//! Everything a lab makes lives inside it: when the program ends, by itself, by Ctrl-C or by
//! kill -9, the kernel takes processes, network namespaces, mounts and files with it. The outer
//! process only waits, because an orderly clean-up inside cannot survive its own death.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};

/// Where the inner program finds the folder for all files of its labs.
const BASE: &str = "SOTTO_LAB_BASE";

/// Says why no lab can be built here, if so.
pub fn refusal() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root");
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun");
    }
    None
}

/// For programs that are of no use where no lab can be built.
///
/// # Errors
/// Why none can.
pub fn require() -> Result<()> {
    refusal().map_or(Ok(()), |reason| {
        bail!("no lab can be built here: it {reason}")
    })
}

/// Runs the rest of the program in namespaces of its own. The outer process does not return.
///
/// # Errors
/// When the kernel refuses a namespace or a mount.
pub fn enter() -> Result<()> {
    match std::env::var_os(BASE) {
        Some(base) => settle(Path::new(&base)),
        None => supervise(),
    }
}

/// The folder for the files of all labs of this program: a tmpfs that no other program sees.
///
/// # Errors
/// When [`enter`] was not called.
pub fn base() -> Result<PathBuf> {
    let base = std::env::var_os(BASE).context("isolation::enter was not called")?;
    Ok(PathBuf::from(base))
}

/// The control group of this program's hosts, below each hierarchy.
///
/// # Errors
/// When [`enter`] was not called.
pub fn control_group() -> Result<String> {
    group_of(&base()?)
}

fn group_of(base: &Path) -> Result<String> {
    let name = base.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).context("the base has no name")
}

/// Control groups outlive their processes.
fn remove_control_groups(base: &Path) -> Result<()> {
    let group = group_of(base)?;
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup")?.flatten();
    let folders = hierarchies.map(|hierarchy| hierarchy.path().join(&group));
    for folder in folders.chain([Path::new("/sys/fs/cgroup").join(&group)]) {
        remove_empty(&folder);
    }
    Ok(())
}

fn remove_empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(folder);
}

fn supervise() -> Result<()> {
    let base = tempfile::Builder::new().prefix("so-lab-").tempdir()?;
    let mut watched = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        watched.add(signal);
    }
    watched.thread_block()?;
    let program = std::env::current_exe()?;
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
        .context("unshare PID and mount namespaces: in a container, give it CAP_SYS_ADMIN")?;
    make_private()?;
    let mut inner = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(BASE, base.path())
        .spawn()
        .context("start the program in its namespaces")?;
    let code = wait_for(&mut inner, &watched)?;
    remove_control_groups(base.path())?;
    drop(base);
    std::process::exit(code)
}

fn wait_for(inner: &mut Child, watched: &SigSet) -> Result<i32> {
    loop {
        let signal = watched.wait()?;
        if signal != Signal::SIGCHLD {
            inner.kill()?;
            inner.wait()?;
            eprintln!("\ninterrupted: every process, namespace and file of the lab is gone");
            return Ok(128 + signal as i32);
        }
        if let Some(status) = inner.try_wait()? {
            return Ok(exit_code(status));
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn settle(base: &Path) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    SigSet::all().thread_unblock()?;
    // Mounts of the inner program are its own: the outer one can then remove the folder below.
    unshare(CloneFlags::CLONE_NEWNS)?;
    make_private()?;
    mount_new("proc", Path::new("/proc"))?;
    mount_new("tmpfs", base)?;
    mount_new("tmpfs", Path::new("/run"))?;
    std::fs::create_dir_all("/run/netns")?;
    Ok(())
}

/// Keeps mounts made from here on out of every other namespace.
pub(crate) fn make_private() -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context(
        "make mounts private: in a chroot, / must be a mount point (mount --bind it on itself)",
    )
}

/// Mounts a new file system of a kind.
pub(crate) fn mount_new(kind: &str, target: &Path) -> Result<()> {
    mount(
        Some(kind),
        target,
        Some(kind),
        MsFlags::empty(),
        None::<&str>,
    )
    .with_context(|| format!("mount {kind} on {}", target.display()))
}

/// Shows a file or folder at a second place.
pub(crate) fn mount_bind(source: &Path, target: &Path) -> Result<()> {
    let none = None::<&str>;
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("show {} at {}", source.display(), target.display()))
}
