//! Sessions: boringtun's handshake between one own and one peer generation, its gaps closed.
//!
//! The only module that touches boringtun, which reads the clock and the system's randomness by
//! itself. There is one `Tunn` per pair of generations and never a second one: it holds the replay
//! timestamp, which boringtun shows nobody, so a fresh one accepts a recorded initiation. boringtun
//! reports no events and keeps its session indexes to itself; both are read off the datagrams.
//! Sessions carry control messages only (`carrier`); pod packets never pass through here.

mod attempt;
mod carrier;
mod own_key;
mod refusal;
mod weak_keys;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::{Packet, Tunn, TunnResult};
use thiserror::Error;

use crate::moment::Moment;
use attempt::Attempt;
pub(crate) use own_key::OwnKey;
pub use refusal::DatagramRefusal;

/// Sessions are dropped this long after the youngest was completed: boringtun does not wipe their
/// keys, and every agreement makes its own session anyway.
const DROP_SESSIONS_AFTER: Duration = Duration::from_secs(100);

/// The whole `Tunn` goes when it was idle this long (three times WireGuard's Reject-After-Time,
/// when boringtun, too, forgets everything).
const IDLE_AFTER: Duration = Duration::from_secs(540);

/// Counters from here on are refused (WireGuard's Reject-After-Messages): boringtun adds its window
/// to them without a check.
const COUNTER_LIMIT: u64 = u64::MAX - (1 << 13);

/// boringtun's overhead on a data message, and the size of its largest handshake message: what
/// output buffers need, since it panics on small ones.
const OVERHEAD: usize = 32;
const INITIATION_SIZE: usize = 148;

/// boringtun's ring of sessions: more names than this cannot be in use.
const RING: usize = 8;

/// Makes a `Tunn`, by calling its argument once. A simulator with a mock clock sets that clock to
/// the node's own time around the call, because handshake timestamps anchor there.
pub type AroundTunn = fn(make: &mut dyn FnMut());

/// Index of a `Tunn`: 23 bits, unique in the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionIndex(u32);

impl SessionIndex {
    /// Takes the low 23 bits. boringtun shifts the index up by a byte: a 24th bit would set the bit
    /// that marks transports, a 25th would be lost silently.
    pub(crate) fn truncate(value: u32) -> Self {
        Self(value & 0x7f_ffff)
    }
}

/// For whom a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// For whichever own key its mac1 names.
    Initiation,
    /// For a session, as the index says.
    Session(SessionIndex),
}

/// What came of a datagram.
#[derive(Debug)]
pub(crate) enum Received {
    /// We are responder in a new session; this answer is to be sent.
    Responded(Vec<u8>),
    /// A session that we initiated is complete; this confirmation is to be sent.
    Completed(Vec<u8>),
    /// A session message was opened.
    Opened {
        /// The control message, if it carried one.
        message: Option<Vec<u8>>,
        /// Whether it confirmed a session in which we are responder.
        confirmed: bool,
    },
    /// A response to an initiation that other initiations have erased.
    Erased,
    /// A cookie was stored for the next initiation.
    Cookie,
    /// Nothing.
    Refused(DatagramRefusal),
}

/// A static key that no session is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum PeerKeyError {
    /// All zeros or another point of small order: the shared secret would be known to everyone.
    #[error("make session: the peer's key has small order")]
    SmallOrder,
    /// Our own key.
    #[error("make session: the peer's key is our own")]
    Own,
}

/// The session of one pair of generations.
pub(crate) struct Session {
    tunn: Box<Tunn>,
    own: Arc<OwnKey>,
    index: SessionIndex,
    /// The peer's indexes of sessions that the peer is known to hold.
    named: VecDeque<u32>,
    /// Own and the peer's index of sessions in which we are responder, until they are confirmed.
    unconfirmed: VecDeque<(u32, u32)>,
    /// Own indexes of the initiations that may still be answered.
    initiated: VecDeque<u32>,
    attempt: Option<Attempt>,
    completed: Option<Moment>,
    used: Moment,
}

/// Reads for whom a datagram is.
pub(crate) fn addressee(datagram: &[u8]) -> Result<Addressee, DatagramRefusal> {
    let receiver = match Tunn::parse_incoming_packet(datagram) {
        Ok(Packet::HandshakeInit(_)) => return Ok(Addressee::Initiation),
        Ok(Packet::HandshakeResponse(it)) => it.receiver_idx,
        Ok(Packet::PacketCookieReply(it)) => it.receiver_idx,
        Ok(Packet::PacketData(it)) => it.receiver_idx,
        Err(_) => return Err(DatagramRefusal::Malformed),
    };
    if receiver >> 31 != 0 {
        return Err(DatagramRefusal::UnknownIndex);
    }
    Ok(Addressee::Session(SessionIndex(receiver >> 8)))
}

impl Session {
    /// Makes the `Tunn` of a pair.
    ///
    /// # Errors
    /// The peer's key has small order or is our own.
    pub(crate) fn new(
        own: &Arc<OwnKey>,
        peer_key: [u8; 32],
        index: SessionIndex,
        around: AroundTunn,
        now: Moment,
    ) -> Result<Self, PeerKeyError> {
        if weak_keys::has_small_order(&peer_key) {
            return Err(PeerKeyError::SmallOrder);
        }
        if peer_key == own.public() {
            return Err(PeerKeyError::Own);
        }
        let mut tunn = None;
        around(&mut || tunn = Some(Box::new(own.tunn(peer_key, index.0))));
        Ok(Self {
            tunn: tunn.unwrap_or_else(|| Box::new(own.tunn(peer_key, index.0))),
            own: Arc::clone(own),
            index,
            named: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            initiated: VecDeque::new(),
            attempt: None,
            completed: None,
            used: now,
        })
    }

    /// The index that names it.
    pub(crate) fn index(&self) -> SessionIndex {
        self.index
    }

    /// Whether an initiation waits for its response.
    pub(crate) fn is_initiating(&self) -> bool {
        self.attempt.is_some()
    }

    /// When the youngest session was completed.
    pub(crate) fn completed(&self) -> Option<Moment> {
        self.completed
    }

    /// Whether it has been idle so long that it is to be dropped.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        self.attempt.is_none() && now.duration_since(self.used) >= IDLE_AFTER
    }

    /// Begins a handshake that is repeated until it completes; returns its initiation.
    pub(crate) fn initiate(&mut self, now: Moment) -> Option<Vec<u8>> {
        let attempt = self.attempt.filter(|it| it.repeats());
        self.attempt = Some(attempt.unwrap_or_else(|| Attempt::repeated(now)));
        self.initiation(now)
    }

    /// Begins a handshake that is tried once; returns its initiation.
    pub(crate) fn initiate_once(&mut self, now: Moment) -> Option<Vec<u8>> {
        if self.attempt.is_some() {
            return None;
        }
        self.attempt = Some(Attempt::once(now));
        self.initiation(now)
    }

    /// Stops repeating. A late response still completes the session.
    pub(crate) fn abandon(&mut self) {
        self.attempt = None;
    }

    /// Seals a control message; `None` unless it leaves under a session that the peer is known to
    /// hold.
    pub(crate) fn seal(&mut self, message: &[u8], now: Moment) -> Option<Vec<u8>> {
        self.update_clock();
        // Without a session boringtun would queue the message and start a handshake.
        self.tunn.time_since_last_handshake()?;
        let packet = carrier::wrap(message);
        let mut buffer = vec![0; (packet.len() + OVERHEAD).max(INITIATION_SIZE)];
        let sealed = written(self.tunn.encapsulate(&packet, &mut buffer)).ok()?;
        // boringtun may take a session that only its ring knows: one that we answered and that the
        // peer never learnt of.
        let receiver = index_at(&sealed, 4)?;
        if !self.named.contains(&receiver) {
            return None;
        }
        self.used = now;
        Some(sealed)
    }

    /// Takes in a datagram that is addressed to this session, or an initiation of its peer.
    pub(crate) fn handle(&mut self, datagram: &[u8], now: Moment) -> Received {
        match Tunn::parse_incoming_packet(datagram) {
            Ok(Packet::HandshakeInit(_)) => self.handle_initiation(datagram, now),
            Ok(Packet::HandshakeResponse(it)) => {
                let own = it.receiver_idx;
                self.handle_response(datagram, own, now)
            }
            Ok(Packet::PacketCookieReply(_)) => self.handle_cookie(datagram),
            Ok(Packet::PacketData(it)) => {
                let own = it.receiver_idx;
                self.handle_message(datagram, own, now)
            }
            Err(_) => Received::Refused(DatagramRefusal::Malformed),
        }
    }

    /// Lets time pass; returns an initiation that is due again.
    pub(crate) fn handle_timeout(&mut self, now: Moment) -> Option<Vec<u8>> {
        if self
            .completed
            .is_some_and(|it| now.duration_since(it) >= DROP_SESSIONS_AFTER)
        {
            self.own.drop_sessions(&mut self.tunn);
            self.completed = None;
            self.forget_names();
        }
        let due = self.attempt.as_mut()?.advance(now);
        match due {
            attempt::Due::Nothing => None,
            attempt::Due::Over => {
                self.attempt = None;
                None
            }
            attempt::Due::Repeat => self.initiation(now),
        }
    }

    /// When [`Self::handle_timeout`] has something to do, or [`Self::is_idle`] becomes true.
    pub(crate) fn poll_timeout(&self) -> Option<(Moment, &'static str)> {
        let repeat = self.attempt.map(|it| (it.next(), "repeat an initiation"));
        let completed = self.completed.map(|it| it + DROP_SESSIONS_AFTER);
        let drop = completed.map(|at| (at, "drop sessions"));
        let idle = (self.used + IDLE_AFTER, "drop an idle session");
        let idle = self.attempt.is_none().then_some(idle);
        repeat
            .into_iter()
            .chain(drop)
            .chain(idle)
            .min_by_key(|it| it.0)
    }

    fn handle_initiation(&mut self, datagram: &[u8], now: Moment) -> Received {
        let Some(ephemeral) = datagram
            .get(8..40)
            .and_then(|it| <&[u8; 32]>::try_from(it).ok())
        else {
            return Received::Refused(DatagramRefusal::Malformed);
        };
        if weak_keys::has_small_order(ephemeral) {
            return Received::Refused(DatagramRefusal::WeakKey);
        }
        let response = match self.decapsulate(datagram) {
            Ok(response) => response,
            Err(WireGuardError::WrongTai64nTimestamp) => {
                return Received::Refused(DatagramRefusal::StaleTimestamp);
            }
            Err(_) => return Received::Refused(DatagramRefusal::NotAuthentic),
        };
        let (Some(own), Some(peer)) = (index_at(&response, 4), index_at(datagram, 4)) else {
            return Received::Refused(DatagramRefusal::NotAuthentic);
        };
        self.named.retain(|it| *it != peer);
        self.unconfirmed.retain(|it| it.0 != own);
        push_bounded(&mut self.unconfirmed, (own, peer));
        self.completed = Some(now);
        self.used = now;
        Received::Responded(response)
    }

    fn handle_response(&mut self, datagram: &[u8], own: u32, now: Moment) -> Received {
        if !self.initiated.contains(&own) {
            return Received::Refused(DatagramRefusal::UnexpectedResponse);
        }
        let Some(ephemeral) = datagram
            .get(12..44)
            .and_then(|it| <&[u8; 32]>::try_from(it).ok())
        else {
            return Received::Refused(DatagramRefusal::Malformed);
        };
        if weak_keys::has_small_order(ephemeral) {
            return Received::Refused(DatagramRefusal::WeakKey);
        }
        let confirmation = match self.decapsulate(datagram) {
            Ok(confirmation) => confirmation,
            Err(WireGuardError::UnexpectedPacket) => return Received::Erased,
            Err(_) => return Received::Refused(DatagramRefusal::NotAuthentic),
        };
        let Some(peer) = index_at(datagram, 4) else {
            return Received::Refused(DatagramRefusal::NotAuthentic);
        };
        self.named.retain(|it| *it != peer);
        push_bounded(&mut self.named, peer);
        self.initiated.retain(|it| *it != own);
        self.attempt = None;
        self.completed = Some(now);
        self.used = now;
        Received::Completed(confirmation)
    }

    fn handle_cookie(&mut self, datagram: &[u8]) -> Received {
        self.update_clock();
        let mut buffer = [0; INITIATION_SIZE];
        match self.tunn.decapsulate(None, datagram, &mut buffer) {
            TunnResult::Done => Received::Cookie,
            TunnResult::Err(_)
            | TunnResult::WriteToNetwork(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Received::Refused(DatagramRefusal::NotAuthentic),
        }
    }

    fn handle_message(&mut self, datagram: &[u8], own: u32, now: Moment) -> Received {
        if counter(datagram).is_none_or(|it| it >= COUNTER_LIMIT) {
            return Received::Refused(DatagramRefusal::NotAuthentic);
        }
        self.update_clock();
        let mut buffer = vec![0; datagram.len() + OVERHEAD];
        let message = match self.tunn.decapsulate(None, datagram, &mut buffer) {
            TunnResult::Done => None,
            TunnResult::WriteToTunnelV6(packet, _) if packet.len() + OVERHEAD == datagram.len() => {
                match carrier::unwrap(packet) {
                    Some(message) => Some(message.to_vec()),
                    None => return Received::Refused(DatagramRefusal::NoCarrier),
                }
            }
            TunnResult::Err(WireGuardError::InvalidPacket)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => {
                return Received::Refused(DatagramRefusal::NoCarrier);
            }
            TunnResult::Err(_) | TunnResult::WriteToNetwork(_) => {
                return Received::Refused(DatagramRefusal::NotAuthentic);
            }
        };
        let position = self.unconfirmed.iter().position(|it| it.0 == own);
        let confirmed = position.and_then(|at| self.unconfirmed.remove(at));
        if let Some((_, peer)) = confirmed {
            push_bounded(&mut self.named, peer);
        }
        self.used = now;
        Received::Opened {
            message,
            confirmed: confirmed.is_some(),
        }
    }

    fn decapsulate(&mut self, datagram: &[u8]) -> Result<Vec<u8>, WireGuardError> {
        self.update_clock();
        let mut buffer = vec![0; datagram.len() + OVERHEAD];
        written(self.tunn.decapsulate(None, datagram, &mut buffer))
    }

    fn initiation(&mut self, now: Moment) -> Option<Vec<u8>> {
        self.update_clock();
        let mut buffer = [0; INITIATION_SIZE];
        let initiation = written(self.tunn.format_handshake_initiation(&mut buffer, true)).ok()?;
        push_bounded(&mut self.initiated, index_at(&initiation, 4)?);
        self.used = now;
        Some(initiation)
    }

    /// boringtun stamps what it does with the time of its last update. What the update returns is
    /// thrown away: obeyed, it makes handshakes out of nothing.
    fn update_clock(&mut self) {
        let mut buffer = [0; INITIATION_SIZE];
        if let TunnResult::Err(WireGuardError::ConnectionExpired) =
            self.tunn.update_timers(&mut buffer)
        {
            self.forget_names();
        }
    }

    fn forget_names(&mut self) {
        self.named.clear();
        self.unconfirmed.clear();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({:06x}, <redacted>)", self.index.0)
    }
}

fn written(result: TunnResult<'_>) -> Result<Vec<u8>, WireGuardError> {
    match result {
        TunnResult::WriteToNetwork(datagram) => Ok(datagram.to_vec()),
        TunnResult::Err(error) => Err(error),
        TunnResult::Done | TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => {
            Err(WireGuardError::InvalidPacket)
        }
    }
}

fn index_at(datagram: &[u8], at: usize) -> Option<u32> {
    let bytes = datagram.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

fn counter(datagram: &[u8]) -> Option<u64> {
    let bytes = datagram.get(8..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*bytes))
}

fn push_bounded<T>(queue: &mut VecDeque<T>, value: T) {
    while queue.len() >= RING {
        queue.pop_front();
    }
    queue.push_back(value);
}

#[cfg(test)]
mod tests;
