//! Every way in which the pool fails.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cni_protocol::attachment::AttachmentKey;
use cni_protocol::reservation::ReservationError;

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
    /// Another plugin assigned an address that is not the node's to give.
    #[error(
        "reserve {address}, which the ipam plugin assigned: {reason}; let it assign from {ranges} only"
    )]
    NotTheNodes {
        /// The address.
        address: IpAddr,
        /// What is wrong with it.
        reason: &'static str,
        /// The node's ranges.
        ranges: String,
    },
    /// Another plugin assigned something else than an address of each family at most.
    #[error(
        "reserve addresses: the ipam plugin assigned {0:?}, a pod has one of each family at most"
    )]
    NotOneOfEach(Vec<IpAddr>),
    /// Another plugin assigned an address that a pod has.
    #[error("reserve {0}, which the ipam plugin assigned: another pod has it")]
    Taken(IpAddr),
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

pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> PoolError {
    let path = path.into();
    PoolError::File {
        action,
        path,
        source,
    }
}

pub(crate) fn unanswered(error: impl std::error::Error + Send + Sync + 'static) -> PoolError {
    PoolError::Kernel(Box::new(error))
}
