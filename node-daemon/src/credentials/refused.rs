//! What of this node's papers did not go.

use std::time::Duration;

use tracing::warn;
use tunnel_core::moment::Moment;

use crate::clock::Now;

/// How long what could not be used, or asked for, is not tried again (a guess).
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(30);

/// What did not go lately, so that it is neither said nor tried again each second.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub(super) said: String,
    pub(super) try_again: Moment,
}

impl Refused {
    /// It was tried, and is not tried again for a while.
    pub(super) fn note(&mut self, what: &'static str, reason: &str, now: Now) {
        self.try_again = now.moment + TRY_AGAIN;
        self.say(what, reason);
    }

    /// Nothing was tried, and what is missing may come at any moment.
    pub(super) fn say(&mut self, what: &'static str, reason: &str) {
        if self.said != reason {
            reason.clone_into(&mut self.said);
            warn!(what, reason, "This node's papers wait, it is tried again");
        }
    }
}
