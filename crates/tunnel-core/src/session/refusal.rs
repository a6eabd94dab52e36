//! Why datagrams do not reach a session, or come to nothing in it.

use thiserror::Error;

/// Why a datagram for the control side is refused. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum DatagramRefusal {
    /// No message of ours by type, length or reserved bytes.
    #[error("no handshake or session message")]
    Malformed,
    /// Not from a verified peer's endpoint.
    #[error("not from the endpoint of a verified peer")]
    UnknownSource,
    /// An index that no session has.
    #[error("no session has its index")]
    UnknownIndex,
    /// A response to no initiation of ours.
    #[error("answers no initiation")]
    UnexpectedResponse,
    /// mac1 names none of our keys.
    #[error("mac1 names none of our keys")]
    NotForUs,
    /// The source has to prove itself first and was sent a cookie.
    #[error("source has to prove itself by a cookie")]
    CookieWanted,
    /// The source, which has proven itself, sends too many initiations.
    #[error("source is over its budget of initiations")]
    OverBudget,
    /// The initiator's key is no verified peer's, or not of the peer at this endpoint.
    #[error("initiator is not the verified peer of this endpoint")]
    UnknownInitiator,
    /// The pair of generations has been superseded.
    #[error("generation is superseded")]
    Superseded,
    /// An ephemeral or static key of small order.
    #[error("key of small order")]
    WeakKey,
    /// A timestamp not above the last: a replay, or a clock stepped back.
    #[error("handshake timestamp is not above the last")]
    StaleTimestamp,
    /// The cryptography or the counter says no.
    #[error("not authentic, or seen before")]
    NotAuthentic,
    /// A session message that is not in our carrier packet.
    #[error("no carrier packet inside")]
    NoCarrier,
    /// A control message that does not decode.
    #[error("malformed control message")]
    BadMessage,
}
