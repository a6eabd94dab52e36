//! Every way in which a call fails, and the specification's code for it.

use std::time::Duration;

use cni_protocol::config::ConfigError;
use cni_protocol::environment::EnvironmentError;
use cni_protocol::error::{CniError, ErrorCode};
use cni_protocol::version::CniVersion;
use pod_pool::PoolError;

use crate::guard::GuardError;
use crate::input::InputError;
use crate::ipam::IpamError;
use crate::link::LinkError;
use crate::netlink::NetlinkError;
use crate::netns::NetnsError;
use crate::node::NodeError;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// The watchdog ended the call.
    #[error("run {verb}: not done after {limit:?}, does a disk or the kernel hang?")]
    TookTooLong { verb: &'static str, limit: Duration },
    /// The verb came with a later version.
    #[error("run {verb}: cniVersion {version} does not have it, {since} does")]
    VerbOfLaterVersion {
        verb: &'static str,
        since: CniVersion,
        version: CniVersion,
    },
    /// CHECK found differences.
    #[error("check {subject}: {}", .differences.join("; "))]
    Broken {
        subject: String,
        differences: Vec<String>,
    },
    /// STATUS: pods cannot be attached.
    #[error("attach pods: not possible here")]
    Unavailable(#[source] Box<Failure>),
    /// STATUS: pods cannot be attached, and those that are may be cut off.
    #[error("attach pods: not possible here, and pods may have lost their network")]
    UnavailableAndDegraded(#[source] Box<Failure>),
    /// STATUS: no address is left.
    #[error("attach pods: every {} address of this node is in use", .0.join(" and "))]
    NoAddressLeft(Vec<&'static str>),
    /// GC: some of it failed, the rest is done.
    #[error("free what belongs to no attachment: {}", .0.join("; "))]
    Incomplete(Vec<String>),
}

impl Failure {
    /// The object to print.
    pub(crate) fn to_cni(&self) -> CniError {
        CniError::new(self.code(), self)
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Environment(_) => ErrorCode::InvalidEnvironment,
            Self::Input(InputError::TooLong(_)) => ErrorCode::InvalidConfig,
            Self::Input(InputError::NeverClosed | InputError::Read(_)) => ErrorCode::Io,
            Self::Config(error) => config_code(error),
            Self::Node(error) => node_code(error),
            Self::Guard(GuardError::NoTable | GuardError::NoTun) => ErrorCode::TryAgainLater,
            Self::Guard(GuardError::Ask(error)) | Self::Netlink(error) => netlink_code(error),
            Self::Netns(error) => netns_code(error),
            Self::Pool(error) => pool_code(error),
            Self::Link(error) => link_code(error),
            Self::Ipam(error) => ipam_code(error),
            Self::TookTooLong { .. } => ErrorCode::TryAgainLater,
            Self::VerbOfLaterVersion { .. } => ErrorCode::IncompatibleVersion,
            Self::Broken { .. } => ErrorCode::AttachmentBroken,
            Self::Unavailable(_) | Self::NoAddressLeft(_) => ErrorCode::Unavailable,
            Self::UnavailableAndDegraded(_) => ErrorCode::UnavailableAndDegraded,
            Self::Incomplete(_) => ErrorCode::Io,
        }
    }
}

fn config_code(error: &ConfigError) -> ErrorCode {
    match error {
        ConfigError::Decode(_) | ConfigError::NotAnObject | ConfigError::PreviousResult(_) => {
            ErrorCode::Decode
        }
        ConfigError::MissingVersion | ConfigError::Version(_) => ErrorCode::IncompatibleVersion,
        ConfigError::Name { .. }
        | ConfigError::Value { .. }
        | ConfigError::AddressPlugin { .. }
        | ConfigError::Missing(_) => ErrorCode::InvalidConfig,
    }
}

fn node_code(error: &NodeError) -> ErrorCode {
    match error {
        NodeError::NotReady(_) | NodeError::OtherBoot(_) => ErrorCode::TryAgainLater,
        NodeError::Invalid { .. } | NodeError::BootId { .. } => ErrorCode::Decode,
        NodeError::File(_) | NodeError::NoBootId(_) => ErrorCode::Io,
    }
}

fn netns_code(error: &NetnsError) -> ErrorCode {
    match error {
        NetnsError::Open { .. } | NetnsError::NotANamespace(_) | NetnsError::NodesOwn(_) => {
            ErrorCode::InvalidEnvironment
        }
        NetnsError::Enter { .. } => ErrorCode::Io,
    }
}

fn pool_code(error: &PoolError) -> ErrorCode {
    match error {
        PoolError::AlreadyReserved(_)
        | PoolError::NameTaken { .. }
        | PoolError::SecondAttachment { .. } => ErrorCode::AlreadyAttached,
        PoolError::Exhausted { .. } | PoolError::Busy(_) | PoolError::Taken(_) => {
            ErrorCode::TryAgainLater
        }
        PoolError::NotTheNodes { .. } | PoolError::NotOneOfEach(_) => ErrorCode::InvalidConfig,
        PoolError::File { .. } | PoolError::Encode(_) => ErrorCode::Io,
        PoolError::Kernel(error) => error
            .downcast_ref::<NetlinkError>()
            .map_or(ErrorCode::Io, netlink_code),
    }
}

fn link_code(error: &LinkError) -> ErrorCode {
    match error {
        LinkError::InterfaceExists { .. } | LinkError::NodeEndExists(_) => {
            ErrorCode::AlreadyAttached
        }
        LinkError::NotOperational(_) => ErrorCode::TryAgainLater,
        LinkError::NotAVeth(_) | LinkError::Sysctl { .. } => ErrorCode::Io,
        LinkError::Netlink(error) => netlink_code(error),
        LinkError::Netns(error) => netns_code(error),
    }
}

/// Of the codes of another plugin only "try again" says what the runtime should do.
fn ipam_code(error: &IpamError) -> ErrorCode {
    match error {
        IpamError::Itself(_) | IpamError::NotFound { .. } => ErrorCode::InvalidConfig,
        IpamError::Endless(_) => ErrorCode::TryAgainLater,
        IpamError::Refused { code, .. } if *code == Some(ErrorCode::TryAgainLater as u64) => {
            ErrorCode::TryAgainLater
        }
        IpamError::Execute { .. } | IpamError::Refused { .. } => ErrorCode::Io,
        IpamError::Decode { .. } => ErrorCode::Decode,
    }
}

fn netlink_code(error: &NetlinkError) -> ErrorCode {
    match error {
        NetlinkError::Silent(_) => ErrorCode::TryAgainLater,
        NetlinkError::Open(_) | NetlinkError::Refused { .. } | NetlinkError::Malformed { .. } => {
            ErrorCode::Io
        }
    }
}
