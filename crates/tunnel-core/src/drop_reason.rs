//! Why a packet was dropped: every reason there is, each with a counter (`crate::counters`).
//!
//! A drop is a verdict, not an error: one bad packet never stops a batch.

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $reason:ident = $label:literal,)*) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $reason,)*
        }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[DropReason] = &[$(DropReason::$reason,)*];

            /// The reason's name in metrics and logs; it never changes its meaning.
            pub const fn label(self) -> &'static str {
                match self {
                    $(DropReason::$reason => $label,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// The tun's own header is cut off, or contradicts the packet.
    BadVnetHeader = "bad_vnet_header",
    /// Neither an IPv4 nor an IPv6 header, or cut off inside it.
    MalformedPacket = "malformed_packet",
    /// The header's length disagrees with what is there.
    LengthMismatch = "length_mismatch",
    /// Time to live, or hop limit, of zero.
    ZeroHopLimit = "zero_hop_limit",
    /// A packet or segment longer than the tun's MTU.
    TooBig = "too_big",
    /// The destination belongs to no node.
    NoOwner = "no_owner",
    /// A packet out of the tun for this node itself.
    DestinationOwn = "destination_own",
    /// A packet for a Service that was not translated on its way here.
    UntranslatedService = "untranslated_service",
    /// A packet out of the tun whose source is not this node's.
    SourceNotOwn = "source_not_own",
    /// It waited for a transport, and newer packets took its place.
    WaitingOverflow = "waiting_overflow",
    /// It waited for a transport, and the control side gave up.
    NoTransport = "no_transport",
    /// The sending key reached its limits with the run already built.
    SendingKeyEnded = "sending_key_ended",
    /// The system refused to send it.
    SendFailed = "send_failed",
    /// A datagram longer than the receive buffer.
    CutDatagram = "cut_datagram",
    /// A datagram that is no message: type, reserved bytes or length.
    UnknownMessage = "unknown_message",
    /// A message for the control side that came to another lane than the first.
    ControlOnWrongLane = "control_on_wrong_lane",
    /// A message for the control side from an address that is no peer's endpoint.
    UncertifiedSource = "uncertified_source",
    /// A message for the control side that it had no room for.
    ControlQueueFull = "control_queue_full",
    /// A transport index that this lane does not hold.
    UnknownIndex = "unknown_index",
    /// The receiving key is too old.
    ReceivingKeyEnded = "receiving_key_ended",
    /// A counter above the limit of packets or bytes per key.
    CounterLimit = "counter_limit",
    /// A counter that was seen, or lies behind the replay window.
    Replayed = "replayed",
    /// The key does not open it: forged, damaged or for somebody else.
    NotAuthentic = "not_authentic",
    /// Opened, but its source is not the sending peer's.
    SourceNotPeers = "source_not_peers",
    /// Opened, but its destination is not this node's.
    DestinationNotOwn = "destination_not_own",
    /// The system refused to take it into the tun.
    TunWriteFailed = "tun_write_failed",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn labels_are_unique_and_numbers_are_positions() {
        let labels: BTreeSet<_> = DropReason::ALL
            .iter()
            .map(|reason| reason.label())
            .collect();

        assert_eq!(labels.len(), DropReason::ALL.len());
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
        }
    }
}
