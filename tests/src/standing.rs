//! A cluster that stands until it is taken down: a program in the background holds it, and with its
//! end the kernel takes everything.
//!
//! What it needs to be found again is in one folder beside the programs: its process id, its log, and
//! a kubeconfig for this machine's `kubectl`, which reaches the API server by a port on loopback.

mod doorway;
mod eve;

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kubernetes::folder_of;
use crate::kubernetes::whole::{ProxyMode, Trio};
use crate::lab::Lab;
use crate::{isolation, wait};

/// From nothing to a cluster with Sotto; 45 s were seen.
const UP_LIMIT: Duration = Duration::from_secs(600);
const DOWN_LIMIT: Duration = Duration::from_secs(60);

/// Raises a cluster in the background, unless one is there, and waits until it is ready.
///
/// # Errors
/// When it cannot be raised; the text names its log, whose lines were shown.
pub fn up() -> Result<()> {
    isolation::require()?;
    let folder = folder()?;
    let mut started = None;
    if let Some(pid) = holder(&folder) {
        println!("A cluster is there already (process {pid}).");
    } else {
        println!("Raised in the background: `make cluster-down` ends it at any time.");
        started = Some(start_holding(&folder)?);
    }
    let mut has_ended = || match &mut started {
        Some(holding) => holding.try_wait().is_ok_and(|status| status.is_some()),
        None => holder(&folder).is_none(),
    };
    let mut shown = 0;
    let ready = wait::until_some("the cluster to be ready", UP_LIMIT, || {
        shown = show_progress(&folder, shown);
        let ready = folder.join("ready").exists();
        (ready || has_ended()).then_some(ready)
    });
    show_progress(&folder, shown);
    ensure!(
        ready?,
        "it ended; all it said is in {}",
        folder.join("log").display()
    );
    show_use(&folder)
}

fn start_holding(folder: &Path) -> Result<Child> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)?;
    let log = File::create(folder.join("log"))?;
    let mut holding = Command::new(std::env::current_exe()?);
    holding.arg("hold").stdin(Stdio::null());
    holding
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let holding = holding.spawn()?;
    std::fs::write(folder.join("pid"), holding.id().to_string())?;
    Ok(holding)
}

/// Takes the cluster down and waits until it is gone.
///
/// # Errors
/// When it does not end.
pub fn down() -> Result<()> {
    let folder = folder()?;
    match holder(&folder) {
        None => println!("No cluster stands."),
        Some(pid) => {
            kill(Pid::from_raw(pid), Signal::SIGTERM).context("ask the cluster to end")?;
            wait::until("the cluster to end", DOWN_LIMIT, || {
                holder(&folder).is_none()
            })?;
            println!("The cluster is gone.");
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

/// Listens on the switch between the hosts, by these arguments of `tcpdump`; returns only if it cannot.
///
/// # Errors
/// When no cluster stands.
pub fn eve(arguments: &[String]) -> Result<()> {
    let holder = holder(&folder()?);
    eve::listen(
        holder.context("no cluster stands: make cluster")?,
        arguments,
    )
}

/// Holds a cluster up until a signal ends it.
///
/// # Errors
/// When it cannot be raised.
pub fn hold() -> Result<()> {
    isolation::enter()?;
    let folder = folder()?;
    let lab = Lab::new()?;
    let raised = raise(&lab, &folder);
    if let Err(error) = &raised {
        println!("{error:#}\n{}", lab.report());
    }
    let _cluster = raised?;
    File::create(folder.join("ready"))?;
    loop {
        std::thread::park();
    }
}

fn raise(lab: &Lab, folder: &Path) -> Result<Trio> {
    println!("==> three hosts, a control plane, Sotto");
    let trio = Trio::raise(lab, ProxyMode::Nftables)?;
    let port = doorway::open(&trio.cluster)?;
    let mut file = File::create(folder.join("kubeconfig"))?;
    file.write_all(trio.cluster.api.kubeconfig_for(port)?.as_bytes())?;
    Ok(trio)
}

fn show_progress(folder: &Path, shown: usize) -> usize {
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    for line in log.lines().skip(shown) {
        println!("{line}");
    }
    log.lines().count()
}

fn show_use(folder: &Path) -> Result<()> {
    let version = crate::kubernetes::version();
    println!(
        "\nexport KUBECONFIG={}\nexport PATH={}:$PATH  # kubectl {version}, if you have none\nkubectl get nodes\nmake cluster-eve  # what somebody reads on the switch between the nodes",
        folder.join("kubeconfig").display(),
        folder_of(&format!("{version}/kubectl"))?
    );
    Ok(())
}

/// Where the cluster's own files are: beside the programs.
fn folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let build = program.parent().and_then(Path::parent);
    Ok(build.context("no build folder")?.join("cluster"))
}

/// The process that holds the cluster, if it lives: its id might be another's by now.
fn holder(folder: &Path) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(folder.join("pid"))
        .ok()?
        .parse()
        .ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = line.windows(12).any(|part| part == b"cluster\0hold");
    ours.then_some(pid)
}
