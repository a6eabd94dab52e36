//! Which transport a peer is sent under.

use super::Peer;
use crate::agreement::SEND_UNTIL;
use crate::control::outbox::ControlEvent;
use crate::control::pair::{Env, PairRank};
use crate::moment::Moment;
use crate::plane::{LaneCommand, TransportId};

use std::time::Duration;

/// A lane that still asks for a transport this long after the choice did not ask before it.
const CHANNEL_DELAY: Duration = Duration::from_secs(1);

/// The transport in use for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) id: TransportId,
    pub(super) pair: PairRank,
    born: Moment,
    made: Moment,
}

impl Choice {
    pub(super) fn until(self) -> Moment {
        self.born + SEND_UNTIL
    }

    pub(super) fn is_over(self, now: Moment) -> bool {
        now >= self.until()
    }

    pub(super) fn is_old(self, now: Moment) -> bool {
        now.duration_since(self.made) >= CHANNEL_DELAY
    }
}

impl Peer {
    /// Sends under the live confirmed transport of the highest pair, the youngest there. One rule
    /// for rekeys and for generations. What was once replaced is never sent under again: its keys
    /// have left, and a lane that got them twice would count from zero twice.
    pub(super) fn choose(&mut self, env: &mut Env<'_>) {
        let in_use = self.choice.map(|it| it.id);
        let best = self.pairs.iter().enumerate().rev().find_map(|(at, pair)| {
            let held = pair.best(in_use, env.now)?;
            let choice = Choice {
                id: held.id,
                pair: pair.rank,
                born: held.born,
                made: env.now,
            };
            Some((at, choice))
        });
        let Some((at, choice)) = best else {
            if self.choice.take().is_some() {
                let command = LaneCommand::StopSending(self.index);
                env.out.broadcast(env.settings.lanes, &command);
                env.out
                    .event(ControlEvent::SendingStopped { peer: self.index });
            }
            return;
        };
        if in_use != Some(choice.id)
            && let Some(pair) = self.pairs.get_mut(at)
        {
            pair.send_under(choice.id, env);
            self.choice = Some(choice);
            self.liveness.send_choice_changed();
        }
    }
}
