//! What goes into an agreement and what comes out of it.

use std::sync::Arc;

use rand_core::CryptoRng;

use super::{LaneKeys, TransportNames};
use crate::message::Collected;
use crate::moment::Moment;
use crate::plane::{IndexBase, Role, Suite, TransportId};

/// What an agreement needs to know of its two ends.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// Hash of our key statement.
    pub(crate) own_statement: [u8; 32],
    /// Hash of the peer's.
    pub(crate) peer_statement: [u8; 32],
    /// Our X25519 key; the lower of the two ends' offers wins when they cross.
    pub(crate) own_key: [u8; 32],
    /// The peer's.
    pub(crate) peer_key: [u8; 32],
    /// How many lanes we send from.
    pub(crate) own_lanes: u8,
    /// How many the peer sends from.
    pub(crate) peer_lanes: u8,
    /// The suites we accept, in order of preference.
    pub(crate) suites: Arc<[Suite]>,
}

impl Ends {
    pub(super) fn first_common_suite(&self, offered: &[u8]) -> Option<Suite> {
        offered
            .iter()
            .filter_map(|number| Suite::from_wire(*number))
            .find(|suite| self.suites.contains(suite))
    }
}

/// Whether a new transport may be agreed on under this pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PairIs {
    /// It may.
    Allowed,
    /// A newer pair has taken its place.
    Superseded,
}

/// Whether an initiation of ours waits for its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initiation {
    /// One does.
    Outstanding,
    /// None does.
    None,
}

/// What the machine wants done.
#[derive(Debug)]
pub(crate) enum Step {
    /// Begin a handshake and repeat its initiation until it completes or is abandoned.
    Initiate,
    /// Send one initiation and do not repeat it.
    InitiateOnce,
    /// Stop repeating the initiation.
    Abandon,
    /// Send a message under a named session, or say [`Agreement::handle_unsent`].
    Send(Collected),
    /// Give the lanes the receiving keys.
    Install(Installed),
    /// Both ends have the keys: the choice has to be made anew.
    Confirmed,
    /// Erase the transport.
    Forget(TransportId),
    /// The wish was given up after 90 seconds.
    GaveUp,
}

/// The receiving half of a new transport.
pub(crate) struct Installed {
    pub(crate) id: TransportId,
    pub(crate) suite: Suite,
    pub(crate) role: Role,
    pub(crate) base: IndexBase,
    pub(crate) keys: LaneKeys,
    pub(crate) born: Moment,
}

impl std::fmt::Debug for Installed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Installed({}, {:?}, {:?})",
            self.id, self.suite, self.role
        )
    }
}

/// What every event brings along.
pub(crate) struct Context<'a> {
    pub(crate) now: Moment,
    pub(crate) rng: &'a mut dyn CryptoRng,
    pub(crate) names: &'a mut TransportNames,
}
