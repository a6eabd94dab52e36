//! Pod addresses of a node: one reservation file per attachment, in a folder that dies with the boot.
//!
//! The plugin reserves and frees, the daemon looks after what nobody frees. It asks the kernel, not
//! either of them, what lives, and never makes or removes a link (`cni-plugin` does).
//!
//! ```text
//! <runtime directory>/pool/<boot id>/lock        held while an address is chosen
//!                                   /held/<link>.json             an attachment's addresses
//!                                   /resting/<time>-<link>.json   addresses that rest before reuse
//! ```
//! Every change is one rename or one unlink, so a killed plugin leaves the pool as before or as
//! after. An ADD keeps its reservation's file locked while it runs: a file that is not locked and has
//! no link belongs to nobody. Freeing needs no common lock, because a file that moves from `held` to
//! `resting` is seen in at least one of them by a reader that reads them in that order.

mod choose;
mod error;
mod held;
mod resting;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cni_protocol::attachment::AttachmentKey;
use cni_protocol::node_state::NodeState;
use cni_protocol::reservation::{NetnsIdentity, Reservation};

use choose::Choice;
pub use error::PoolError;
use error::failed;
pub use held::{Found, Held};
use nix::errno::Errno;
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use resting::Resting;

/// Name of the folder, in the runtime directory, with the pools of all boots.
pub const FOLDER: &str = "pool";

/// How long an address rests before another pod gets it, so that late packets and cached names of
/// the old pod do not reach the new one: longer than TCP's TIME_WAIT of 60 s, a guess beyond that.
pub const REST: Duration = Duration::from_secs(120);

/// Pause between two tries for a lock; a holder needs a few milliseconds.
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// What tells a reservation that is used from one that is left over, apart so that tests can answer.
pub trait Links {
    /// Whether a link of that name exists on the node; also when the kernel does not say, because
    /// what has no link is freed.
    fn has_link(&self, name: &str) -> bool;

    /// Time since boot, suspend included.
    fn since_boot(&self) -> Duration;
}

/// What an ADD asks the kernel beside that.
pub trait Kernel: Links {
    /// Why the kernel did not answer.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Whether some route leads to exactly this address.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn has_host_route(&mut self, address: IpAddr) -> Result<bool, Self::Error>;
}

/// The links of the network namespace of the calling thread.
#[derive(Clone, Copy, Debug)]
pub struct NodeLinks;

impl Links for NodeLinks {
    fn has_link(&self, name: &str) -> bool {
        may_exist(nix::net::if_::if_nametoindex(name))
    }

    fn since_boot(&self) -> Duration {
        // Every Linux has the clock.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
    }
}

/// Only the kernel's "no such device" is a no: the question also takes a socket and a descriptor.
fn may_exist(index: nix::Result<libc::c_uint>) -> bool {
    !matches!(index, Err(Errno::ENODEV))
}

/// The reservations of this boot.
#[derive(Debug)]
pub struct Pool {
    directory: PathBuf,
}

/// What an ADD wants addresses for.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The attachment.
    pub key: &'a AttachmentKey,
    /// Name of the link on the node, which is also the reservation's.
    pub link: &'a str,
    /// The pod's namespace.
    pub netns: &'a NetnsIdentity,
    /// Ranges and addresses that no pod gets.
    pub node: &'a NodeState,
    /// What another plugin assigned; `None` to choose here.
    pub assigned: Option<&'a [IpAddr]>,
}

/// What a DEL finds under its attachment's name.
#[derive(Debug)]
pub enum Claim {
    /// No reservation.
    Nothing,
    /// The attachment's reservation, claimed.
    Ours(Held),
    /// One of another attachment with the same hash, which keeps what it has.
    Anothers,
}

impl Pool {
    /// The pool of a boot; touches nothing.
    #[must_use]
    pub fn new(runtime_directory: &Path, boot_id: &str) -> Self {
        let directory = runtime_directory.join(FOLDER).join(boot_id);
        Self { directory }
    }

    /// Reserves one address of each family that the node has, or what another plugin assigned, so that
    /// no address has two owners whoever chose it.
    ///
    /// # Errors
    /// When there is none or it cannot be given, the attachment has some, or the pool or the kernel does not answer.
    pub fn reserve(
        &self,
        wanted: &Wanted<'_>,
        kernel: &mut impl Kernel,
        until: Instant,
    ) -> Result<Held, PoolError> {
        self.create_folders()?;
        let _lock = self.lock(until)?;
        self.remove_earlier_boots();
        self.refuse_second(wanted.key, wanted.link)?;
        self.sweep(kernel)?;
        let choice = Choice {
            node: wanted.node,
            used: self.used_addresses(wanted, kernel)?,
        };
        let mut resting = Resting::read(&self.resting_folder(), kernel.since_boot())?;
        let addresses = match wanted.assigned {
            None => choice.of_each_family(&mut resting, kernel)?,
            Some(addresses) => choice.assigned(addresses, kernel)?,
        };
        let reservation = Reservation {
            key: wanted.key.clone(),
            addresses,
            netns: wanted.netns.clone(),
        };
        Held::create(
            &self.held_folder(),
            wanted.link,
            reservation,
            self.resting_folder(),
        )
    }

    /// Refuses what [`Pool::reserve`] would refuse for the attachment's name, before anything is done
    /// for it elsewhere.
    ///
    /// # Errors
    /// When the attachment, or another of the same name, has a reservation.
    pub fn refuse_second(&self, key: &AttachmentKey, link: &str) -> Result<(), PoolError> {
        let found = self.found(link);
        if !found.exists() {
            return Ok(());
        }
        match found.read().map(|reservation| reservation.key) {
            Some(owner) if owner != *key => Err(PoolError::NameTaken {
                wanted: key.clone(),
                link: link.into(),
                owner,
            }),
            Some(_) | None => Err(PoolError::AlreadyReserved(key.clone())),
        }
    }

    /// Frees what no link stands for and no call works on; the names of those links.
    ///
    /// # Errors
    /// When the pool's lock is taken for too long or a file operation fails.
    pub fn reconcile(&self, links: &impl Links, until: Instant) -> Result<Vec<String>, PoolError> {
        if !self.held_folder().exists() {
            return Ok(Vec::new());
        }
        let _lock = self.lock(until)?;
        self.sweep(links)
    }

    /// Finds an attachment's reservation and waits until no ADD works on it.
    ///
    /// # Errors
    /// When that takes until `until`, or a file operation fails.
    pub fn claim(
        &self,
        key: &AttachmentKey,
        link: &str,
        until: Instant,
    ) -> Result<Claim, PoolError> {
        let found = self.found(link);
        if found.is_unfinished() {
            // Who writes one holds the pool's lock.
            let _lock = self.lock(until)?;
            Held::remove_unfinished(&self.held_folder())?;
        }
        Ok(match found.claim(&self.resting_folder(), until)? {
            None => Claim::Nothing,
            Some(held) if held.reservation().is_some_and(|it| it.key != *key) => Claim::Anothers,
            Some(held) => Claim::Ours(held),
        })
    }

    /// All reservations, as they stand.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn reservations(&self) -> Result<Vec<Found>, PoolError> {
        Found::all(&self.held_folder())
    }

    /// What is reserved under a link's name.
    #[must_use]
    pub fn reservation_of(&self, link: &str) -> Option<Reservation> {
        self.found(link).read()
    }

    /// Frees a reservation that nobody works on; `false` when somebody does.
    ///
    /// # Errors
    /// When a file operation fails.
    pub fn free(&self, found: &Found, now: Duration) -> Result<bool, PoolError> {
        match found.try_claim(&self.resting_folder())? {
            Some(held) => held.release(now).map(|()| true),
            None => Ok(false),
        }
    }

    /// Names of the families in which an ADD would find no address.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn exhausted_families(
        &self,
        node: &NodeState,
        links: &impl Links,
    ) -> Result<Vec<&'static str>, PoolError> {
        let alive = |found: &Found| links.has_link(found.link());
        let held = self.reservations()?.into_iter().filter(alive);
        let used: BTreeSet<_> = held.flat_map(|found| found.addresses()).collect();
        let full = |family: &choose::Family| {
            choose::candidates(node, *family).all(|address| used.contains(&address))
        };
        let families = choose::families(&node.pod_ranges).into_iter();
        Ok(families.filter(full).map(choose::Family::name).collect())
    }

    fn found(&self, link: &str) -> Found {
        Found::new(&self.held_folder(), link)
    }

    fn held_folder(&self) -> PathBuf {
        self.directory.join("held")
    }

    fn resting_folder(&self) -> PathBuf {
        self.directory.join("resting")
    }

    fn create_folders(&self) -> Result<(), PoolError> {
        for folder in [self.held_folder(), self.resting_folder()] {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder
                .create(&folder)
                .map_err(|source| failed("create folder", &folder, source))?;
        }
        Ok(())
    }

    /// Where the runtime directory is no tmpfs, earlier boots leave theirs. Nothing reads them, so a
    /// failure does no harm.
    fn remove_earlier_boots(&self) {
        let Some(pools) = self.directory.parent() else {
            return;
        };
        for name in names_in(pools).unwrap_or_default() {
            let folder = pools.join(name);
            if folder != self.directory {
                let _ = fs::remove_dir_all(folder);
            }
        }
    }

    fn lock(&self, until: Instant) -> Result<File, PoolError> {
        let path = self.directory.join("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        // A pipe would wait for its reader for ever.
        let opened = options.custom_flags(libc::O_NONBLOCK).open(&path);
        let file = opened.map_err(|source| failed("open", &path, source))?;
        wait_for_lock(&file, &path, until)?;
        Ok(file)
    }

    /// Frees what killed calls and vanished pods left: no link, and no call at work on it.
    fn sweep(&self, links: &impl Links) -> Result<Vec<String>, PoolError> {
        Held::remove_unfinished(&self.held_folder())?;
        let mut freed = Vec::new();
        for found in self.reservations()? {
            if !links.has_link(found.link()) && self.free(&found, links.since_boot())? {
                freed.push(found.link().to_owned());
            }
        }
        Ok(freed)
    }

    /// Refuses a pod that is attached already: a namespace that has a link keeps its inode.
    fn used_addresses(
        &self,
        wanted: &Wanted<'_>,
        links: &impl Links,
    ) -> Result<BTreeSet<IpAddr>, PoolError> {
        let mut used = BTreeSet::new();
        for found in self.reservations()? {
            let Some(reservation) = found.read() else {
                continue;
            };
            if reservation.netns.inode == wanted.netns.inode && links.has_link(found.link()) {
                return Err(PoolError::SecondAttachment {
                    wanted: wanted.key.clone(),
                    other: reservation.key,
                });
            }
            used.extend(reservation.addresses);
        }
        Ok(used)
    }
}

fn wait_for_lock(file: &File, path: &Path, until: Instant) -> Result<(), PoolError> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(failed("lock", path, source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(PoolError::Busy(path.into()));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
        }
    }
}

/// Names in a folder; a folder that does not exist has none.
fn names_in(folder: &Path) -> Result<Vec<String>, PoolError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed("read folder", folder, source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| failed("read folder", folder, source))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Removes a file that somebody else may have removed.
fn remove(path: &Path) -> Result<(), PoolError> {
    kept_files::remove(path).map_err(|error| failed("remove", path, error.into()))
}
