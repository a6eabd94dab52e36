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
use cni_protocol::reservation::{NetnsIdentity, Reservation, ReservationError};

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

/// Why the pool cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A repeated ADD, or one without the DEL before.
    #[error("reserve addresses for {0}: it has some already, DEL it first")]
    AlreadyReserved(AttachmentKey),
    /// Two attachments of one hash, once in 2^52.
    #[error("reserve addresses for {wanted}: its link's name {link} belongs to {owner}")]
    NameTaken {
        /// Who asks.
        wanted: AttachmentKey,
        /// The name.
        link: String,
        /// Who has it.
        owner: AttachmentKey,
    },
    /// Each attachment brings default routes, and a pod has room for one pair.
    #[error(
        "reserve addresses for {wanted}: its pod has {other}, and a pod has one attachment to Sotto"
    )]
    SecondAttachment {
        /// Who asks.
        wanted: AttachmentKey,
        /// What the pod has.
        other: AttachmentKey,
    },
    /// No address is left in a family, not even a resting one.
    #[error(
        "reserve an {family} address: all of {ranges} are in use, {held} attachments hold some"
    )]
    Exhausted {
        /// Name of the family.
        family: &'static str,
        /// The node's ranges in it.
        ranges: String,
        /// How many reservations there are.
        held: usize,
    },
    /// Somebody held a lock for the whole of the call's time.
    #[error("lock {}: another call of the plugin holds it for too long", .0.display())]
    Busy(PathBuf),
    /// A file operation failed.
    #[error("{action} {}", .path.display())]
    File {
        /// What was done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A reservation cannot be written down.
    #[error("encode reservation")]
    Encode(#[source] ReservationError),
    /// The kernel did not say which addresses it has routes for.
    #[error("reserve addresses")]
    Kernel(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Pool {
    /// The pool of a boot; touches nothing.
    #[must_use]
    pub fn new(runtime_directory: &Path, boot_id: &str) -> Self {
        let directory = runtime_directory.join(FOLDER).join(boot_id);
        Self { directory }
    }

    /// Reserves one address of each family that the node has.
    ///
    /// # Errors
    /// When there is none, the attachment has some, or the pool or the kernel does not answer.
    pub fn reserve(
        &self,
        wanted: &Wanted<'_>,
        kernel: &mut impl Kernel,
        until: Instant,
    ) -> Result<Held, PoolError> {
        self.create_folders()?;
        let _lock = self.lock(until)?;
        self.remove_earlier_boots();
        self.refuse_second(wanted)?;
        self.sweep(kernel)?;
        let used = self.used_addresses(wanted, kernel)?;
        let mut resting = Resting::read(&self.resting_folder(), kernel.since_boot())?;
        let mut choice = Choice {
            held: used.len(),
            used,
            wanted,
        };
        let mut addresses = Vec::new();
        for family in choose::families(&wanted.node.pod_ranges) {
            let address = choice.one(family, &mut resting, kernel)?;
            choice.used.insert(address);
            addresses.push(address);
        }
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

    fn refuse_second(&self, wanted: &Wanted<'_>) -> Result<(), PoolError> {
        let found = self.found(wanted.link);
        if !found.exists() {
            return Ok(());
        }
        match found.read().map(|reservation| reservation.key) {
            Some(owner) if owner != *wanted.key => Err(PoolError::NameTaken {
                wanted: wanted.key.clone(),
                link: wanted.link.into(),
                owner,
            }),
            Some(_) | None => Err(PoolError::AlreadyReserved(wanted.key.clone())),
        }
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

/// The search for free addresses, with what is known to be used.
struct Choice<'a> {
    wanted: &'a Wanted<'a>,
    used: BTreeSet<IpAddr>,
    held: usize,
}

impl Choice<'_> {
    /// A free address; when there is none, the oldest resting ones lose the rest of their rest.
    fn one(
        &self,
        family: choose::Family,
        resting: &mut Resting,
        kernel: &mut impl Kernel,
    ) -> Result<IpAddr, PoolError> {
        loop {
            for address in choose::candidates(self.wanted.node, family) {
                let taken = self.used.contains(&address) || resting.contains(address);
                if !taken && !kernel.has_host_route(address).map_err(unanswered)? {
                    return Ok(address);
                }
            }
            if !resting.wake_oldest()? {
                return Err(self.exhausted(family));
            }
        }
    }

    fn exhausted(&self, family: choose::Family) -> PoolError {
        let ranges = self.wanted.node.pod_ranges.iter();
        let of_family: Vec<_> = ranges
            .filter(|range| family.holds(range))
            .map(ToString::to_string)
            .collect();
        PoolError::Exhausted {
            family: family.name(),
            ranges: of_family.join(", "),
            held: self.held,
        }
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

fn failed(action: &'static str, path: &Path, source: io::Error) -> PoolError {
    let path = path.into();
    PoolError::File {
        action,
        path,
        source,
    }
}

fn unanswered(error: impl std::error::Error + Send + Sync + 'static) -> PoolError {
    PoolError::Kernel(Box::new(error))
}
