//! Inner packets: what a pod sent, or what came out of a tunnel, and where it goes.
//!
//! Parsing is total: every byte string gives a packet or a reason to drop it. Nothing is changed
//! here (`crate::offload` does) and nothing is decided by the payload.

/// Why a packet was dropped. The label is a metric's: it never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// No IPv4 or IPv6 header, or cut off inside it.
    MalformedPacket,
}

impl DropReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [DropReason; 1] = [DropReason::MalformedPacket];

    /// The reason's name in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            DropReason::MalformedPacket => "malformed_packet",
        }
    }
}
