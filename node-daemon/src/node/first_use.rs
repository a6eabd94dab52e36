//! Trusts the first root that the store shows, where the settings say so.

use cluster_store::PublishedRoot;
use node_status::RootPin;
use tracing::{error, warn};

use super::Node;
use super::notices::Kind;
use crate::clock::Now;
use crate::first_use::{self, Choice};

impl Node {
    /// Has to come before the roots are learned.
    pub(super) fn trust_on_first_use(&mut self, shown: &[PublishedRoot], now: Now) {
        if self.root_pin != RootPin::Absent {
            return;
        }
        let obstacle = match first_use::choose(shown, &self.config.trust_domain) {
            Choice::None => None,
            Choice::Several(pins) => {
                let pins: Vec<String> = pins.iter().map(ToString::to_string).collect();
                Some(format!(
                    "the store shows several roots ({}): give the right one's pin with --pin",
                    pins.join(", ")
                ))
            }
            Choice::One(pin) => match first_use::keep(&self.config, pin) {
                Ok(()) => {
                    warn!(%pin, "Root is trusted because it is the first: compare the pin with the one that the root was made with");
                    self.peers.trust(pin);
                    self.root_pin = RootPin::FirstUse;
                    let message = format!(
                        "root {pin} is trusted because it was the first: compare the pin, then give it with --pin"
                    );
                    self.tell(Kind::RootPinFirstUse, &message, now.moment);
                    None
                }
                Err(error) => Some(format!("{error:#}")),
            },
        };
        if obstacle != self.no_first_use {
            if let Some(reason) = &obstacle {
                error!(reason, "No root is trusted on first use");
            }
            self.no_first_use = obstacle;
        }
    }
}
